/* SPDX-License-Identifier: GPL-3.0-or-later */
/* chunk-table - see chunk-table.h. */
#include "cache/chunk-table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/cachedb.h"
#include "cache/db.h"
#include "cache/places.h"

#define QUERIES(t)                                                                           \
	{                                                                                    \
		{ &(t)->load, "SELECT size, map FROM chunks WHERE name = ?1" },              \
		{ &(t)->save, "INSERT OR REPLACE INTO chunks(name, size, bytes, stamp, map)" \
			      " VALUES(?1, ?2, ?3, ?4, ?5)" },                               \
		{ &(t)->stamp_on, "UPDATE chunks SET stamp = ?2 WHERE name = ?1" },          \
		{ &(t)->drop, "DELETE FROM chunks WHERE name = ?1 RETURNING bytes" },        \
		{ &(t)->oldest, "SELECT name, size, bytes, stamp FROM chunks"                \
				" WHERE (stamp, name) > (?1, ?2)"                            \
				" ORDER BY stamp, name LIMIT 1" },                           \
		{ &(t)->next, "SELECT name, size, bytes, stamp FROM chunks"                  \
			      " WHERE name > ?1 ORDER BY name LIMIT 1" },                    \
		{ &(t)->sum, "SELECT ifnull(sum(bytes), 0), ifnull(max(stamp), 0)"           \
			     " FROM chunks" },                                               \
	}
#define QUERY_COUNT(q) (sizeof(q) / sizeof(*(q)))

static int start(struct chunk_table *table, uint64_t *ret_bytes)
{
	const struct db_query queries[] = QUERIES(table);

	/* As meta's: whoever comes first at it pays for the sync. */
	int r = db_exec(table->db, "PRAGMA wal_autocheckpoint = 4000");
	if (!r)
		r = db_prepare(table->db, queries, QUERY_COUNT(queries));
	if (r)
		return r;
	_cleanup_reset_ sqlite3_stmt *sum = table->sum;
	r = db_row(sum);
	if (r <= 0)
		return r ? r : -EUCLEAN;
	*ret_bytes = (uint64_t)sqlite3_column_int64(sum, 0);
	table->stamp = (uint64_t)sqlite3_column_int64(sum, 1);
	return 0;
}

static void stop(struct chunk_table *table)
{
	const struct db_query queries[] = QUERIES(table);

	db_finalize(queries, QUERY_COUNT(queries));
	table->db = db_close(table->db);
}

static int start_in_memory(struct chunk_table *table, uint64_t *ret_bytes)
{
	int r = db_error(sqlite3_open_v2(":memory:", &table->db,
					 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
						 SQLITE_OPEN_NOMUTEX,
					 NULL));
	if (!r)
		r = db_exec(table->db, CACHEDB_SCHEMA_CHUNKS);
	return r ? r : start(table, ret_bytes);
}

int chunk_table_open(struct chunk_table *table, struct places *places,
		     uint64_t *ret_bytes)
{
	*table = (struct chunk_table){ .places = places };
	pthread_mutex_init(&table->lock, NULL);
	/* What an unclean boot left means nothing (meta_open drops it). */
	if (places_unclean_boot(places))
		return start_in_memory(table, ret_bytes);
	int r = cachedb_open(places, &table->db);
	if (!r)
		r = start(table, ret_bytes);
	if (r != -EUCLEAN && r != -EPROTO)
		return r;
	stop(table);
	cachedb_note_damage(places);
	return start_in_memory(table, ret_bytes);
}

void chunk_table_close(struct chunk_table *table)
{
	stop(table);
	pthread_mutex_destroy(&table->lock);
}

/* What cannot be saved is fetched again some day: no one's call fails for it,
 * so this is where the error ends. */
static int result(struct chunk_table *table, int r)
{
	if (r >= 0 || r == -ENODATA || table->complained)
		return r;
	table->complained = true;
	if (r == -EUCLEAN)
		cachedb_note_damage(table->places);
	else
		log_warning("cache: cannot write cache.db: %s; what is cached now is fetched again later",
			    strerror(-r));
	return r;
}

static void bind_name(sqlite3_stmt *statement, int at, const char *name)
{
	sqlite3_bind_text(statement, at, name, -1, SQLITE_STATIC);
}

