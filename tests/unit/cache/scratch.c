/* SPDX-License-Identifier: GPL-3.0-or-later */
/* scratch - see scratch.h. */
#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch *scratch_of(void **state)
{
	return *state;
}

int scratch_setup(void **state)
{
	struct scratch *scratch = calloc(1, sizeof(*scratch));

	if (!scratch)
		return -1;
	strcpy(scratch->root, "/var/tmp/tardigradefs-test.XXXXXX");
	if (!mkdtemp(scratch->root))
		return -1;
	snprintf(scratch->cache, sizeof(scratch->cache), "%s/var/cache/x", scratch->root);
	snprintf(scratch->state, sizeof(scratch->state), "%s/var/lib/x", scratch->root);
	*state = scratch;
	scratch_open(scratch);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

void scratch_remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int scratch_teardown(void **state)
{
	struct scratch *scratch = *state;

	scratch_close(scratch);
	scratch_remove_tree(scratch->root);
	free(scratch);
	return 0;
}

void scratch_open(struct scratch *scratch)
{
	int r = places_open(scratch->cache, scratch->state, SCRATCH_OWNER, 0, &scratch->places,
			    scratch->message, sizeof(scratch->message));
	if (r)
		print_error("%s\n", scratch->message);
	assert_int_equal(r, 0);
}

void scratch_close(struct scratch *scratch)
{
	scratch->places = places_close(scratch->places);
}

static int open_in(const char *dir, const char *name, int flags)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, flags | O_CLOEXEC, 0600);
}

bool scratch_exists(const char *dir, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

void scratch_write(const char *dir, const char *name, const char *data, size_t length)
{
	int fd = open_in(dir, name, O_WRONLY | O_CREAT | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, length), length);
	close(fd);
}

unsigned scratch_count(const char *dir, const char *name)
{
	int fd = open_in(dir, name, O_RDONLY | O_DIRECTORY);
	unsigned count = 0;

	assert_true(fd >= 0);
	DIR *open_dir = fdopendir(fd);
	for (struct dirent *e; (e = readdir(open_dir));)
		count += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(open_dir);
	return count;
}
