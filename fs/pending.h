/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pending - keys whose change is under way in the bucket.
 *
 * One change of a key at a time: a PUT (or copy) and a delete of the same key
 * never race.  Deletes pass through a queue; a new write of the key takes the
 * place of a delete that was not sent yet.
 *
 * Invariants
 *   P1  At most one request that changes a key is on its way.
 *   P2  A delete that was asked for is sent once no write of the key is on its
 *	 way, unless a new write comes first.
 *   P3  pending_wait_dir's waiter is told when everything that was under way
 *	 in that directory when it was asked has ended, with the first error.
 *
 * Threads: call from any.  pending.lock is a leaf: callbacks run without it.
 * Not here: what is written (fs/publish), tombstones (cache/meta).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/fs.h"
#include "fs/pool.h"

struct inode;

int pending_create(struct fs *fs, struct pending **ret_pending);
struct pending *pending_free(struct pending *pending);

/*
 * Claims a key for a write, of an entry in directory `dir`.  0: go on.  -EINPROGRESS:
 * another change is on its way, and `waiter` (unless NULL) is told when to ask
 * again.  The source of a rename is claimed, too, until its copy is made.
 */
int pending_write_begin(struct fs *fs, const char *key, uint64_t dir, struct waiter *waiter);
/* Is a write of the key under way, or its source claimed? */
bool pending_is_writing(struct fs *fs, const char *key);
void pending_write_end(struct fs *fs, const char *key, int error);

/*
 * The registry of inodes whose content is not in the bucket yet, by path: who
 * publishes a reference finds what it refers to.  It holds a reference.
 * Adding again, or removing what is not there, is fine.
 */
int pending_add(struct fs *fs, const char *path, struct inode *inode);
void pending_remove(struct fs *fs, const char *path, struct inode *inode);
struct inode *pending_find(struct fs *fs, const char *path); /* a reference, or NULL */
/* All of one directory (0: of all), with references, in the caller's array. */
int pending_inodes(struct fs *fs, uint64_t dir, struct inode ***ret_inodes, size_t *ret_count);

/* The object goes; the work starts at once. */
int pending_delete(struct fs *fs, const char *key, uint64_t dir);

/* P3.  Told at once (before return) if there is nothing. */
void pending_wait_dir(struct fs *fs, uint64_t dir, struct waiter *waiter);
/* dir 0: everything, of all directories. */
