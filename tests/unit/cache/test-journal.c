/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-journal - rows come back in order; what is not ours stays as it was. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/db.h"
#include "cache/journal.h"
#include "scratch.h"

struct seen {
	unsigned count;
	uint64_t last;
	char keys[256];
	int result;
};

static int note(void *arg, const struct journal_record *record)
{
	struct seen *seen = arg;

	assert_true(record->row > seen->last);
	seen->last = record->row;
	seen->count++;
	strncat(seen->keys, record->key, 20);
	return seen->result;
}

static uint64_t add(struct journal *journal, const char *key, bool sync)
{
	struct journal_record record = { .kind = JOURNAL_UPLOAD, .number = 7, .key = key };

	assert_int_equal(journal_add(journal, &record, sync), 0);
	return record.row;
}

static void test_order_and_done(void **state)
{
	struct scratch *s = scratch_of(state);
	struct journal *journal = NULL;
	struct seen seen = { 0 };

	assert_int_equal(journal_open(s->places, &journal), 0);
	add(journal, "a", true);
	uint64_t b = add(journal, "b", false);
	uint64_t c = add(journal, "c", true);
	assert_int_equal(journal_done(journal, b), 0);
	assert_int_equal(journal_done(journal, b), 0);
	journal = journal_close(journal);
	assert_null(journal);

	assert_int_equal(journal_open(s->places, &journal), 0);
	assert_int_equal(journal_each(journal, note, &seen), 0);
	assert_string_equal(seen.keys, "ac");
	assert_int_equal(seen.last, c);
	/* A number is not given again, even if the last row is gone. */
	assert_int_equal(journal_done(journal, c), 0);
	assert_true(add(journal, "d", true) > c);
	seen = (struct seen){ .result = 42 };
	assert_int_equal(journal_each(journal, note, &seen), 42);
	assert_int_equal(seen.count, 1);
	journal_close(journal);
	assert_null(journal_close(NULL));
}

static int check_copy(void *arg, const struct journal_record *r)
{
	*(bool *)arg = true;
	assert_int_equal(r->kind, JOURNAL_COPY);
	assert_int_equal(r->number, 0);
	assert_true(r->mtime_ns == -5);
	assert_string_equal(r->key, "to/\xff\xfe");
	assert_string_equal(r->from_key, "from");
	assert_string_equal(r->etag, "e");
	assert_null(r->upload_id);
	return 0;
}

static void test_all_fields(void **state)
{
	struct scratch *s = scratch_of(state);
	struct journal *journal = NULL;
	struct journal_record record = {
		.kind = JOURNAL_COPY,
		.mtime_ns = -5,
		.key = "to/\xff\xfe",
		.from_key = "from",
		.etag = "e",
	};
	bool called = false;

	assert_int_equal(journal_open(s->places, &journal), 0);
	assert_int_equal(journal_add(journal, &record, true), 0);
	assert_true(record.row);
	assert_int_equal(journal_each(journal, check_copy, &called), 0);
	assert_true(called);
	record.key = NULL;
	assert_int_equal(journal_add(journal, &record, true), -EINVAL);
	journal_close(journal);
}

static void test_survives_a_kill(void **state)
{
	struct scratch *s = scratch_of(state);
	struct journal *journal = NULL;
	struct seen seen = { 0 };
	int status;

	pid_t child = fork();
	if (child == 0) {
		if (journal_open(s->places, &journal))
			_exit(1);
		add(journal, "a", false);
		add(journal, "b", true);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(journal_open(s->places, &journal), 0);
	assert_int_equal(journal_each(journal, note, &seen), 0);
	assert_string_equal(seen.keys, "ab");
	journal_close(journal);
}

static void test_newer_is_refused(void **state)
{
	struct scratch *s = scratch_of(state);
	struct journal *journal = NULL;
	sqlite3 *db = NULL;

	assert_int_equal(db_open(places_state_fd(s->places), "journal.db", "CREATE TABLE z(x)", 99,
				 true, &db),
			 0);
	db_close(db);
	assert_int_equal(journal_open(s->places, &journal), -EPROTO);
	assert_null(journal);
	assert_int_equal(db_open(places_state_fd(s->places), "journal.db", "", 99, true, &db), 0);
	db_close(db);
}

static char before[1 << 20], after[1 << 20];

static void read_journal(struct scratch *s, char *data, size_t *ret_length)
{
	int fd = openat(places_state_fd(s->places), "journal.db", O_RDWR | O_CLOEXEC);
	ssize_t n = read(fd, data, sizeof(before));

	assert_true(n > 0);
	*ret_length = (size_t)n;
	close(fd);
}

/* J3 */
static void test_damaged_is_untouched(void **state)
{
	struct scratch *s = scratch_of(state);
	struct journal *journal = NULL;
	char key[200];
	size_t length, again;

	memset(key, 'k', sizeof(key));
	key[sizeof(key) - 1] = '\0';
	assert_int_equal(journal_open(s->places, &journal), 0);
	for (int i = 0; i < 200; i++)
		add(journal, key, false);
	journal_close(journal);

	read_journal(s, before, &length);
	/* A page in the middle of the table. */
	memset(before + 4 * 4096, 0xa5, 4096);
	scratch_write(s->state, "journal.db", before, length);
	assert_int_equal(journal_open(s->places, &journal), -EUCLEAN);
	read_journal(s, after, &again);
	assert_int_equal(again, length);
	assert_memory_equal(before, after, length);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_order_and_done),     TEST(test_all_fields),
		TEST(test_survives_a_kill),    TEST(test_newer_is_refused),
		TEST(test_damaged_is_untouched),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
