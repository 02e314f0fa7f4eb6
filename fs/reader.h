/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * reader - the bytes of files.
 *
 * A read that finds its bytes (local content, or chunks in the cache) is
 * served at once.  Otherwise ranged GETs are started, in parallel and ahead of
 * a sequential reader, and the read is parked until its bytes have arrived;
 * one fetch serves all who wait for it.
 *
 * Invariants
 *   R1  No two fetches of one inode overlap.
 *   R2  A parked read overlaps a fetch under way, or one is started for it
 *	 when the next fetch ends.
 *   R3  Data goes to the cache file as it comes; nothing is buffered here.
 *   R4  A complete blob is hashed once before its cache file is kept.
 *
 * Threads: call from any.  State: inode->reading, under inode.lock.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "fs/pool.h"

struct inode;
struct handle;

/*
 * Bytes read (0 at the end), or a negative errno.  -EINPROGRESS: parked; the
 * waiter is told when it pays to call again (or why it does not).
 * handle may be NULL (no read-ahead).
 */
ssize_t reader_read(struct inode *inode, struct handle *handle, void *buf, size_t size,
		    off_t offset, struct waiter *waiter);

/* The whole published object into the cache. */
void reader_fetch_all(struct inode *inode, struct waiter *waiter);

/* The content has changed: whoever waits looks again.  Without inode.lock. */
void reader_wake(struct inode *inode);

/* The key of the inode's published bytes; caller holds inode.lock. */
struct buf;
int reader_object_key_locked(struct inode *inode, struct buf *key);
