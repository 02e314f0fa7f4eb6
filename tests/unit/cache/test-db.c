/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-db - what is refused is refused untouched; errors are errno. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/db.h"
#include "scratch.h"

#define SCHEMA "CREATE TABLE t(x INTEGER PRIMARY KEY)"

static int open_db(struct scratch *s, int version, sqlite3 **ret_db)
{
	return db_open(places_cache_fd(s->places), "a.db", SCHEMA, version, false, ret_db);
}

static void test_codes(void **state)
{
	assert_int_equal(db_error(SQLITE_OK), 0);
	assert_int_equal(db_error(SQLITE_DONE), 0);
	assert_int_equal(db_error(SQLITE_CORRUPT_INDEX), -EUCLEAN);
	assert_int_equal(db_error(SQLITE_NOTADB), -EUCLEAN);
	assert_int_equal(db_error(SQLITE_FULL), -ENOSPC);
	assert_int_equal(db_error(SQLITE_CONSTRAINT_UNIQUE), -EEXIST);
	assert_int_equal(db_error(SQLITE_IOERR_NOMEM), -ENOMEM);
	assert_int_equal(db_error(SQLITE_IOERR_FSYNC), -EIO);
	assert_int_equal(db_error(12345), -EIO);
}

static void test_opens_twice(void **state)
{
	struct scratch *s = scratch_of(state);
	sqlite3 *db = NULL;

	assert_int_equal(open_db(s, 3, &db), 0);
	assert_int_equal(db_exec(db, "INSERT INTO t VALUES(7)"), 0);
	db = db_close(db);
	assert_int_equal(open_db(s, 3, &db), 0);
	assert_int_equal(db_exec(db, "INSERT INTO t VALUES(7)"), -EEXIST);
	assert_int_equal(db_check(db), 0);
	assert_null(db_close(db));
	assert_null(db_close(NULL));
}

static void test_a_rollback_undoes(void **state)
{
	struct scratch *s = scratch_of(state);
	sqlite3 *db = NULL;

	assert_int_equal(open_db(s, 3, &db), 0);
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(db_exec(db, "INSERT INTO t VALUES(7)"), 0);
	assert_int_equal(db_end(db, -EIO), -EIO);
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(db_exec(db, "INSERT INTO t VALUES(7)"), 0);
	assert_int_equal(db_end(db, 0), 0);
	db_close(db);
}

/* Two versions of `a.db` and its WAL, to compare. */
static size_t slurp(struct scratch *s, const char *name, char *ret_data, size_t room)
{
	int fd = openat(places_cache_fd(s->places), name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, ret_data, room) : 0;

	if (fd >= 0)
		close(fd);
	return n > 0 ? (size_t)n : 0;
}

static char before[1 << 20], after[1 << 20];

static void test_another_version_is_untouched(void **state)
{
	struct scratch *s = scratch_of(state);
	sqlite3 *db = NULL, *other = (sqlite3 *)1;

	/* As after a crash: a WAL that was not copied back. */
	assert_int_equal(open_db(s, 4, &db), 0);
	assert_int_equal(db_exec(db, "INSERT INTO t VALUES(7)"), 0);
	assert_int_equal(sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL), SQLITE_OK);
	db = db_close(db);
	assert_true(scratch_exists(s->cache, "a.db-wal"));

	size_t length = slurp(s, "a.db", before, sizeof(before));
	assert_int_equal(open_db(s, 3, &other), -EPROTO);
	assert_ptr_equal(other, (sqlite3 *)1);
	assert_int_equal(slurp(s, "a.db", after, sizeof(after)), length);
	assert_memory_equal(before, after, length);
	assert_true(scratch_exists(s->cache, "a.db-wal"));

	assert_int_equal(open_db(s, 4, &db), 0);
	assert_int_equal(db_exec(db, "INSERT INTO t VALUES(7)"), -EEXIST);
	db_close(db);
}

static void test_no_database_is_untouched(void **state)
{
	struct scratch *s = scratch_of(state);
	sqlite3 *db = NULL;

	memset(before, 'x', 8192);
	scratch_write(s->cache, "a.db", before, 8192);
	assert_int_equal(open_db(s, 3, &db), -EUCLEAN);
	assert_null(db);
	assert_int_equal(slurp(s, "a.db", after, sizeof(after)), 8192);
	assert_memory_equal(before, after, 8192);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codes),
		cmocka_unit_test_setup_teardown(test_opens_twice, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_a_rollback_undoes, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_another_version_is_untouched, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(test_no_database_is_untouched, scratch_setup,
						scratch_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
