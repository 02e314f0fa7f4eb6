/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * db - see db.h.
 *
 * Opening has two halves.  The first only looks: the version, and with it
 * whether this is a database at all.  The second, for one that was accepted,
 * turns on WAL and what goes with it.  SQLite would write on close (it replays
 * the WAL), so that is forbidden until the database is accepted.
 */
#include "cache/db.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

/* Another connection of this process commits in microseconds; this long only
 * if the disk stands still. */
#define BUSY_TIMEOUT_MS 10000

static const struct {
	int code;
	int error;
} error_table[] = {
	{ SQLITE_OK, 0 },
	{ SQLITE_ROW, 0 },
	{ SQLITE_DONE, 0 },
	{ SQLITE_PERM, -EACCES },
	{ SQLITE_AUTH, -EACCES },
	{ SQLITE_BUSY, -EBUSY },
	{ SQLITE_LOCKED, -EBUSY },
	{ SQLITE_PROTOCOL, -EBUSY },
	{ SQLITE_NOMEM, -ENOMEM },
	{ SQLITE_READONLY, -EROFS },
	{ SQLITE_INTERRUPT, -EINTR },
	{ SQLITE_FULL, -ENOSPC },
	{ SQLITE_CANTOPEN, -EACCES },
	{ SQLITE_TOOBIG, -EFBIG },
	{ SQLITE_CONSTRAINT, -EEXIST },
	{ SQLITE_MISMATCH, -EUCLEAN },
	{ SQLITE_CORRUPT, -EUCLEAN },
	{ SQLITE_NOTADB, -EUCLEAN },
	{ SQLITE_MISUSE, -EINVAL },
	{ SQLITE_RANGE, -EINVAL },
};

int db_error(int sqlite_code)
{
	if (sqlite_code == SQLITE_IOERR_NOMEM)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(error_table) / sizeof(*error_table); i++)
		if (error_table[i].code == (sqlite_code & 0xff))
			return error_table[i].error;
	return -EIO;
}

int db_exec(sqlite3 *db, const char *sql)
{
	return db_error(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

int db_begin(sqlite3 *db)
{
	return db_exec(db, "BEGIN IMMEDIATE");
}

int db_end(sqlite3 *db, int result)
{
	if (!result)
		result = db_exec(db, "COMMIT");
	/* Some errors have rolled back by themselves. */
	if (result && !sqlite3_get_autocommit(db))
		db_exec(db, "ROLLBACK");
	return result;
}

int db_prepare(sqlite3 *db, const struct db_query *queries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int r = sqlite3_prepare_v3(db, queries[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
					   queries[i].statement, NULL);
		if (r != SQLITE_OK) {
			log_debug("db: %s: %s", queries[i].sql, sqlite3_errmsg(db));
			return db_error(r);
		}
	}
	return 0;
}

void db_finalize(const struct db_query *queries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		sqlite3_finalize(*queries[i].statement);
		*queries[i].statement = NULL;
	}
}

int db_row(sqlite3_stmt *statement)
{
	int r = sqlite3_step(statement);

	return r == SQLITE_ROW ? 1 : db_error(r);
}

int db_run(sqlite3_stmt *statement)
{
	int r;

	do
		r = sqlite3_step(statement);
	while (r == SQLITE_ROW);
	sqlite3_reset(statement);
	return db_error(r);
}

static void forbid_checkpoint_on_close(sqlite3 *db, bool forbid)
{
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, (int)forbid, NULL);
}

static int db_number(sqlite3 *db, const char *sql, int64_t *ret_number)
{
	_cleanup_finalize_ sqlite3_stmt *statement = NULL;
	int r = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

	if (r != SQLITE_OK)
		return db_error(r);
	r = db_row(statement);
	if (r <= 0)
		return r ? r : -EUCLEAN;
	*ret_number = sqlite3_column_int64(statement, 0);
	return 0;
}

static int quick_check(sqlite3 *db)
{
	_cleanup_finalize_ sqlite3_stmt *statement = NULL;
	int r = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL);

	if (r != SQLITE_OK)
		return db_error(r);
	r = db_row(statement);
	if (r < 0)
		return r;
	const char *verdict = r ? (const char *)sqlite3_column_text(statement, 0) : NULL;

	return verdict && !strcmp(verdict, "ok") ? 0 : -EUCLEAN;
}

int db_check(sqlite3 *db)
{
	int r = quick_check(db);

	if (r)
		forbid_checkpoint_on_close(db, true);
	return r;
}

/* *ret_empty: there is nothing in it yet. */
static int look(sqlite3 *db, int version, bool *ret_empty)
{
	int64_t found_version, tables;

	int r = db_number(db, "PRAGMA user_version", &found_version);
	if (!r)
		r = db_number(db, "SELECT count(*) FROM sqlite_master", &tables);
	if (r)
		return r;
	if (found_version != version && (found_version || tables))
		return -EPROTO;
	*ret_empty = !tables;
	return 0;
}

static int prepare_database(sqlite3 *db, const char *schema, int version, bool durable,
			    bool empty)
{
	char set_version[64];

	snprintf(set_version, sizeof(set_version), "PRAGMA user_version = %d", version);
	int r = db_exec(db, "PRAGMA journal_mode = WAL");
	if (!r)
		r = db_exec(db, durable ? "PRAGMA synchronous = FULL"
					: "PRAGMA synchronous = NORMAL");
	if (!r)
		r = db_exec(db, "PRAGMA temp_store = MEMORY");
	if (r || !empty)
		return r;
	r = db_begin(db);
	if (r)
		return r;
	r = db_exec(db, schema);
	if (!r)
		r = db_exec(db, set_version);
	return db_end(db, r);
}

/* SQLite names files by path; through /proc/self/fd it is the directory that
 * is locked, also if its name has changed since. */
static int connect_in(int dir_fd, const char *name, sqlite3 **ret_db)
{
	char link[64], path[PATH_MAX];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
	ssize_t length = readlink(link, path, sizeof(path));
	if (length < 0)
		return -errno;
	if ((size_t)length + strlen(name) + 2 > sizeof(path))
		return -ENAMETOOLONG;
	snprintf(path + length, sizeof(path) - (size_t)length, "/%s", name);

	int r = sqlite3_open_v2(path, ret_db,
				SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
					SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
				NULL);
	if (r == SQLITE_OK)
		return 0;
	int system_error = *ret_db ? sqlite3_system_errno(*ret_db) : 0;

	return system_error > 0 ? -system_error : db_error(r);
}

int db_open(int dir_fd, const char *name, const char *schema, int version, bool durable,
	    sqlite3 **ret_db)
{
	sqlite3 *db = NULL;
	bool empty = false;

	int r = connect_in(dir_fd, name, &db);
	if (r)
		goto out;
	forbid_checkpoint_on_close(db, true);
	sqlite3_extended_result_codes(db, 1);
	sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS);
	r = look(db, version, &empty);
	if (r)
		goto out;
	forbid_checkpoint_on_close(db, false);
	r = prepare_database(db, schema, version, durable, empty);
	if (r)
		goto out;
	*ret_db = steal_pointer(&db);
out:
	db_close(db);
	return r;
}

sqlite3 *db_close(sqlite3 *db)
{
	sqlite3_close_v2(db);
	return NULL;
}
