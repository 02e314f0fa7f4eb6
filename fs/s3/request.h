/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * s3/request - one request to the gateway, over all its attempts.
 *
 * Made by the operations (object, list, ...), given to the loop with
 * s3_loop_submit, which owns it from then on.  Each attempt builds a curl
 * handle; its answer is either final, or the request is put off and tried
 * again.
 *
 * Threads: after s3_loop_submit, the event thread only.
 */
#pragma once

#include <curl/curl.h>
#include <openssl/evp.h>

#include "base/buf.h"
#include "fs/s3/client.h"
#include "fs/s3/header.h"
#include "fs/s3/object.h"

#define S3_HEADERS_MAX 12

struct s3_request {
	struct s3_client *client;
	const char *kind;   /* "PutObject": for log lines */
	const char *method; /* static */
	char *key;	    /* NULL: the bucket itself */
	struct buf query;   /* canonical */
	enum s3_class class;
	int conditional; /* errno of a 412 */

	/* "lower-name:value" that are sent, and signed if they begin with x-amz- */
	char *headers[S3_HEADERS_MAX];
	unsigned header_count;

	bool has_body;
	struct s3_body body;
	struct buf own_body; /* what body.data points to, if it is ours */
	bool check_md5;	     /* against the answer's ETag */

	bool is_get; /* a body of a 2xx goes to `data` */
	off_t offset;
	size_t length; /* 0: to the end */
	char if_match[S3_ETAG_MAX];
	s3_data_fn data;

	/* The end: `finish` reads the answer's body, then tells `done`. */
	void (*finish)(struct s3_request *request);
	s3_done_fn done;
	void *arg;
	void *more; /* of the operation, for finish; owned */
	int *errors;		 /* DeleteObjects */
	const char *const *keys; /* DeleteObjects */
	unsigned count;

	struct s3_reply reply;
	struct buf answer;

	/* An attempt. */
	CURL *easy;
	struct curl_slist *sent_headers;
	EVP_MD_CTX *md5;
	char md5_hex[33];
	bool content_md5; /* the gateway's ETags are no MD5s, or one did not match */
	off_t body_sent;
	uint64_t delivered; /* of a GET, over all attempts */
	struct s3_header header;
	int data_error;
	unsigned attempts, mismatches;
	int64_t quiet_since_ms, moved_ms, retry_at_ms;
	bool credentials_retried;
	struct s3_request *next;
};

struct s3_request *s3_request_new(struct s3_client *client, const char *kind, const char *method,
				  const char *key, enum s3_class class, s3_done_fn done,
				  void *arg);
struct s3_request *s3_request_free(struct s3_request *request);
/* "lower-name:value" */
int s3_request_header(struct s3_request *request, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Parameters in order of their names. */
int s3_request_query(struct s3_request *request, const char *name, const char *value);

/* What goes with an object: its type, mtime and condition.  options: may be NULL. */
int s3_request_put_headers(struct s3_request *request, const struct s3_put_options *options);
/* Hands it to the loop; or, error: it could not be made, and ends here. */
void s3_request_submit(struct s3_request *request, int error);
/* The `finish` of who needs nothing from the answer's body. */
void s3_request_finish(struct s3_request *request);

/* The end of a request that could not be made: for want of memory. */
void s3_fail(s3_done_fn done, void *arg, int error);

/* For the loop: builds `easy`.  Negative errno: final. */
int s3_request_begin(struct s3_request *request, int64_t now_ms);
/* The attempt has ended.  true: try again at retry_at_ms; else reply is final. */
bool s3_request_ended(struct s3_request *request, CURLcode code, int64_t now_ms);
