/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * chunk-store - what chunk.c (files) and chunk-evict.c (eviction, adoption)
 * share.
 *
 * `files` holds every version that somebody works on.  A busy one belongs to
 * the thread that made it so (C4): it opens, closes, adopts or evicts it, with
 * no lock held, and others who want that version wait for `settled`.
 *
 * Internal to chunk.
 */
#pragma once

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "cache/chunk-map.h"
#include "cache/chunk-table.h"
#include "cache/chunk.h"

struct chunk_store {
	int dir_fd;
	uint64_t cache_size_bytes, cache_reserve_bytes;
	struct chunk_table table;
	_Atomic int64_t used;	  /* below 0 for a moment while a mark and a drop meet */
	_Atomic uint64_t unchecked; /* marked since the disk was looked at */

	pthread_mutex_t lock;
	pthread_cond_t settled; /* a busy file is no longer */
	struct chunk_file *files; /* guarded by lock */

	pthread_mutex_t evict_lock; /* outside of all others, held across I/O */
	DIR *sweep;		    /* guarded by evict_lock; NULL: done */
	struct chunk_row sweep_row; /* guarded by evict_lock */
	bool rows_swept;	    /* guarded by evict_lock */
};

struct chunk_file {
	struct chunk_store *store;
	char name[CHUNK_NAME_MAX];
	int fd;
	bool dropped; /* guarded by table.lock */

	unsigned refs;	/* guarded by store.lock, as is the rest here */
	bool busy;
	bool hashed;	/* in store.files */
	bool dropping;
	UT_hash_handle hh;

	pthread_mutex_t lock;
	struct chunk_map map; /* guarded by lock, as is the rest here */
	bool counted;	      /* in store.used */
	bool changed;	      /* since its row was saved */
};

void chunk_name(const char *key, const char *etag, uint64_t size_bytes,
		char ret_name[CHUNK_NAME_MAX]);

/* A busy file of that name, with nothing opened.  -EEXIST: somebody has it open;
 * wait false: or is busy with it. */
int chunk_claim(struct chunk_store *store, const char *name, bool wait,
		struct chunk_file **ret_file);
/* Ends that, and frees it.  Accepts NULL. */
struct chunk_file *chunk_release(struct chunk_file *file);

/* A row goes, and what it counted. */
void chunk_forget_row(struct chunk_store *store, const char *name);

/* Makes room: for C3, and for `want_bytes` more.  patient: waits if another
 * thread does so. */
void chunk_make_room(struct chunk_store *store, uint64_t want_bytes, bool patient);
/* Looks at up to `budget` files and rows for what has no counterpart (C5). */
void chunk_sweep(struct chunk_store *store, unsigned budget);
