/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * s3/bucket - requests on the bucket itself, for the checks before a mount.
 * Threads, errors: s3/client.h.
 */
#pragma once

#include "fs/s3/client.h"

/* -ENOENT: no such bucket.  -EACCES: credentials. */
void s3_bucket_head(struct s3_client *client, s3_done_fn done, void *arg);
/* A bucket that is there already is a success. */
void s3_bucket_create(struct s3_client *client, s3_done_fn done, void *arg);
/* reply.flag: versioning is (or was) on.  A gateway that does not know the
 * request answers 0 and false. */
void s3_bucket_versioning(struct s3_client *client, s3_done_fn done, void *arg);
/* reply.flag: the bucket has an object lock configuration. */
void s3_bucket_object_lock(struct s3_client *client, s3_done_fn done, void *arg);

/*
 * Waits for: does the endpoint speak S3, do the credentials sign, is the clock
 * right, is there such a bucket, may we write and delete (asked with a
 * multipart upload that is created and aborted, and a DELETE of a key that is
 * not there: no object ever shows), unless `read_only`.  `create`: make a
 * missing bucket.  0, or a negative errno and one line for the operator, that
 * names the thing and the cure, in `ret_message`.
 */
int s3_bucket_check(struct s3_client *client, bool create, bool read_only,
		    char *ret_message, size_t room, bool *ret_versioned);
