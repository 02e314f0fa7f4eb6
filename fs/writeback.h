/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * writeback - durable here first, in the bucket later (-o writeback).
 *
 * A change is kept when its bytes are synced in the spool and its row is synced
 * in the journal; then fsync, close and rename return, and the upload runs
 * behind (fs/publish, by the same steps: a link after its blob).  One that fails
 * is tried again every RETRY_S, for as long as it takes.
 *
 * Invariants
 *   W1  Bytes that a row of the journal names are not changed: who writes on
 *	 does so in a copy (local->kept).
 *   W2  At most writeback_max bytes are kept: beyond, changes wait for their
 *	 upload, as without writeback.
 *
 * Threads: call from any that may wait for the disk, without inode.lock unless
 * the name says so.  One thread of its own, for the retries.
 */
#pragma once

#include <stdint.h>

struct fs;
struct inode;
struct writeback;

int writeback_start(struct fs *fs, struct writeback **ret_writeback);
struct writeback *writeback_stop(struct writeback *writeback);

/* 0: what was changed so far is durable.  -EDQUOT: it is not, and has to wait for
 * its upload (W2).  Else the error of the last publish, or of the disk. */
int writeback_keep(struct inode *inode);

/* Its local content is kept as of now: its row is in the journal. */
void writeback_kept_locked(struct inode *inode);
/* Nothing is owed any more: published, or gone.  Its row goes. */
void writeback_settled_locked(struct inode *inode);
