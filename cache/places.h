/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * places - the cache directory and the state directory.
 *
 * Each is locked against a second process and bound to one bucket by a file
 * `owner` (one line, e.g. "http://127.0.0.1:7777/bucket/prefix").
 *
 *	cache_dir/  owner lock boot cache.db chunks/	may be deleted while unmounted
 *	state_dir/  owner lock ids journal.db staging/ spool/	may not
 *
 * owner: the line and a newline; missing or empty: not bound yet.
 * lock:  held with flock(2) by the process whose pid is in it, followed by
 *	  " leaving" once that process has begun to unmount.
 * ids:   numbers that are never used twice, over all mounts of this state
 *	  directory: node ids, and the sequence of our own changes.  Holds,
 *	  synced, a number above every one given out, in decimal, and a newline.
 * boot:  the kernel's boot id, while the cache is in use.  Another boot's id
 *	  there means that the machine went down under the cache.
 *
 * Invariants
 *   P1  An id is below the number in `ids` on disk before it is given out.
 *   P2  owner, ids and boot change atomically: written aside, synced, renamed.
 *
 * Errors of places_open, each with a line for the operator in ret_message:
 * -EACCES/-EROFS not writable, -ENOSPC full, -EBUSY locked by another process
 * (its pid is in `lock`), -EEXIST bound to another owner, -EUCLEAN damaged,
 * -EINVAL both are the same directory.
 * Threads: places_next_id and places_raise_ids from any; their lock is a leaf,
 * and is held across the disk once in 2^20 ids.
 * Not here: what the directories hold.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct places;

/* Creates missing directories (0700), with parents.  wait_s: so long a lock
 * of a process that is going away is waited for (one that does not say so gets
 * up to 2 s of it to begin). */
int places_open(const char *cache_dir, const char *state_dir, const char *owner,
		unsigned wait_s, struct places **ret_places, char *ret_message,
		size_t room);
struct places *places_close(struct places *places);

int places_cache_fd(const struct places *places); /* borrowed */
int places_state_fd(const struct places *places); /* borrowed */

/* Greater than every id before.  0 on failure (the disk; logged). */
uint64_t places_next_id(struct places *places);
/* No id below `above` is given out from now on (a directory's contents may
 * know more than a new `ids` file does). */
int places_raise_ids(struct places *places, uint64_t above);
/* What `ids` holds: above every id given out so far, and seldom changing. */
uint64_t places_id_mark(struct places *places);

/* Writes this process's pid into the locks again, after a fork; leaving: it is
 * about to unmount, so the next mount may wait. */
void places_mark(struct places *places, bool leaving);

/* The cache was in use when the machine went down, so its newest bytes may be
 * missing on disk.  True until the cache's contents were dropped and
 * places_boot_noted() said so. */
bool places_unclean_boot(const struct places *places);
int places_boot_noted(struct places *places);
