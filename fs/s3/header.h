/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * s3/header - the headers of the gateway's answers.  Untrusted: numbers are
 * range-checked, times fit nanoseconds, an ETag can be sent back in a header.
 *
 * Pure functions: no clock, no state.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/s3/client.h"

/* No object is larger: 10,000 parts of 5 GiB. */
#define S3_SIZE_MAX (10000ll * 5 * (1ll << 30))
#define S3_RETRY_AFTER_MAX_S 30

/* What is not the caller's business but the request's. */
struct s3_header {
	int64_t range_start; /* of Content-Range; -1: none */
	int64_t date_s;	     /* the gateway's clock; 0: not told */
	unsigned retry_after_s; /* at most S3_RETRY_AFTER_MAX_S */
};

/* One line, with or without its end; not NUL-terminated.  Unknown ones are
 * passed over, as are values without sense; but a size or a range that cannot
 * be is -EIO: then nothing of the answer can be believed. */
int s3_header_take(const char *line, size_t length, struct s3_reply *reply,
		   struct s3_header *header);

/* Without its quotes, and without a weak one's W/.  "" if it is too long, or
 * has what cannot be sent back in a header. */
void s3_header_etag(const char *text, char ret_etag[S3_ETAG_MAX]);
/* Seconds since 1970 as nanoseconds; -EIO: out of range. */
int s3_header_time(int64_t seconds, int64_t ns, int64_t *ret_ns);
