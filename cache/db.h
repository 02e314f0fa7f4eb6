/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * db - opening SQLite our way, and its error codes as errno.
 *
 * WAL.  `durable`: each commit is on disk before it returns (the journal);
 * else a crash of this process loses nothing, a power cut may (the cache).
 *
 * A database that is refused (damaged, another version) is not written to:
 * its WAL is neither replayed into it nor removed.
 *
 * Threads: connections are opened without SQLite's own mutex.  One thread at a
 * time uses a connection and its statements; each owner has a lock for that.
 * Not here: what the tables mean.  Errors are returned, never logged.
 */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* schema: SQL that is run on an empty database; `version` goes to
 * user_version.  -EUCLEAN: damaged.  -EPROTO: made by another version. */
int db_open(int dir_fd, const char *name, const char *schema, int version, bool durable,
	    sqlite3 **ret_db);
sqlite3 *db_close(sqlite3 *db);
int db_error(int sqlite_code); /* negative errno; 0 for OK, ROW, DONE */
int db_exec(sqlite3 *db, const char *sql);
/* Reads all of it: for small databases.  -EUCLEAN: damaged. */
int db_check(sqlite3 *db);

/* BEGIN IMMEDIATE; then COMMIT if result is 0, else ROLLBACK.  db_end returns
 * result, or why the commit failed. */
int db_begin(sqlite3 *db);
int db_end(sqlite3 *db, int result);

/*
 * Prepared statements that are kept.  After the last db_row a statement must
 * be reset: db_run does so itself, around db_row it is _cleanup_reset_.
 */
struct db_query {
	sqlite3_stmt **statement;
	const char *sql;
};
int db_prepare(sqlite3 *db, const struct db_query *queries, size_t count);
/* Gives them back; NULL elements are skipped. */
void db_finalize(const struct db_query *queries, size_t count);

int db_run(sqlite3_stmt *statement); /* steps to the end and resets */
int db_row(sqlite3_stmt *statement); /* 1: a row; 0: no more; or a negative errno */

static inline void db_cleanup_reset(sqlite3_stmt **statement)
{
	if (*statement)
		sqlite3_reset(*statement);
}
#define _cleanup_reset_ __attribute__((cleanup(db_cleanup_reset)))

static inline void db_cleanup_finalize(sqlite3_stmt **statement)
{
	sqlite3_finalize(*statement);
}
#define _cleanup_finalize_ __attribute__((cleanup(db_cleanup_finalize)))
