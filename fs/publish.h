/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * publish - local content becomes an object.
 *
 * One publish of an inode at a time, through these steps; each that has to
 * wait holds no thread:
 *
 *	REFERENCE  a link: the blob that it names is published first, or asked
 *		   for (Promise 2: a reference is never published before)
 *	VERIFY	   a blob: its bytes hash to its name
 *	TURN	   no other change of the key is on its way
 *	SAME	   the object already holds these bytes: nothing to send
 *	SEND	   one PUT, a multipart upload, or the copy a rename owes
 *	FINISH	   metadata, cache, journal; then those who waited are told
 *
 * Invariants
 *   U1  Who waits is told 0 only when the content of the time it asked (or a
 *	 later one) is in the bucket with its ETag checked.
 *   U2  Content whose publish failed is discarded, unless a rename brought it
 *	 (journaled): that is tried again when it is asked for.
 *   U3  What was renamed or unlinked meanwhile ends in the bucket under its
 *	 last name or not at all.
 *
 * Threads: call from any, without inode.lock.  Steps run on fs->workers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct fs;
struct inode;
struct journal_record;
struct waiter;

/* U1.  waiter may be NULL: only starts.  Told at once if nothing is to do. */
void publish_want(struct inode *inode, struct waiter *waiter);

/* An fsync of a directory: publishes that renames and last closes began in it,
 * and changes under way.  dir 0: all there are, also what is only open. */
void publish_wait_dir(struct fs *fs, uint64_t dir, struct waiter *waiter);

/* What an inode owes the bucket, as a row of the journal, which takes the place
 * of the one there was.  Caller holds inode.lock. */
int publish_note_locked(struct inode *inode, struct journal_record *record);
/* The same, made up from the inode: its local content, or the copy of its
 * object, under `path`. */
int publish_note_owed_locked(struct inode *inode, const char *path);

/* May a FLUSH leave this for later?  A shell's first FLUSH comes before it has
 * written anything. */
bool publish_can_wait(struct inode *inode);
