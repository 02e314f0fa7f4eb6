/* SPDX-License-Identifier: GPL-3.0-or-later */
/* files - see files.h. */
#include "cache/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define COPY_BUFFER (1u << 20)

int files_write_all(int fd, const void *data, size_t length, off_t offset)
{
	const char *at = data;

	while (length) {
		ssize_t n = pwrite(fd, at, length, offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at += n;
		offset += n;
		length -= (size_t)n;
	}
	return 0;
}

int files_read_text(int dir_fd, const char *name, char *ret_text, size_t room)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, ret_text, room);
	if (n < 0)
		return -errno;
	if ((size_t)n == room)
		return -EFBIG;
	ret_text[n] = '\0';
	return 0;
}

int files_replace_text(int dir_fd, const char *name, const char *text)
{
	char aside[64];

	snprintf(aside, sizeof(aside), "%s.new", name);
	_cleanup_close_ int fd =
		openat(dir_fd, aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int r = files_write_all(fd, text, strlen(text), 0);
	if (!r && fsync(fd) < 0)
		r = -errno;
	if (!r && renameat(dir_fd, aside, dir_fd, name) < 0)
		r = -errno;
	if (!r && fsync(dir_fd) < 0)
		r = -errno;
	if (r)
		unlinkat(dir_fd, aside, 0);
	return r;
}

int files_open_dir(int dir_fd, const char *name, int *ret_fd)
{
	if (mkdirat(dir_fd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int copy_by_hand(int from_fd, int to_fd, off_t offset)
{
	_cleanup_free_ char *buffer = malloc(COPY_BUFFER);
	if (!buffer)
		return -ENOMEM;
	for (;;) {
		ssize_t n = pread(from_fd, buffer, COPY_BUFFER, offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : 0;
		int r = files_write_all(to_fd, buffer, (size_t)n, offset);
		if (r)
			return r;
		offset += n;
	}
}

int files_copy(int from_fd, int to_fd)
{
	off_t from = 0, to = 0;

	if (ioctl(to_fd, FICLONE, from_fd) == 0)
		return 0;
	for (;;) {
		ssize_t n = copy_file_range(from_fd, &from, to_fd, &to, (size_t)1 << 30, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 && from > 0)
			return 0;
		if (n > 0)
			continue;
		if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO))
			return -errno;
		/* Not between these filesystems; or nothing to copy. */
		return copy_by_hand(from_fd, to_fd, from);
	}
}

static void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

int files_each_name(int dir_fd, files_name_fn fn, void *arg)
{
	/* Not a dup: that would share the read position. */
	_cleanup_close_ int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	_cleanup_(cleanup_closedir) DIR *dir = fdopendir(fd);
	if (!dir)
		return -errno;
	steal_fd(&fd);
	for (;;) {
		errno = 0;
		struct dirent *entry = readdir(dir);
		if (!entry)
			return -errno;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		int r = fn(arg, dirfd(dir), entry->d_name);
		if (r)
			return r;
	}
}
