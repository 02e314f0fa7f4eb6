/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * spool - see spool.h.
 *
 * Opening looks at every name once: a state directory whose `ids` was lost must
 * not give out a number that a file here has.
 */
#include "cache/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cache/files.h"
#include "cache/places.h"

struct spool {
	int fd;
};

static int raise_ids(void *arg, uint64_t number)
{
	return places_raise_ids(arg, number + 1);
}

int spool_open(struct places *places, struct spool **ret_spool)
{
	struct spool *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->fd = -1;
	int r = files_open_dir(places_state_fd(places), "spool", &s->fd);
	if (r == 0)
		r = spool_each(s, raise_ids, places);
	if (r < 0) {
		spool_close(s);
		return r;
	}
	*ret_spool = s;
	return 0;
}

struct spool *spool_close(struct spool *s)
{
	if (s && s->fd >= 0)
		close(s->fd);
	free(s);
	return NULL;
}

int spool_dir_fd(const struct spool *s)
{
	return s->fd;
}

void spool_name(uint64_t number, char ret_name[SPOOL_NAME_MAX])
{
	snprintf(ret_name, SPOOL_NAME_MAX, "%llu", (unsigned long long)number);
}

static int open_number(const struct spool *s, uint64_t number, int flags, int *ret_fd)
{
	char name[SPOOL_NAME_MAX];
	spool_name(number, name);
	int fd = openat(s->fd, name, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int spool_create(struct spool *s, uint64_t number, int *ret_fd)
{
	return open_number(s, number, O_CREAT | O_EXCL, ret_fd);
}

int spool_open_file(struct spool *s, uint64_t number, int *ret_fd)
{
	return open_number(s, number, 0, ret_fd);
}

int spool_remove(struct spool *s, uint64_t number)
{
	char name[SPOOL_NAME_MAX];
	spool_name(number, name);
	return unlinkat(s->fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int spool_copy(struct spool *s, int from_fd, uint64_t to_number, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	int r = spool_create(s, to_number, &fd);
	if (r < 0)
		return r;
	r = files_copy(from_fd, fd);
	if (r < 0) {
		spool_remove(s, to_number);
		return r;
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

struct each {
	spool_fn fn;
	void *arg;
};

static int each_name(void *arg, int dir_fd, const char *name)
{
	struct each *e = arg;
	char same[SPOOL_NAME_MAX];
	(void)dir_fd;
	uint64_t number = strtoull(name, NULL, 10);
	spool_name(number, same);
	return !number || strcmp(name, same) ? 0 : e->fn(e->arg, number);
}

int spool_each(struct spool *s, spool_fn fn, void *arg)
{
	struct each each = { fn, arg };
	return files_each_name(s->fd, each_name, &each);
}
