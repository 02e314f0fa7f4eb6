/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * s3/list - listings, a page a request.
 *
 * Storj lists in the order of its ciphertext: nothing here is sorted, and a
 * token is only a cursor.
 *
 * Invariants
 *   L1  A prefix is empty or ends in '/', the delimiter is none or '/':
 *       the gateway refuses anything else, so it is never sent (-EINVAL).
 *   L2  A page whose next token is the one just sent is -EIO, not a loop; so
 *	 is one that may be cut short without saying where to go on.
 *   L3  Keys are decoded (encoding-type=url) and carry their length, since
 *       they may hold any byte but NUL: a key with NUL makes the page -EIO.
 */
#pragma once

#include "fs/s3/client.h"

struct s3_list_entry {
	char *key;	    /* whole key, owned by the listing */
	bool is_prefix;	    /* a CommonPrefix: ends in '/' */
	int64_t size_bytes;
	int64_t mtime_ns;
	char etag[S3_ETAG_MAX];
};

struct s3_listing {
	struct s3_list_entry *entries;
	size_t count;
	char *next_token; /* NULL: this was the last page */
};

struct s3_listing *s3_listing_free(struct s3_listing *listing);

/* One page of ListObjectsV2.  delimiter: '/' or 0.  token: NULL or what the
 * page before gave.  max_keys: 1 to 1,000. */
void s3_list_page(struct s3_client *client, const char *prefix, char delimiter,
		  const char *token, unsigned max_keys, enum s3_class class, s3_done_fn done,
		  void *arg);

/* ListParts: entries are parts, key NULL, in order of number; size and ETag. */
void s3_list_parts(struct s3_client *client, const char *key, const char *upload_id,
		   s3_done_fn done, void *arg);

/* ListMultipartUploads: key, and the upload id in `etag`'s place is too short,
 * so it is its own array. */
struct s3_upload_entry {
	char *key, *upload_id;
};
struct s3_upload_listing {
	struct s3_upload_entry *entries;
	size_t count;
	char *next_key_marker; /* NULL: the last page */
};
struct s3_upload_listing *s3_upload_listing_free(struct s3_upload_listing *listing);

/* Blocking; not on the event thread. */
int s3_list_uploads(struct s3_client *client, const char *prefix, const char *key_marker,
		    struct s3_upload_listing **ret_listing);
