/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * files - small things about local files that several modules here need.
 *
 * Errors: the system call's, negated.  Threads: no state.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

int files_write_all(int fd, const void *data, size_t length, off_t offset);
/* The whole of a small file, NUL-terminated.  -EFBIG: it does not fit. */
int files_read_text(int dir_fd, const char *name, char *ret_text, size_t room);
/* Old or new, never half, and on disk when it returns. */
int files_replace_text(int dir_fd, const char *name, const char *text);

/* A directory in dir_fd, made (0700) where missing. */
int files_open_dir(int dir_fd, const char *name, int *ret_fd);

/* from_fd's content into to_fd (empty): by reflink, else copied. */
int files_copy(int from_fd, int to_fd);

/* Each name but "." and "..", read through a descriptor of its own; a non-zero
 * return ends it and is returned. */
typedef int (*files_name_fn)(void *arg, int dir_fd, const char *name);
int files_each_name(int dir_fd, files_name_fn fn, void *arg);
