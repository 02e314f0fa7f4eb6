/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * buf - a byte string that grows up to a limit.
 *
 * `data` is always NUL-terminated once anything was added, so that text can
 * be read from it; `length` does not count the NUL.  The buffer owns `data`.
 *
 * Errors: -ENOMEM; -EMSGSIZE when the limit would be passed.  A failed call
 * leaves the contents as they were.
 * Threads: none of its own; the owner's.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

struct buf {
	char *data;
	size_t length;
	size_t room;
	size_t limit; /* 0: BUF_LIMIT_DEFAULT */
};

#define BUF_LIMIT_DEFAULT (16u << 20)

int buf_add(struct buf *b, const void *data, size_t length);
int buf_add_str(struct buf *b, const char *text);
int buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_clear(struct buf *b); /* keeps the room */
void buf_free(struct buf *b);

#define _cleanup_buf_ _cleanup_(buf_free)
