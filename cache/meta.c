/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * meta - opening, and looking; see meta.h.  Changes are in meta-change.c,
 * listings in meta-listing.c, the schema in cachedb.c.
 *
 * Each lookup is one statement on one connection: some 4 us, so no entries are
 * kept in memory beside SQLite's own pages, and nothing needs invalidating.
 */
#include "cache/meta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/cachedb.h"
#include "cache/meta-rows.h"

#define PATH_MAX_BYTES 8192 /* a key has at most 1,024 */
#define CACHE_PAGES "PRAGMA cache_size = -8192"
/* 16 MiB: the sync of a checkpoint happens within somebody's call. */
#define CHECKPOINT "PRAGMA wal_autocheckpoint = 4000"

#define COLUMNS                                                                              \
	"id, parent, kind, flags, size, mtime_ns, checked_ms, seq, seen, listed_seq, "       \
	"listed_ms, etag, name"

#define QUERIES(m)                                                                           \
	{                                                                                    \
		{ &(m)->begin, "BEGIN IMMEDIATE" },                                          \
		{ &(m)->commit, "COMMIT" },                                                  \
		{ &(m)->rollback, "ROLLBACK" },                                              \
		{ &(m)->mark, "UPDATE known SET mark = ?1" },                                \
		{ &(m)->get, "SELECT " COLUMNS " FROM entries WHERE id = ?1" },              \
		{ &(m)->find, "SELECT " COLUMNS " FROM entries INDEXED BY entries_name"      \
			      " WHERE parent = ?1 AND parent != 0 AND name = ?2" },          \
		{ &(m)->up, "SELECT parent, name FROM entries WHERE id = ?1" },              \
		{ &(m)->children, "SELECT " COLUMNS " FROM entries INDEXED BY entries_child" \
				  " WHERE parent = ?1 AND parent != 0 AND kind != 0"         \
				  " AND id > ?2 ORDER BY id LIMIT ?3" },                     \
		{ &(m)->unfinished,                                                          \
		  "SELECT " COLUMNS " FROM entries WHERE id > ?1 AND id IN ("                \
		  "SELECT id FROM entries INDEXED BY entries_absent"                         \
		  " WHERE kind = 0 AND seq = 9223372036854775807"                            \
		  " UNION SELECT id FROM entries INDEXED BY entries_local"                   \
		  " WHERE (flags & 1) != 0 AND kind = 2"                                     \
		  " UNION SELECT id FROM entries INDEXED BY entries_kept"                    \
		  " WHERE (flags & 8) != 0) ORDER BY id LIMIT ?2" },                         \
		{ &(m)->insert, "INSERT INTO entries(" COLUMNS ") VALUES"                    \
				"(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)" },            \
		{ &(m)->update, "UPDATE entries SET kind = ?3, flags = ?4, size = ?5,"       \
				" mtime_ns = ?6, checked_ms = ?7, seq = ?8,"                 \
				" listed_seq = ?10, listed_ms = ?11, etag = ?12"             \
				" WHERE id = ?1" },                                          \
		{ &(m)->detach, "UPDATE entries SET parent = 0 WHERE id = ?1" },             \
		{ &(m)->erase, "DELETE FROM entries WHERE id = ?1" },                        \
		{ &(m)->move, "UPDATE entries SET parent = ?2, name = ?3, seq = ?4,"         \
			      " checked_ms = ?5, seen = 0 WHERE id = ?1" },                  \
		{ &(m)->touch, "UPDATE entries SET seen = ?2, checked_ms = ?3"               \
			       " WHERE id = ?1" },                                           \
		{ &(m)->touch_file, "UPDATE entries SET seen = ?2, checked_ms = ?3,"         \
				    " size = ?4, mtime_ns = ?5 WHERE id = ?1" },             \
		{ &(m)->scan, "SELECT " COLUMNS " FROM entries INDEXED BY entries_child"     \
			      " WHERE parent = ?1 AND parent != 0 AND kind != 0"             \
			      " AND id > ?2 ORDER BY id LIMIT ?3" },                         \
		{ &(m)->newer_below,                                                         \
		  "WITH RECURSIVE below(id) AS (VALUES(?1) UNION"                            \
		  " SELECT e.id FROM below b JOIN entries e INDEXED BY entries_child"        \
		  " ON e.parent = b.id AND e.parent != 0 AND e.kind != 0)"                   \
		  " SELECT 1 FROM below b JOIN entries e ON e.id = b.id"                     \
		  " WHERE e.id != ?1 AND (e.seq > ?2 OR (e.flags & 1) != 0"                  \
		  " OR (e.checked_ms > ?3 AND e.checked_ms <= ?4)) LIMIT 1" },               \
		{ &(m)->changed_below, "SELECT 1 FROM entries INDEXED BY entries_name"       \
				       " WHERE parent = ?1 AND parent != 0"                  \
				       " AND seq > ?2 LIMIT 1" },                            \
		{ &(m)->refresh_absent, "UPDATE entries INDEXED BY entries_absent"           \
					" SET checked_ms = ?3 WHERE parent = ?1"             \
					" AND kind = 0 AND seq <= ?2 AND seen <= ?2"         \
					" AND (flags & 1) = 0 AND checked_ms < ?3" },        \
		{ &(m)->note_listed, "UPDATE entries SET listed_seq = ?2, listed_ms = ?3"    \
				     " WHERE id = ?1" },                                     \
		{ &(m)->claim, "INSERT OR REPLACE INTO claims VALUES(?1,?2,?3,?4,?5,?6)" },  \
		{ &(m)->claims, "SELECT name, size, mtime_ns, etag FROM claims"              \
				" WHERE dir = ?1 AND began = ?2 AND name > ?3"               \
				" ORDER BY name LIMIT 1" },                                  \
		{ &(m)->claims_drop, "DELETE FROM claims WHERE dir = ?1 AND began <= ?2" },  \
	}
