/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-staging - a tree that nothing leads out of. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache/spool.h"
#include "cache/staging.h"
#include "scratch.h"

#define DATA "docker/registry/v2/repositories/a/_uploads/u/data"

static struct staging *open_staging(struct scratch *s)
{
	struct staging *staging = NULL;

	assert_int_equal(staging_open(s->places, &staging), 0);
	return staging;
}

static void make_file(struct staging *staging, const char *path)
{
	int fd = -1;

	assert_int_equal(staging_open_file(staging, path, O_WRONLY | O_CREAT, &fd), 0);
	close(fd);
}

static void test_files(void **state)
{
	struct staging *staging = open_staging(scratch_of(state));
	struct stat st;
	int fd = -1;

	assert_int_equal(staging_stat(staging, DATA, &st), -ENOENT);
	assert_int_equal(staging_open_file(staging, DATA, O_RDONLY, &fd), -ENOENT);
	assert_int_equal(fd, -1);
	/* 0x20 and O_LARGEFILE: bits that FUSE passes on. */
	assert_int_equal(staging_open_file(staging, DATA, O_RDWR | O_CREAT | O_EXCL | 0x8020, &fd), 0);
	assert_int_equal(write(fd, "abc", 3), 3);
	close(fd);
	assert_int_equal(staging_open_file(staging, DATA, O_RDWR | O_CREAT | O_EXCL, &fd), -EEXIST);
	assert_int_equal(staging_stat(staging, DATA, &st), 0);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(staging_stat(staging, ".", &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(staging_stat(staging, DATA "/below", &st), -ENOENT);
	assert_int_equal(staging_unlink(staging, DATA), 0);
	assert_int_equal(staging_unlink(staging, DATA), -ENOENT);
	assert_null(staging_close(staging));
	assert_null(staging_close(NULL));
}

static void test_directories(void **state)
{
	struct staging *staging = open_staging(scratch_of(state));
	struct stat st;

	assert_int_equal(staging_mkdir(staging, "a/b/c"), 0);
	assert_int_equal(staging_mkdir(staging, "a/b/c"), -EEXIST);
	assert_int_equal(staging_stat(staging, "a/b", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(staging_rmdir(staging, "a/b"), -ENOTEMPTY);
	assert_int_equal(staging_rmdir(staging, "a/b/c"), 0);
	assert_int_equal(staging_sync_dir(staging, "a/b"), 0);
	assert_int_equal(staging_sync_dir(staging, "a/x"), -ENOENT);
	make_file(staging, "a/f");
	assert_int_equal(staging_mkdir(staging, "a/f/g"), -ENOTDIR);
	assert_int_equal(staging_rmdir(staging, "a/f"), -ENOTDIR);
	assert_int_equal(staging_unlink(staging, "a/b"), -EISDIR);
	staging_close(staging);
}

static void test_rename(void **state)
{
	struct staging *staging = open_staging(scratch_of(state));
	struct stat st;

	make_file(staging, "a/f");
	make_file(staging, "a/g");
	assert_int_equal(staging_rename(staging, "a/none", "new/dir/f", 0), -ENOENT);
	assert_int_equal(staging_stat(staging, "new", &st), -ENOENT);
	assert_int_equal(staging_rename(staging, "a/f", "a/g", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(staging_rename(staging, "a/f", "a/g", 0), 0);
	assert_int_equal(staging_stat(staging, "a/f", &st), -ENOENT);
	assert_int_equal(staging_rename(staging, "a/g", "new/dir/f", 0), 0);
	assert_int_equal(staging_stat(staging, "new/dir/f", &st), 0);
	staging_close(staging);
}

static void test_nothing_leads_out(void **state)
{
	struct scratch *s = scratch_of(state);
	struct staging *staging = open_staging(s);
	char link[256];
	struct stat st;
	int fd = -1;

	scratch_write(s->state, "secret", "x", 1);
	snprintf(link, sizeof(link), "%s/staging/out", s->state);
	assert_int_equal(symlink("..", link), 0);
	snprintf(link, sizeof(link), "%s/staging/file", s->state);
	assert_int_equal(symlink("../secret", link), 0);

	assert_true(staging_open_file(staging, "../secret", O_RDONLY, &fd) < 0);
	assert_true(staging_open_file(staging, "out/secret", O_RDONLY, &fd) < 0);
	assert_true(staging_open_file(staging, "file", O_RDONLY, &fd) < 0);
	assert_true(staging_open_file(staging, "/etc/passwd", O_RDONLY, &fd) < 0);
	assert_true(staging_open_file(staging, "x/../../y", O_WRONLY | O_CREAT, &fd) < 0);
	assert_int_equal(fd, -1);
	assert_true(staging_stat(staging, "out/secret", &st) < 0);
	assert_true(staging_stat(staging, "..", &st) < 0);
	assert_true(staging_unlink(staging, "out/secret") < 0);
	assert_true(staging_mkdir(staging, "out/dir") < 0);
	assert_true(staging_mkdir(staging, "../dir") < 0);
	assert_true(staging_rename(staging, "file", "../file", 0) < 0);
	assert_true(staging_rename(staging, "../secret", "here", 0) < 0);
	assert_int_equal(staging_unlink(staging, ""), -EINVAL);
	assert_int_equal(staging_rmdir(staging, "."), -EINVAL);
	assert_true(scratch_exists(s->state, "secret"));
	assert_false(scratch_exists(s->state, "y"));
	assert_false(scratch_exists(s->state, "dir"));
	/* The link itself may go. */
	assert_int_equal(staging_unlink(staging, "out"), 0);
	staging_close(staging);
}

static int count_name(void *arg, const char *name, const struct stat *st)
{
	unsigned *count = arg;

	assert_true(*name != '.');
	assert_true(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode));
	return ++*count == 100 ? 7 : 0;
}

static void test_each(void **state)
{
	struct staging *staging = open_staging(scratch_of(state));
	unsigned count = 0;
	char path[64];

	assert_int_equal(staging_each(staging, "d", count_name, &count), -ENOENT);
	for (int i = 0; i < 50; i++) {
		snprintf(path, sizeof(path), "d/%d", i);
		make_file(staging, path);
		snprintf(path, sizeof(path), "d/dir%d", i);
		assert_int_equal(staging_mkdir(staging, path), 0);
	}
	assert_int_equal(staging_each(staging, "d", count_name, &count), 7);
	count = 0;
	assert_int_equal(staging_each(staging, ".", count_name, &count), 0);
	assert_int_equal(count, 1);
	staging_close(staging);
}

static void test_move_out(void **state)
{
	struct scratch *s = scratch_of(state);
	struct staging *staging = open_staging(s);
	struct spool *spool = NULL;
	int fd = -1;

	assert_int_equal(spool_open(s->places, &spool), 0);
	make_file(staging, DATA);
	assert_int_equal(staging_link_out(staging, DATA, spool_dir_fd(spool), "17"), 0);
	assert_int_equal(staging_link_out(staging, DATA, spool_dir_fd(spool), "17"), -EEXIST);
	assert_int_equal(spool_open_file(spool, 17, &fd), 0);
	close(fd);
	spool_close(spool);
	staging_close(staging);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_files),	      TEST(test_directories), TEST(test_rename),
		TEST(test_nothing_leads_out), TEST(test_each),	      TEST(test_move_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