int chunk_table_load(struct chunk_table *table, const char *name, struct chunk_map *map)
{
	LOCK_SCOPE(&table->lock);
	_cleanup_reset_ sqlite3_stmt *load = table->load;

	bind_name(load, 1, name);
	int r = db_row(load);
	if (r <= 0)
		return result(table, r ? r : -ENODATA);
	if ((uint64_t)sqlite3_column_int64(load, 0) != map->size_bytes)
		return -ENODATA;
	if (sqlite3_column_type(load, 1) == SQLITE_NULL) {
		chunk_map_fill(map);
		return 0;
	}
	const void *bits = sqlite3_column_blob(load, 1);

	return chunk_map_load(map, bits, (size_t)sqlite3_column_bytes(load, 1)) ? 0 : -ENODATA;
}

int chunk_table_has(struct chunk_table *table, const char *name)
{
	LOCK_SCOPE(&table->lock);
	_cleanup_reset_ sqlite3_stmt *load = table->load;

	bind_name(load, 1, name);
	return result(table, db_row(load));
}

int chunk_table_save(struct chunk_table *table, const char *name,
		     const struct chunk_map *map, const bool *dropped)
{
	LOCK_SCOPE(&table->lock);
	sqlite3_stmt *save = table->save;

	if (*dropped)
		return 0;
	bind_name(save, 1, name);
	sqlite3_bind_int64(save, 2, (int64_t)map->size_bytes);
	sqlite3_bind_int64(save, 3, (int64_t)map->present_bytes);
	sqlite3_bind_int64(save, 4, (int64_t)++table->stamp);
	if (chunk_map_complete(map))
		sqlite3_bind_null(save, 5);
	else
		sqlite3_bind_blob64(save, 5, map->bits, chunk_map_length(map), SQLITE_STATIC);
	return result(table, db_run(save));
}

int chunk_table_stamp(struct chunk_table *table, const char *name, const bool *dropped)
{
	LOCK_SCOPE(&table->lock);

	if (*dropped)
		return 0;
	bind_name(table->stamp_on, 1, name);
	sqlite3_bind_int64(table->stamp_on, 2, (int64_t)++table->stamp);
	return result(table, db_run(table->stamp_on));
}

int chunk_table_drop(struct chunk_table *table, const char *name, bool *dropped,
		     uint64_t *ret_bytes)
{
	LOCK_SCOPE(&table->lock);
	uint64_t bytes = 0;
	int r;

	if (dropped)
		*dropped = true;
	bind_name(table->drop, 1, name);
	while ((r = db_row(table->drop)) > 0)
		bytes = (uint64_t)sqlite3_column_int64(table->drop, 0);
	sqlite3_reset(table->drop);
	if (!r)
		*ret_bytes = bytes;
	return result(table, r);
}

static int read_row(sqlite3_stmt *statement, struct chunk_row *ret_row)
{
	int r = db_row(statement);
	if (r <= 0)
		return r ? r : -ENODATA;
	const char *name = (const char *)sqlite3_column_text(statement, 0);
	if (!name || strlen(name) >= CHUNK_NAME_MAX)
		return -EUCLEAN;
	snprintf(ret_row->name, sizeof(ret_row->name), "%s", name);
	ret_row->size_bytes = (uint64_t)sqlite3_column_int64(statement, 1);
	ret_row->bytes = (uint64_t)sqlite3_column_int64(statement, 2);
	ret_row->stamp = (uint64_t)sqlite3_column_int64(statement, 3);
	return 0;
}

int chunk_table_oldest(struct chunk_table *table, struct chunk_row *row)
{
	LOCK_SCOPE(&table->lock);
	_cleanup_reset_ sqlite3_stmt *oldest = table->oldest;
	char after[CHUNK_NAME_MAX];

	memcpy(after, row->name, sizeof(after));
	sqlite3_bind_int64(oldest, 1, (int64_t)row->stamp);
	bind_name(oldest, 2, after);
	return result(table, read_row(oldest, row));
}

int chunk_table_next(struct chunk_table *table, struct chunk_row *row)
{
	LOCK_SCOPE(&table->lock);
	_cleanup_reset_ sqlite3_stmt *next = table->next;
	char after[CHUNK_NAME_MAX];

	memcpy(after, row->name, sizeof(after));
	bind_name(next, 1, after);
	return result(table, read_row(next, row));
}
