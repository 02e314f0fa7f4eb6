/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * staging - upload sessions, as an ordinary directory tree.
 *
 * state_dir/staging/ mirrors the paths of what is staged: it survives kill -9
 * and power cuts by the local filesystem's own rules.
 *
 * Paths are relative ("docker/registry/.../_uploads/x/data"), and are resolved
 * beneath the tree without following links; "." is the tree itself.
 * A path that ends in "..", "/" or "/." is -EINVAL.
 * Errors: the system call's, negated.  Threads: call from any; no lock.
 */
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

struct places;
struct staging;

int staging_open(struct places *places, struct staging **ret_staging);
struct staging *staging_close(struct staging *staging);

int staging_stat(struct staging *staging, const char *path, struct stat *ret_stat);
/* Parents are made too. */
int staging_mkdir(struct staging *staging, const char *path);
int staging_rmdir(struct staging *staging, const char *path);
/* flags: as of open(2), as far as they mean something here (no O_DIRECT, no
 * O_PATH); with O_CREAT parents are made too, mode 0600. */
int staging_open_file(struct staging *staging, const char *path, int flags, int *ret_fd);
int staging_unlink(struct staging *staging, const char *path);
/* flags: of renameat2(2).  The target's parents are made. */
int staging_rename(struct staging *staging, const char *from, const char *to,
		   unsigned flags);
/* fsync of a directory. */
int staging_sync_dir(struct staging *staging, const char *path);

typedef int (*staging_name_fn)(void *arg, const char *name, const struct stat *st);
/* Each name in a directory (not . and ..); a non-zero return ends it and is
 * returned.  -ENOENT: there is no such directory. */
int staging_each(struct staging *staging, const char *path, staging_name_fn fn, void *arg);

/* A second name, `name` in the directory dir_fd (the spool). */
int staging_link_out(struct staging *staging, const char *path, int dir_fd,
		     const char *name);
