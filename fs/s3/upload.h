/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * s3/upload - a file of any size becomes one object.
 *
 * Up to part_size in one PUT; above, as a multipart upload with `parallel`
 * parts in flight.  Each part's MD5 is checked against its ETag, Complete's
 * body is read for an <Error>, an upload that fails is aborted.  The object
 * appears with its last request or not at all.
 *
 * Threads, errors, ownership: s3/object.h.
 */
#pragma once

#include "fs/s3/object.h"

struct s3_upload_options {
	struct s3_put_options put;
	uint64_t part_size_bytes; /* raised where the object would need > 10,000 parts */
	unsigned parallel;	  /* parts in flight; 0: 4 */
	/* Called with s3_upload_start's arg, on the event thread, once
	 * CreateMultipartUpload has answered, so that the upload can be noted in a
	 * journal; may be NULL. */
	void (*begun)(void *arg, const char *upload_id);
};

void s3_upload_start(struct s3_client *client, const char *key, enum s3_class class,
		     const struct s3_body *body, const struct s3_upload_options *options,
		     s3_done_fn done, void *arg);

/* The requests it is made of, each by itself. */
void s3_multipart_create(struct s3_client *client, const char *key, enum s3_class class,
			 const struct s3_put_options *options, s3_done_fn done, void *arg);
void s3_multipart_put_part(struct s3_client *client, const char *key, const char *upload_id,
			   unsigned number, enum s3_class class, const struct s3_body *body,
			   s3_done_fn done, void *arg);
void s3_multipart_complete(struct s3_client *client, const char *key, const char *upload_id,
			   const char (*etags)[S3_ETAG_MAX], unsigned count,
			   enum s3_class class, const struct s3_put_options *options,
			   s3_done_fn done, void *arg);
void s3_multipart_abort(struct s3_client *client, const char *key, const char *upload_id,
			enum s3_class class, s3_done_fn done, void *arg);
