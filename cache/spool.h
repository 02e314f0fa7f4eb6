/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * spool - local content of files that is not in the bucket yet.
 *
 * Files of state_dir/spool/, named by a number (places_next_id).
 * Who owns a number removes the file.  Nothing is synced here: that is fsync of
 * the file and of spool_dir_fd().  Errors: the system call's, negated.
 * Threads: call from any; no lock.
 */
#pragma once

#include <stdint.h>

struct places;
struct spool;

#define SPOOL_NAME_MAX 24

int spool_open(struct places *places, struct spool **ret_spool);
struct spool *spool_close(struct spool *spool);

int spool_dir_fd(const struct spool *spool); /* borrowed */
void spool_name(uint64_t number, char ret_name[SPOOL_NAME_MAX]);

int spool_create(struct spool *spool, uint64_t number, int *ret_fd); /* O_RDWR, new */
int spool_open_file(struct spool *spool, uint64_t number, int *ret_fd); /* O_RDWR */
/* One that is gone already is a success. */
int spool_remove(struct spool *spool, uint64_t number);
/* A copy under another number (reflink where the filesystem can). */
int spool_copy(struct spool *spool, int from_fd, uint64_t to_number, int *ret_fd);

/* Each number that is there, in no order; fn may remove its file.  A non-zero
 * return ends it and is returned. */
typedef int (*spool_fn)(void *arg, uint64_t number);
int spool_each(struct spool *spool, spool_fn fn, void *arg);