#define QUERY_COUNT(q) (sizeof(q) / sizeof(*(q)))

/*
 * What cannot be true any more, with all that hangs below it.  The bucket may
 * hold what we made absent (the delete may never have reached it) or what we
 * had made and not published (over an older object): so the directories that
 * held such names are no longer completely listed.
 */
static const char drop_doomed[] =
	"BEGIN IMMEDIATE;"
	"UPDATE entries INDEXED BY entries_kept SET flags = flags & ~8, checked_ms = 0"
	" WHERE (flags & 8) != 0;"
	"UPDATE entries SET listed_seq = 0, listed_ms = 0 WHERE id IN ("
	" SELECT parent FROM entries INDEXED BY entries_absent WHERE kind = 0 AND seq > 0"
	" UNION SELECT parent FROM entries INDEXED BY entries_local WHERE (flags & 1) != 0);"
	"CREATE TEMP TABLE doomed(id INTEGER PRIMARY KEY);"
	"WITH RECURSIVE d(id) AS ("
	" SELECT id FROM entries INDEXED BY entries_detached WHERE parent = 0 AND id != 1"
	" UNION SELECT id FROM entries INDEXED BY entries_absent WHERE kind = 0"
	" UNION SELECT id FROM entries INDEXED BY entries_local"
	"       WHERE (flags & 1) != 0 AND id != 1"
	" UNION SELECT e.id FROM d JOIN entries e INDEXED BY entries_name"
	"       ON e.parent = d.id AND e.parent != 0)"
	" INSERT INTO doomed SELECT id FROM d;"
	"DELETE FROM entries WHERE id IN (SELECT id FROM doomed);"
	"DROP TABLE doomed;"
	"DELETE FROM claims;"
	"COMMIT;";

static struct meta *meta_free(struct meta *meta)
{
	if (!meta)
		return NULL;
	const struct db_query queries[] = QUERIES(meta);

	db_finalize(queries, QUERY_COUNT(queries));
	db_close(meta->db);
	pthread_mutex_destroy(&meta->lock);
	free(meta);
	return NULL;
}

static void cleanup_meta(struct meta **meta)
{
	meta_free(*meta);
}

/* A state directory that was made anew would give out numbers that are here. */
static int raise_ids(struct meta *meta)
{
	_cleanup_finalize_ sqlite3_stmt *statement = NULL;
	int r = sqlite3_prepare_v2(meta->db,
				   "SELECT max(mark, (SELECT max(id) + 1 FROM entries)) FROM known",
				   -1, &statement, NULL);
	if (r != SQLITE_OK)
		return db_error(r);
	r = db_row(statement);
	if (r <= 0)
		return r ? r : -EUCLEAN;
	return places_raise_ids(meta->places, (uint64_t)sqlite3_column_int64(statement, 0));
}

static int meta_start(struct meta *meta, bool go_on)
{
	const struct db_query queries[] = QUERIES(meta);
	struct meta_row root;

	int r = db_exec(meta->db, CACHE_PAGES);
	if (!r)
		r = db_exec(meta->db, CHECKPOINT);
	if (!r)
		r = db_prepare(meta->db, queries, QUERY_COUNT(queries));
	if (!r)
		r = db_exec(meta->db, go_on ? "DELETE FROM claims" : drop_doomed);
	if (!r)
		r = raise_ids(meta);
	if (!r)
		r = rows_save_mark(meta);
	if (!r && rows_get(meta, META_ROOT_ID, &root))
		r = -EUCLEAN;
	return r;
}

static int meta_try(struct places *places, bool go_on, struct meta **ret_meta)
{
	_cleanup_(cleanup_meta) struct meta *meta = calloc(1, sizeof(*meta));
	if (!meta)
		return -ENOMEM;
	meta->places = places;
	pthread_mutex_init(&meta->lock, NULL);
	int r = cachedb_open_or_renew(places, &meta->db);
	if (!r)
		r = meta_start(meta, go_on);
	if (r)
		return r;
	*ret_meta = steal_pointer(&meta);
	return 0;
}

