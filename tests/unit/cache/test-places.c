/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-places - locked, bound, written to for real; ids never come twice. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scratch.h"

static int try_open(struct scratch *s, const char *owner, unsigned wait_s)
{
	struct places *again = NULL;
	int r = places_open(s->cache, s->state, owner, wait_s, &again, s->message,
			    sizeof(s->message));

	if (r)
		assert_null(again);
	places_close(again);
	return r;
}

static void assert_says(struct scratch *s, const char *what)
{
	if (!strstr(s->message, what))
		fail_msg("\"%s\" does not say \"%s\"", s->message, what);
	assert_null(strchr(s->message, '\n'));
}

static void test_makes_directories(void **state)
{
	struct scratch *s = scratch_of(state);
	struct stat st;

	assert_int_equal(stat(s->cache, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(s->state, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_true(scratch_exists(s->state, "ids"));
	assert_false(scratch_exists(s->state, "probe"));
	assert_null(places_close(NULL));
}

static void test_is_locked(void **state)
{
	struct scratch *s = scratch_of(state);
	char pid[32];

	assert_int_equal(try_open(s, SCRATCH_OWNER, 0), -EBUSY);
	snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
	assert_says(s, pid);
	assert_says(s, s->state);
	assert_says(s, "unmount");
	scratch_close(s);
	assert_int_equal(try_open(s, SCRATCH_OWNER, 0), 0);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *leave_slowly(void *arg)
{
	struct scratch *s = arg;

	usleep(300000);
	scratch_close(s);
	return NULL;
}

static void test_waits_for_one_that_leaves(void **state)
{
	struct scratch *s = scratch_of(state);
	struct scratch other = *s;
	pthread_t thread;

	places_mark(s->places, true);
	pthread_create(&thread, NULL, leave_slowly, s);
	assert_int_equal(try_open(&other, SCRATCH_OWNER, 20), 0);
	pthread_join(thread, NULL);
}

static void test_does_not_wait_for_one_that_stays(void **state)
{
	struct scratch *s = scratch_of(state);
	double began = now_s();

	assert_int_equal(try_open(s, SCRATCH_OWNER, 20), -EBUSY);
	assert_true(now_s() - began < 6);
}

static void test_is_bound(void **state)
{
	struct scratch *s = scratch_of(state);

	/* Wrong beats busy: waiting would not help. */
	assert_int_equal(try_open(s, "http://other/bucket", 20), -EEXIST);
	assert_says(s, "http://other/bucket");
	assert_says(s, SCRATCH_OWNER);
	scratch_close(s);
	assert_int_equal(try_open(s, "http://other/bucket", 0), -EEXIST);
	assert_int_equal(try_open(s, "two\nlines", 0), -EINVAL);
	assert_int_equal(try_open(s, SCRATCH_OWNER, 0), 0);
	/* The cache directory may be deleted; the state remembers. */
	scratch_remove_tree(s->cache);
	assert_int_equal(try_open(s, "http://other/bucket", 0), -EEXIST);
	assert_says(s, "state directory");
}

static void test_two_are_not_one(void **state)
{
	struct scratch *s = scratch_of(state);

	scratch_close(s);
	memcpy(s->cache, s->state, sizeof(s->cache));
	assert_int_equal(try_open(s, SCRATCH_OWNER, 0), -EINVAL);
	assert_says(s, "cache_dir=");
}

static void test_not_a_directory(void **state)
{
	struct scratch *s = scratch_of(state);

	scratch_close(s);
	scratch_remove_tree(s->cache);
	scratch_write(s->root, "var/cache/x", "x", 1);
	assert_int_equal(try_open(s, SCRATCH_OWNER, 0), -ENOTDIR);
	assert_says(s, s->cache);
}

static void test_not_writable(void **state)
{
	struct scratch *s = scratch_of(state);
	bool root = geteuid() == 0;

	scratch_close(s);
	/* Root may write everywhere: be somebody else. */
	assert_int_equal(chmod(s->root, 0755), 0);
	assert_int_equal(chmod(s->cache, 0500), 0);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	int r = try_open(s, SCRATCH_OWNER, 0);
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(r, -EACCES);
	assert_says(s, "not writable");
	assert_int_equal(chmod(s->cache, 0700), 0);
}

/* On a filesystem of its own, as a child in a mount namespace of its own; where
 * that is not allowed there is nothing to see. */
static int full_disk_child(struct scratch *s)
{
	char path[256];

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("t", s->cache, "tmpfs", 0, "size=32k"))
		return 0;
	if (try_open(s, SCRATCH_OWNER, 0) != -ENOSPC || !strstr(s->message, "full"))
		return 1;
	snprintf(path, sizeof(path), "%s/probe", s->cache);
	if (access(path, F_OK) == 0)
		return 2;
	if (mount(NULL, s->cache, NULL, MS_REMOUNT | MS_RDONLY, NULL))
		return 0;
	return try_open(s, SCRATCH_OWNER, 0) == -EROFS && strstr(s->message, "read-only") ? 0 : 3;
}

static void test_full_disk(void **state)
{
	struct scratch *s = scratch_of(state);
	int status;

	scratch_close(s);
	pid_t child = fork();
	if (child == 0)
		_exit(full_disk_child(s));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_ids_grow_over_mounts(void **state)
{
	struct scratch *s = scratch_of(state);
	uint64_t last = 1;

	for (int mount_number = 0; mount_number < 5; mount_number++) {
		for (int i = 0; i < 1000; i++) {
			uint64_t id = places_next_id(s->places);
			assert_true(id > last);
			last = id;
		}
		assert_true(places_id_mark(s->places) > last);
		scratch_close(s);
		scratch_open(s);
	}
}

static void test_ids_past_a_block(void **state)
{
	struct scratch *s = scratch_of(state);
	uint64_t last = 0;

	for (int i = 0; i < (1 << 20) + 10; i++)
		last = places_next_id(s->places);
	assert_true(places_id_mark(s->places) > last);
	scratch_close(s);
	scratch_open(s);
	assert_true(places_next_id(s->places) > last);
}

static void test_ids_are_raised(void **state)
{
	struct scratch *s = scratch_of(state);

	assert_int_equal(places_raise_ids(s->places, 123456789012), 0);
	assert_true(places_next_id(s->places) >= 123456789012);
	assert_int_equal(places_raise_ids(s->places, 5), 0);
	assert_true(places_next_id(s->places) > 123456789012);
	assert_int_equal(places_raise_ids(s->places, UINT64_MAX), -EUCLEAN);
	scratch_close(s);
	scratch_open(s);
	assert_true(places_next_id(s->places) > 123456789012);
}

static void test_damaged_ids(void **state)
{
	static const char *const bad[] = { "", "x\n", "17", "-3\n", "1\n", "12 13\n",
					   "99999999999999999999999\n" };
	struct scratch *s = scratch_of(state);

	scratch_close(s);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		scratch_write(s->state, "ids", bad[i], strlen(bad[i]));
		assert_int_equal(try_open(s, SCRATCH_OWNER, 0), -EUCLEAN);
		assert_says(s, "ids");
	}
}

static void *take_ids(void *arg)
{
	struct scratch *s = arg;
	uint64_t last = 0;

	for (int i = 0; i < 100000; i++) {
		uint64_t id = places_next_id(s->places);
		if (id <= last)
			return (void *)1;
		last = id;
	}
	return NULL;
}

static void test_ids_from_threads(void **state)
{
	struct scratch *s = scratch_of(state);
	uint64_t first = places_next_id(s->places);
	pthread_t threads[4];
	void *failed;

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, take_ids, s);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(places_next_id(s->places), first + 400001);
}

static void test_boot(void **state)
{
	struct scratch *s = scratch_of(state);

	assert_false(places_unclean_boot(s->places));
	assert_true(scratch_exists(s->cache, "boot"));
	scratch_close(s);
	assert_false(scratch_exists(s->cache, "boot"));

	scratch_write(s->cache, "boot", "another\n", 8);
	scratch_open(s);
	assert_true(places_unclean_boot(s->places));
	/* Nothing was done about it: the next must know too. */
	scratch_close(s);
	scratch_open(s);
	assert_true(places_unclean_boot(s->places));
	assert_int_equal(places_boot_noted(s->places), 0);
	scratch_close(s);
	scratch_open(s);
	assert_false(places_unclean_boot(s->places));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_makes_directories),
		TEST(test_is_locked),
		TEST(test_waits_for_one_that_leaves),
		TEST(test_does_not_wait_for_one_that_stays),
		TEST(test_is_bound),
		TEST(test_two_are_not_one),
		TEST(test_not_a_directory),
		TEST(test_not_writable),
		TEST(test_full_disk),
		TEST(test_ids_grow_over_mounts),
		TEST(test_ids_past_a_block),
		TEST(test_ids_are_raised),
		TEST(test_damaged_ids),
		TEST(test_ids_from_threads),
		TEST(test_boot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
