/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * chunk-table - rows of the table `chunks` in cache.db: one for each file
 * under chunks/ that is to be found again.
 *
 * Internal to chunk.  Threads: call from any; table.lock is a leaf, held across
 * SQLite.
 */
#pragma once

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/chunk-map.h"

struct places;

#define CHUNK_NAME_MAX 65 /* SHA-256 in hex */

struct chunk_table {
	struct places *places;
	pthread_mutex_t lock; /* guards all below */
	sqlite3 *db;
	uint64_t stamp; /* of the last use */
	bool complained;
	sqlite3_stmt *load, *save, *stamp_on, *drop, *oldest, *next, *sum;
};

struct chunk_row {
	char name[CHUNK_NAME_MAX];
	uint64_t size_bytes;
	uint64_t bytes; /* present */
	uint64_t stamp;
};

/* A damaged database leaves the table empty, and what is saved is forgotten. */
int chunk_table_open(struct chunk_table *table, struct places *places,
		     uint64_t *ret_bytes);
void chunk_table_close(struct chunk_table *table);

/* map: initialised with the size that is wanted.  -ENODATA: no row that fits it. */
int chunk_table_load(struct chunk_table *table, const char *name, struct chunk_map *map);
/* 1: there is a row; 0; or a negative errno. */
int chunk_table_has(struct chunk_table *table, const char *name);
/* Newest in use.  Nothing is done where *dropped (read under the lock). */
int chunk_table_save(struct chunk_table *table, const char *name,
		     const struct chunk_map *map, const bool *dropped);
/* Only that it was used. */
int chunk_table_stamp(struct chunk_table *table, const char *name, const bool *dropped);
/* Sets *dropped (if given), and removes the row; *ret_bytes: what it counted, 0 if
 * there was none. */
int chunk_table_drop(struct chunk_table *table, const char *name, bool *dropped,
		     uint64_t *ret_bytes);

/* The row used longest ago, after `row` in that order (zero: the first).
 * -ENODATA: no more. */
int chunk_table_oldest(struct chunk_table *table, struct chunk_row *row);
/* The next row in order of name.  -ENODATA: no more. */
int chunk_table_next(struct chunk_table *table, struct chunk_row *row);
