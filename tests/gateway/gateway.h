/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gateway - a small S3 server with Storj's manners, for tests and first tries.
 *
 * Objects are files in a folder; what is known of them is in memory while it
 * runs and in a sidecar beside each file.  It is single-minded: correct, easy
 * to read, and obedient to a fault script; it is not the proof (radosgw is).
 *
 * Threads: one per connection (libmicrohttpd).  store.lock guards the index,
 * stats.lock the counters, log and faults; both are leaves and are not held
 * over I/O of bodies.
 */
#pragma once

#include <microhttpd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <uthash.h>

#include "base/buf.h"

#define KEY_MAX 1024
#define META_MAX 2048

struct settings {
	const char *dir, *listen, *region;
	unsigned port;
	const char *port_file, *tls_cert, *tls_key;
	bool plain_s3;
	struct credential {
		const char *access, *secret;
		bool no_write, no_delete;
	} keys[4];
	unsigned key_count;
	_Atomic unsigned latency_ms;
	_Atomic uint64_t bandwidth; /* bytes per second each way; 0: no limit */
	_Atomic bool versioned;
};
extern struct settings settings; /* main.c; written before threads start */

/* ---- store.c ---- */

struct object {
	char *key;
	char etag[48];
	uint64_t size, file; /* the number of its file */
	int64_t mtime_ms;
	char *content_type, *meta; /* meta: "name: value\n" lines */
	UT_hash_handle hh;
};

struct part {
	uint64_t size, file;
	char etag[33];
};

struct upload {
	char id[40];
	char *key, *content_type, *meta;
	struct part *parts[10001];
	UT_hash_handle hh;
};

struct bucket {
	char *name;
	struct object *objects;
	struct upload *uploads;
	UT_hash_handle hh;
};

struct store {
	pthread_mutex_t lock;
	struct bucket *buckets; /* guarded by lock */
	_Atomic uint64_t last_file;
};
extern struct store store;

int store_load(void);
struct bucket *store_bucket_locked(const char *name);
int store_make_bucket_locked(const char *name);
/* A new, empty file; its number. */
int store_new_file(const char *bucket, uint64_t *ret_number);
int store_open_file(const char *bucket, uint64_t number);
void store_remove_file(const char *bucket, uint64_t number);
/* Takes the object over (its strings), in place of one of the same key. */
int store_put_locked(struct bucket *bucket, struct object *object);
void store_delete_locked(struct bucket *bucket, const char *key);
struct object *store_get_locked(struct bucket *bucket, const char *key);
void object_free(struct object *object);

/* ---- faults.c: counters, log, fault script, settings at run time ---- */

struct fault {
	bool matched;
	unsigned latency_ms, status, retry_after_s, hang_ms;
	char code[64];
	uint64_t bandwidth, truncate, corrupt;
	bool drop_before, drop_answer, truncates, corrupts, error_in_200;
};

void faults_match(const char *kind, const char *key, struct fault *ret_fault);
void stats_count(const char *kind, const char *key, const char *query, int status,
		 uint64_t in, uint64_t out);
/* Requests below /_gateway/; the answer. */
int control(const char *method, const char *what, const struct buf *body, struct buf *answer);

/* ---- request.c ---- */

struct request {
	struct MHD_Connection *connection;
	const char *method;
	char *path; /* raw, as sent */
	char *bucket, *key; /* decoded; NULL: none */
	struct buf query;   /* canonical */
	const char *kind;
	struct fault fault;
	const struct credential *who;
	/* the body: in a file for objects and parts, else in memory */
	bool to_file, checked;
	int fd;
	uint64_t file, received;
	void *md5, *sha256; /* EVP_MD_CTX */
	char md5_hex[33], sha256_hex[65];
	struct buf body;
	/* the answer */
	int status;
	char code[64];
	struct buf answer;
	struct MHD_Response *response;
};

const char *header(const struct request *r, const char *name);
const char *argument(const struct request *r, const char *name); /* NULL: absent */

/* auth.c: 0, or an S3 code in r->code and its status. */
int authenticate(struct request *r);
/* ops.c: does it, fills status, code, answer or response. */
void serve(struct request *r);
int fail(struct request *r, int status, const char *code);
