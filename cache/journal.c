/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * journal - see journal.h.
 *
 * One WAL: a commit that is synced carries all that came before it.  So only
 * those that must be on disk pay for it, by a pragma that holds until the next.
 */
#include "cache/journal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cache/db.h"
#include "cache/places.h"

#define JOURNAL_VERSION 1

static const char schema[] =
	"CREATE TABLE changes ("
	" row INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, number INTEGER NOT NULL,"
	" node INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, key TEXT NOT NULL, from_key TEXT, etag TEXT, upload_id TEXT)";

struct journal {
	pthread_mutex_t lock;
	sqlite3 *db;			 /* guarded by lock, as are the statements */
	sqlite3_stmt *add, *done, *each;
};

#define QUERIES(j)                                                                               \
	(const struct db_query[]){                                                               \
		{ &(j)->add, "INSERT INTO changes (kind, number, mtime_ns, key, from_key, etag,"  \
			     " upload_id, node) VALUES (?, ?, ?, ?, ?, ?, ?, ?)" },              \
		{ &(j)->done, "DELETE FROM changes WHERE row = ?" },                             \
		{ &(j)->each, "SELECT row, kind, number, mtime_ns, key, from_key, etag,"          \
			      " upload_id, node FROM changes ORDER BY row" },                    \
	}
#define QUERY_COUNT 3

/* Outside a transaction only. */
static int set_sync_locked(struct journal *j, bool sync)
{
	return db_exec(j->db, sync ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
}

int journal_open(struct places *places, struct journal **ret_journal)
{
	struct journal *j = calloc(1, sizeof(*j));
	if (!j)
		return -ENOMEM;
	pthread_mutex_init(&j->lock, NULL);
	int r = db_open(places_state_fd(places), "journal.db", schema, JOURNAL_VERSION, true, &j->db);
	if (r == 0)
		r = db_check(j->db);
	if (r == 0)
		r = db_prepare(j->db, QUERIES(j), QUERY_COUNT);
	if (r < 0) {
		journal_close(j);
		return r;
	}
	*ret_journal = j;
	return 0;
}

struct journal *journal_close(struct journal *j)
{
	if (!j)
		return NULL;
	db_finalize(QUERIES(j), QUERY_COUNT);
	db_close(j->db);
	pthread_mutex_destroy(&j->lock);
	free(j);
	return NULL;
}

static void bind_text(sqlite3_stmt *s, int at, const char *text)
{
	if (text)
		sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(s, at);
}

int journal_add(struct journal *j, struct journal_record *record, bool sync)
{
	if (!record->key)
		return -EINVAL;
	LOCK_SCOPE(&j->lock);
	int r = set_sync_locked(j, sync);
	if (r < 0)
		return r;
	sqlite3_bind_int64(j->add, 1, record->kind);
	sqlite3_bind_int64(j->add, 2, record->number);
	sqlite3_bind_int64(j->add, 3, record->mtime_ns);
	bind_text(j->add, 4, record->key);
	bind_text(j->add, 5, record->from_key);
	bind_text(j->add, 6, record->etag);
	bind_text(j->add, 7, record->upload_id);
	sqlite3_bind_int64(j->add, 8, record->node);
	r = db_run(j->add);
	sqlite3_clear_bindings(j->add);
	if (r == 0)
		record->row = sqlite3_last_insert_rowid(j->db);
	return r;
}

int journal_done(struct journal *j, uint64_t row)
{
	LOCK_SCOPE(&j->lock);
	/* One that comes back is replayed, which does no harm. */
	int r = set_sync_locked(j, false);
	if (r < 0)
		return r;
	sqlite3_bind_int64(j->done, 1, row);
	return db_run(j->done);
}

int journal_each(struct journal *j, journal_fn fn, void *arg)
{
	LOCK_SCOPE(&j->lock);
	_cleanup_reset_ sqlite3_stmt *s = j->each;
	int r;
	while ((r = db_row(s)) == 1) {
		struct journal_record record = {
			.row = sqlite3_column_int64(s, 0),
			.kind = sqlite3_column_int(s, 1),
			.number = sqlite3_column_int64(s, 2),
			.mtime_ns = sqlite3_column_int64(s, 3),
			.key = (const char *)sqlite3_column_text(s, 4),
			.from_key = (const char *)sqlite3_column_text(s, 5),
			.etag = (const char *)sqlite3_column_text(s, 6),
			.upload_id = (const char *)sqlite3_column_text(s, 7),
			.node = sqlite3_column_int64(s, 8),
		};
		r = fn(arg, &record);
		if (r)
			return r;
	}
	return r;
}
