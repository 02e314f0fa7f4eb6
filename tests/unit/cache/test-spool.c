/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-spool - numbered files: made, copied, listed, and numbers not reused. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/spool.h"
#include "scratch.h"

static void test_create_open_remove(void **state)
{
	struct scratch *s = scratch_of(state);
	struct spool *spool = NULL;
	char data[8] = { 0 };
	int fd = -1, again = -1;

	assert_int_equal(spool_open(s->places, &spool), 0);
	assert_int_equal(spool_create(spool, 42, &fd), 0);
	assert_int_equal(write(fd, "hello", 5), 5);
	assert_int_equal(spool_create(spool, 42, &again), -EEXIST);
	assert_int_equal(again, -1);
	assert_int_equal(spool_open_file(spool, 42, &again), 0);
	assert_int_equal(pread(again, data, 8, 0), 5);
	assert_string_equal(data, "hello");
	close(again);
	close(fd);
	assert_int_equal(spool_open_file(spool, 43, &again), -ENOENT);
	assert_int_equal(spool_remove(spool, 42), 0);
	assert_int_equal(spool_remove(spool, 42), 0);
	assert_int_equal(spool_open_file(spool, 42, &again), -ENOENT);
	assert_null(spool_close(spool));
	assert_null(spool_close(NULL));
}

static void test_copy(void **state)
{
	struct scratch *s = scratch_of(state);
	struct spool *spool = NULL;
	char data[16] = { 0 };
	int from = -1, to = -1;
	struct stat st;

	assert_int_equal(spool_open(s->places, &spool), 0);
	assert_int_equal(spool_create(spool, 1, &from), 0);
	/* Empty, and with a hole: copying starts at the beginning whatever the
	 * descriptor's position. */
	assert_int_equal(spool_copy(spool, from, 2, &to), 0);
	close(to);
	assert_int_equal(pwrite(from, "hello", 5, 3 << 20), 5);
	assert_int_equal(lseek(from, 77, SEEK_SET), 77);
	assert_int_equal(spool_copy(spool, from, 2, &to), -EEXIST);
	assert_int_equal(spool_copy(spool, from, 3, &to), 0);
	assert_int_equal(fstat(to, &st), 0);
	assert_int_equal(st.st_size, (3 << 20) + 5);
	assert_int_equal(pread(to, data, 16, 3 << 20), 5);
	assert_string_equal(data, "hello");
	assert_int_equal(pread(to, data, 1, 0), 1);
	assert_int_equal(data[0], 0);
	close(to);
	close(from);
	spool_close(spool);
}

struct sum {
	struct spool *spool;
	uint64_t numbers;
	unsigned count;
	int result;
};

static int add_and_remove(void *arg, uint64_t number)
{
	struct sum *sum = arg;

	sum->numbers += number;
	sum->count++;
	if (sum->spool)
		assert_int_equal(spool_remove(sum->spool, number), 0);
	return sum->result;
}

static void test_each(void **state)
{
	struct scratch *s = scratch_of(state);
	struct spool *spool = NULL;
	struct sum sum = { 0 };
	int fd;

	assert_int_equal(spool_open(s->places, &spool), 0);
	for (uint64_t i = 1; i <= 1000; i++) {
		assert_int_equal(spool_create(spool, i, &fd), 0);
		close(fd);
	}
	/* No numbers of ours. */
	scratch_write(s->state, "spool/x", "", 0);
	scratch_write(s->state, "spool/007", "", 0);
	scratch_write(s->state, "spool/12x", "", 0);
	scratch_write(s->state, "spool/99999999999999999999999", "", 0);
	sum.result = 5;
	assert_int_equal(spool_each(spool, add_and_remove, &sum), 5);
	assert_int_equal(sum.count, 1);
	sum = (struct sum){ .spool = spool };
	assert_int_equal(spool_each(spool, add_and_remove, &sum), 0);
	assert_int_equal(sum.count, 1000);
	assert_int_equal(sum.numbers, 500500);
	sum = (struct sum){ 0 };
	assert_int_equal(spool_each(spool, add_and_remove, &sum), 0);
	assert_int_equal(sum.count, 0);
	spool_close(spool);
}

static void test_numbers_are_not_reused(void **state)
{
	struct scratch *s = scratch_of(state);
	struct spool *spool = NULL;
	char ids[256];
	int fd;

	assert_int_equal(spool_open(s->places, &spool), 0);
	assert_int_equal(spool_create(spool, 555000111, &fd), 0);
	close(fd);
	spool_close(spool);
	scratch_close(s);
	snprintf(ids, sizeof(ids), "%s/ids", s->state);
	assert_int_equal(unlink(ids), 0);
	scratch_open(s);
	assert_int_equal(spool_open(s->places, &spool), 0);
	assert_true(places_next_id(s->places) > 555000111);
	spool_close(spool);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_create_open_remove),
		TEST(test_copy),
		TEST(test_each),
		TEST(test_numbers_are_not_reused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
