/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * staging - see staging.h.
 *
 * A path is resolved by openat2 up to the directory that holds its last
 * component, beneath the tree and through no symlink; what is done with the
 * last component is done in that directory, and never follows it.
 */
#include "cache/staging.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "cache/files.h"
#include "cache/places.h"

struct staging {
	int fd;
};

int staging_open(struct places *places, struct staging **ret_staging)
{
	struct staging *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	int r = files_open_dir(places_state_fd(places), "staging", &s->fd);
	if (r < 0) {
		free(s);
		return r;
	}
	*ret_staging = s;
	return 0;
}

struct staging *staging_close(struct staging *s)
{
	if (s) {
		close(s->fd);
		free(s);
	}
	return NULL;
}

static int open_beneath(const struct staging *s, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	int fd = syscall(SYS_openat2, s->fd, path, &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

/* The directory of a path, opened, and the last component. */
static int open_parent(const struct staging *s, const char *path, int *ret_fd, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	if (!*name || !strcmp(name, "..") || (slash && !strcmp(name, ".")))
		return -EINVAL;
	_cleanup_free_ char *parent = slash ? strndup(path, slash - path) : strdup(".");
	if (!parent)
		return -ENOMEM;
	int fd = open_beneath(s, parent, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	*ret_name = name;
	return 0;
}

/* Every directory above the last component. */
static int make_parents(const struct staging *s, const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	for (char *slash = strchr(copy, '/'); slash; slash = strchr(slash + 1, '/')) {
		_cleanup_close_ int fd = -1;
		const char *name;
		*slash = 0;
		int r = open_parent(s, copy, &fd, &name);
		if (r == 0 && mkdirat(fd, name, 0700) < 0 && errno != EEXIST)
			r = -errno;
		*slash = '/';
		if (r < 0)
			return r;
	}
	return 0;
}

int staging_stat(struct staging *s, const char *path, struct stat *ret_stat)
{
	_cleanup_close_ int fd = -1;
	const char *name;
	int r = open_parent(s, path, &fd, &name);
	if (r == 0 && fstatat(fd, name, ret_stat, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	return r == -ENOTDIR ? -ENOENT : r;
}

int staging_mkdir(struct staging *s, const char *path)
{
	_cleanup_close_ int fd = -1;
	const char *name;
	int r = make_parents(s, path);
	if (r == 0)
		r = open_parent(s, path, &fd, &name);
	if (r == 0 && mkdirat(fd, name, 0700) < 0)
		r = -errno;
	return r;
}

static int remove_at(struct staging *s, const char *path, int flags)
{
	_cleanup_close_ int fd = -1;
	const char *name;
	int r = open_parent(s, path, &fd, &name);
	if (r == 0 && unlinkat(fd, name, flags) < 0)
		r = -errno;
	return r;
}

int staging_rmdir(struct staging *s, const char *path)
{
	return remove_at(s, path, AT_REMOVEDIR);
}

int staging_unlink(struct staging *s, const char *path)
{
	return remove_at(s, path, 0);
}

/* openat2 refuses what it does not know, and FUSE passes on bits that are the
 * kernel's own. */
#define OPEN_FLAGS                                                                         \
	(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC | O_DIRECTORY)

int staging_open_file(struct staging *s, const char *path, int flags, int *ret_fd)
{
	flags &= OPEN_FLAGS;
	int fd = open_beneath(s, path, flags, 0600);
	if (fd == -ENOENT && (flags & O_CREAT)) {
		int r = make_parents(s, path);
		fd = r < 0 ? r : open_beneath(s, path, flags, 0600);
	}
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

static int rename_to(struct staging *s, const char *from, int to_fd, const char *to_name,
		     unsigned flags)
{
	_cleanup_close_ int fd = -1;
	const char *name;
	int r = open_parent(s, from, &fd, &name);
	if (r == 0 && renameat2(fd, name, to_fd, to_name, flags) < 0)
		r = -errno;
	return r;
}

int staging_rename(struct staging *s, const char *from, const char *to, unsigned flags)
{
	_cleanup_close_ int fd = -1;
	const char *name;
	struct stat st;
	int r = staging_stat(s, from, &st); /* no parents for nothing */
	if (r == 0)
		r = make_parents(s, to);
	if (r == 0)
		r = open_parent(s, to, &fd, &name);
	return r < 0 ? r : rename_to(s, from, fd, name, flags);
}

int staging_link_out(struct staging *s, const char *path, int dir_fd, const char *name)
{
	_cleanup_close_ int fd = -1;
	const char *from;
	int r = open_parent(s, path, &fd, &from);
	if (r == 0 && linkat(fd, from, dir_fd, name, 0) < 0)
		r = -errno;
	return r;
}

int staging_sync_dir(struct staging *s, const char *path)
{
	_cleanup_close_ int fd = open_beneath(s, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	return fsync(fd) < 0 ? -errno : 0;
}

struct each {
	staging_name_fn fn;
	void *arg;
};

static int each_name(void *arg, int dir_fd, const char *name)
{
	struct each *e = arg;
	struct stat st;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return e->fn(e->arg, name, &st);
}

int staging_each(struct staging *s, const char *path, staging_name_fn fn, void *arg)
{
	struct each each = { fn, arg };
	_cleanup_close_ int fd = open_beneath(s, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd == -ENOTDIR ? -ENOENT : fd;
	return files_each_name(fd, each_name, &each);
}
