/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * meta-rows - rows of the table `entries`; the ground that meta.c, meta-change.c
 * and meta-listing.c stand on.
 *
 * Internal to meta.  All of it is called with meta.lock held; what writes more
 * than one row is called between rows_begin and rows_end.
 */
#pragma once

#include <pthread.h>
#include <sqlite3.h>

#include "cache/db.h"
#include "cache/meta.h"

struct meta {
	struct places *places;
	pthread_mutex_t lock; /* guards all below */
	sqlite3 *db;
	uint64_t saved_mark;
	sqlite3_stmt *begin, *commit, *rollback, *mark;
	sqlite3_stmt *get, *find, *up, *children, *scan, *unfinished;
	sqlite3_stmt *insert, *update, *detach, *erase, *move;
	sqlite3_stmt *touch, *touch_file, *newer_below, *changed_below;
	sqlite3_stmt *refresh_absent, *note_listed;
	sqlite3_stmt *claim, *claims, *claims_drop;
};

/* A row, with what only listings need. */
struct meta_row {
	struct meta_entry entry;
	uint64_t seen; /* began_seq of the listing that last spoke of it */
};

int rows_begin(struct meta *meta);
/* Commits if result is 0, else rolls back.  Returns result, or why not.
 * Notes damage. */
int rows_end(struct meta *meta, int result);
/* Passes `result` on; notes damage. */
int rows_result(struct meta *meta, int result);
/* A new id, of which the database knows that it is taken.  -EIO. */
int rows_new_id(struct meta *meta, uint64_t *ret_id);
/* No number in a row that is about to be written is above known.mark. */
int rows_save_mark(struct meta *meta);

int rows_get(struct meta *meta, uint64_t id, struct meta_row *ret_row);	/* -ENOENT */
int rows_find(struct meta *meta, uint64_t parent, const char *name,
	      struct meta_row *ret_row); /* -ENODATA */
void rows_read(sqlite3_stmt *statement, struct meta_row *ret_row);
/* The parent of a row.  -ENOENT. */
int rows_parent(struct meta *meta, uint64_t id, uint64_t *ret_parent);

int rows_insert(struct meta *meta, const struct meta_row *row);
/* All but parent, name and seen, by id.  -ENOENT. */
int rows_update(struct meta *meta, const struct meta_entry *entry);
/* Takes a row off its name: detached, or erased if it is an ABSENT one. */
int rows_vacate(struct meta *meta, const struct meta_entry *entry);
/* An ABSENT row at a name that was vacated. */
int rows_insert_absent(struct meta *meta, uint64_t parent, const char *name, uint64_t seq,
		       uint64_t seen, int64_t checked_ms);
/* meta_rooted, within a transaction. */
int rows_root(struct meta *meta, uint64_t dir);

static inline bool rows_attached(const struct meta_entry *entry)
{
	return entry->parent || entry->id == META_ROOT_ID;
}
