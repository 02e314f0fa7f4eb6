/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * marker - `dir/` objects: how an empty directory is kept in a bucket.
 *
 * Written for a directory that is no registry skeleton and is still empty when
 * it is fsynced or the mount ends (dirmarkers=lazy), at once (always), or not
 * at all (never).
 *
 * Threads: call from any; markers.lock is a leaf.
 */
#pragma once

#include <stdint.h>

#include "fs/fs.h"

struct waiter;

int markers_create(struct markers **ret_markers);
struct markers *markers_free(struct markers *markers);

/* A directory that may turn out to need one. */
void marker_owe(struct fs *fs, uint64_t dir);
/* Writes it if it is needed.  Told when it is in the bucket, or at once. */
void marker_write(struct fs *fs, uint64_t dir, struct waiter *waiter);
/* All that are owed; waits.  The first error. */
int marker_write_owed(struct fs *fs);
