/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * s3/sign - AWS Signature Version 4, in the Authorization header.
 *
 * Pure functions: no clock, no state.  The payload's hash is given by the
 * caller ("UNSIGNED-PAYLOAD" for us).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct s3_sign_input {
	const char *method;
	const char *path;    /* encoded, begins with '/' */
	const char *query;   /* canonical: encoded and sorted, without '?'; or "" */
	const char *const *headers; /* "lower-name:value", sorted by name */
	size_t header_count;
	const char *payload_hash;
	const char *amz_date; /* YYYYMMDDTHHMMSSZ */
	const char *region, *service;
	const char *access_key, *secret_key;
};

/* Adds the Authorization header's value. */
int s3_sign(const struct s3_sign_input *input, struct buf *ret_value);

/* Adds `text` percent-encoded as SigV4 has it (unreserved bytes stay).
 * keep_slash: '/' stays too. */
int s3_uri_encode(struct buf *out, const char *text, bool keep_slash);
/* In place; '+' is a space, as in encoding-type=url.  -EINVAL: not decodable,
 * or it holds a NUL. */
int s3_uri_decode(char *text);
