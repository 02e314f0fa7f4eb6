/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * s3/object - requests on single objects, and DeleteObjects.
 *
 * Keys and strings are copied before the call returns.  File descriptors and
 * memory of a body are borrowed until `done`.
 * Threads, errors: s3/client.h.  All return nothing: whatever goes wrong,
 * also for want of memory, reaches `done` (perhaps before the call returns,
 * on the caller's thread, when nothing could be queued).
 */
#pragma once

#include "fs/s3/client.h"

/* Bytes of a body, in order, each byte once also over retries.  On the event
 * thread.  0, or a negative errno to give up (it becomes reply.error). */
typedef int (*s3_data_fn)(void *arg, const void *data, size_t length);

void s3_object_head(struct s3_client *client, const char *key, enum s3_class class,
		    s3_done_fn done, void *arg);

/*
 * The bytes [offset, offset + length) of the version `if_match` (an ETag, or
 * NULL).  length 0: to the end, without a Range header if offset is 0 too.
 * -ESTALE: it is another version now.  A body that ends early is asked for
 * again from where it ended; one that never completes is -EIO.
 */
void s3_object_get(struct s3_client *client, const char *key, enum s3_class class,
		   off_t offset, size_t length, const char *if_match, s3_data_fn data,
		   s3_done_fn done, void *arg);

struct s3_body {
	const void *data; /* used if fd < 0 */
	int fd;
	off_t offset;	  /* in fd */
	size_t length;
};

struct s3_put_options {
	int64_t mtime_ns;  /* 0: none; sent as x-amz-meta-mtime, seconds.nanoseconds */
	bool if_none_match; /* only if there is no such object: else -EEXIST */
};

/* The ETag is checked against the MD5 of the bytes that were sent, where the
 * gateway's ETags are MD5s.  Content-Type is application/octet-stream. */
void s3_object_put(struct s3_client *client, const char *key, enum s3_class class,
		   const struct s3_body *body, const struct s3_put_options *options,
		   s3_done_fn done, void *arg);

/* Server-side copy within the bucket.  if_match: ETag of the source, or NULL.
 * options NULL: metadata is copied; else replaced (needed for from == to).
 * -ENOSYS: the gateway does not copy. */
void s3_object_copy(struct s3_client *client, const char *from, const char *to,
		    enum s3_class class, const char *if_match,
		    const struct s3_put_options *options, s3_done_fn done, void *arg);

/* A key that is not there is a success. */
void s3_object_delete(struct s3_client *client, const char *key, enum s3_class class,
		      s3_done_fn done, void *arg);

/* Up to 1,000 keys in one request.  errors[i] (borrowed until done) becomes 0
 * or the negative errno of keys[i]; reply.error is that of the request. */
void s3_object_delete_many(struct s3_client *client, const char *const *keys, int *errors,
			   unsigned count, enum s3_class class, s3_done_fn done, void *arg);