int meta_open(struct places *places, bool go_on, struct meta **ret_meta)
{
	int r = meta_try(places, go_on, ret_meta);

	if (r != -EUCLEAN)
		return r;
	log_warning("cache: cache.db is damaged; set aside as cache.db.damaged, "
		    "beginning with an empty cache");
	r = cachedb_set_aside(places);
	return r ? r : meta_try(places, false, ret_meta);
}

struct meta *meta_close(struct meta *meta)
{
	return meta_free(meta);
}

int meta_get(struct meta *meta, uint64_t id, struct meta_entry *ret_entry)
{
	struct meta_row row;
	LOCK_SCOPE(&meta->lock);

	int r = rows_get(meta, id, &row);
	if (!r)
		*ret_entry = row.entry;
	return rows_result(meta, r);
}

int meta_find(struct meta *meta, uint64_t parent, const char *name,
	      struct meta_entry *ret_entry)
{
	struct meta_row row;
	LOCK_SCOPE(&meta->lock);

	int r = rows_find(meta, parent, name, &row);
	if (!r)
		*ret_entry = row.entry;
	return rows_result(meta, r);
}

/* One step: prepends the name of `*id` to what begins at `*at`. */
static int path_step(struct meta *meta, uint64_t *id, char *text, size_t *at)
{
	_cleanup_reset_ sqlite3_stmt *up = meta->up;

	sqlite3_bind_int64(up, 1, (int64_t)*id);
	int r = db_row(up);
	if (r <= 0)
		return r ? r : -ENOENT;
	uint64_t parent = (uint64_t)sqlite3_column_int64(up, 0);
	const void *name = sqlite3_column_blob(up, 1);
	size_t length = (size_t)sqlite3_column_bytes(up, 1);

	if (!parent)
		return -ESTALE;
	if (length + 1 > *at)
		return -ENAMETOOLONG;
	*at -= length;
	memcpy(text + *at, name, length);
	text[--*at] = '/';
	*id = parent;
	return 0;
}

int meta_path(struct meta *meta, uint64_t id, struct buf *path)
{
	char text[PATH_MAX_BYTES];
	size_t at = sizeof(text);
	LOCK_SCOPE(&meta->lock);

	for (uint64_t step = id; step != META_ROOT_ID;) {
		int r = path_step(meta, &step, text, &at);
		if (r == -ENOENT && step != id)
			r = -ESTALE;
		if (r)
			return rows_result(meta, r);
	}
	/* Also nothing is added: it makes path->data a string. */
	if (at != sizeof(text))
		at++;
	return buf_add(path, text + at, sizeof(text) - at);
}

static int read_entries(sqlite3_stmt *statement, struct meta_entry *ret_entries,
			unsigned *ret_count)
{
	unsigned count = 0;
	int r;

	while ((r = db_row(statement)) > 0) {
		struct meta_row row;

		rows_read(statement, &row);
		ret_entries[count++] = row.entry;
	}
	if (!r)
		*ret_count = count;
	return r;
}

int meta_children(struct meta *meta, uint64_t dir, uint64_t after, unsigned limit,
		  struct meta_entry *ret_entries, unsigned *ret_count)
{
	LOCK_SCOPE(&meta->lock);
	_cleanup_reset_ sqlite3_stmt *children = meta->children;

	sqlite3_bind_int64(children, 1, (int64_t)dir);
	sqlite3_bind_int64(children, 2, after > INT64_MAX ? INT64_MAX : (int64_t)after);
	sqlite3_bind_int64(children, 3, limit);
	return rows_result(meta, read_entries(children, ret_entries, ret_count));
}

int meta_unfinished(struct meta *meta, uint64_t after, unsigned limit,
		    struct meta_entry *ret_entries, unsigned *ret_count)
{
	LOCK_SCOPE(&meta->lock);
	_cleanup_reset_ sqlite3_stmt *unfinished = meta->unfinished;

	sqlite3_bind_int64(unfinished, 1, after > INT64_MAX ? INT64_MAX : (int64_t)after);
	sqlite3_bind_int64(unfinished, 2, limit);
	return rows_result(meta, read_entries(unfinished, ret_entries, ret_count));
}

int meta_has_children(struct meta *meta, uint64_t dir, bool *ret_has)
{
	LOCK_SCOPE(&meta->lock);
	_cleanup_reset_ sqlite3_stmt *children = meta->children;

	sqlite3_bind_int64(children, 1, (int64_t)dir);
	sqlite3_bind_int64(children, 2, 0);
	sqlite3_bind_int64(children, 3, 1);
	int r = db_row(children);
	if (r < 0)
		return rows_result(meta, r);
	*ret_has = r;
	return 0;
}

int64_t meta_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
