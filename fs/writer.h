/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * writer - local content: what was written here and not published yet.
 *
 * Staged files are written in place in the staging tree.  Any other file gets
 * a spool file at its first change, with the object's bytes if they are needed
 * (then -EAGAIN on a thread that may not wait for the gateway).
 *
 * Threads: call from any, without inode.lock unless the name says so.
 * Errors: -ENOSPC, -EIO of the local disk; that of the last publish, which is
 * repeated until the file was closed by all its writers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct inode;

/* An inode that was just made: empty, not in the bucket. */
int writer_create(struct inode *inode);

ssize_t writer_write(struct inode *inode, const void *data, size_t size, off_t offset);
int writer_truncate(struct inode *inode, off_t size);
/* To be published, like content. */
int writer_set_mtime(struct inode *inode, int64_t mtime_ns);

/* Opens a staged file's local content, if it is not open. */
int writer_open_staged(struct inode *inode);
/* fsync of a staged file. */
int writer_sync_staged(struct inode *inode);

/* The cached object becomes local content that is not to be published: it goes,
 * and who has it open reads on.  Caller holds inode.lock. */
int writer_keep_object_locked(struct inode *inode);

/* The content is dropped: back to the published version (or to nothing).
 * Caller holds inode.lock. */
void writer_discard_locked(struct inode *inode);
