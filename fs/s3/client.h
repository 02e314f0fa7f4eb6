/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * s3/client - one bucket behind one S3 gateway.
 *
 * A client owns one event thread (s3/loop) that runs libcurl's multi
 * interface; only that thread touches curl handles.  Everything else hands it
 * requests through a queue.
 *
 * Every operation has the same face: it returns at once, and calls `done`
 * exactly once, with the outcome, on the event thread.  `done` must not block.
 * Who wants to wait gives s3_waiter_done and a struct s3_waiter.
 *
 *	struct s3_waiter w = S3_WAITER_INIT;
 *	s3_object_head(client, key, S3_CLASS_READ, s3_waiter_done, &w);
 *	int error = s3_waiter_wait(&w, &reply);
 *
 * An operation is tried again, with jittered back-off, until it made no
 * progress for `timeout_s`; its `done` carries the last error.
 *
 * Errors: reply.error is 0 or a negative errno (table in s3/error.c).
 * Not here: what a key means.  Keys are bytes, complete, with no leading '/'.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define S3_KEY_MAX 1024 /* bytes, without NUL */
#define S3_ETAG_MAX 80	/* bytes, with NUL; without the quotes */

struct s3_client;
struct s3_listing;

/* Who waits: a lower class goes first. */
enum s3_class { S3_CLASS_READ, S3_CLASS_PUSH, S3_CLASS_GC, S3_CLASS_WARM };

struct s3_config {
	const char *endpoint;	 /* URL: http[s]://host[:port], no path */
	const char *region;	 /* e.g. "us-east-1" */
	const char *bucket;
	const char *cafile;	 /* NULL: the system's */
	const char *profile;	 /* of the shared credentials file; NULL: default */
	const char *passwd_file; /* NULL: none */
	bool path_style;	 /* else bucket.host */
	unsigned connections;	 /* at most so many requests at once */
	unsigned req_rate;	 /* per second, burst of as many; 0: no limit */
	unsigned timeout_s;	 /* without progress */
};

struct s3_reply {
	int error;	     /* 0 or negative errno */
	int status;	     /* HTTP's; 0: there was no answer */
	int64_t size_bytes;  /* HEAD, GET: of the whole object; else -1 */
	int64_t mtime_ns;    /* x-amz-meta-mtime, else Last-Modified; since 1970 */
	char etag[S3_ETAG_MAX];
	char code[64];	     /* S3's <Code>, or "" */
	char message[200];   /* S3's <Message> or curl's, for a log line; or "" */
	char request_id[64]; /* of the gateway, or "" */
	char upload_id[256]; /* CreateMultipartUpload */
	bool flag;	     /* GetBucketVersioning: it is switched on */
	struct s3_listing *listing; /* listings; owned by who gets the reply
				     * and released with s3_listing_free */
};

typedef void (*s3_done_fn)(void *arg, const struct s3_reply *reply);

/*
 * Copies the configuration and reads the credentials once.  No thread runs
 * and nothing is sent before s3_client_start (call that after fork).
 * -EINVAL: endpoint is no http(s) URL.  -ENOENT: no credentials anywhere.
 * -EPERM: passwd_file is not private (0600).  *ret_why (if not NULL, static
 * text or owned by the client library, never freed) says it in words.
 */
int s3_client_create(const struct s3_config *config, struct s3_client **ret_client,
		     const char **ret_why);
int s3_client_start(struct s3_client *client);

/* Ends every request under way with -ECANCELED, and the thread; what is asked for
 * after that ends with -ECANCELED at once, on the caller's thread. */
void s3_client_stop(struct s3_client *client);
/* Stops it first.  NULL is fine. */
struct s3_client *s3_client_destroy(struct s3_client *client);

/* What a request may cost, for tests and metrics: requests sent so far. */
uint64_t s3_client_requests(struct s3_client *client);

/* The blocking face.  Never wait on the event thread. */
struct s3_waiter {
	pthread_mutex_t lock;
	pthread_cond_t done_cond;
	bool done;
	struct s3_reply reply;
};
#define S3_WAITER_INIT                                                         \
	{ .lock = PTHREAD_MUTEX_INITIALIZER, .done_cond = PTHREAD_COND_INITIALIZER }

/* s3_waiter_wait: -EINTR: who asked gave up (base/waiting). */
void s3_waiter_done(void *waiter, const struct s3_reply *reply);
int s3_waiter_wait(struct s3_waiter *waiter, struct s3_reply *ret_reply);
