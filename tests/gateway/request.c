/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * request - from libmicrohttpd's callbacks to one struct request: what kind it
 * is, its body (streamed to a file, hashed on the way), and its answer.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/s3/sign.h"
#include "request.h"

#define BODY_MAX (4u << 20) /* of what is not an object */

int fail(struct request *r, int status, const char *code)
{
	r->status = status;
	snprintf(r->code, sizeof(r->code), "%s", code);
	return -1;
}

const char *header(const struct request *r, const char *name)
{
	return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

const char *argument(const struct request *r, const char *name)
{
	const char *value = NULL;
	size_t n;
	if (MHD_lookup_connection_value_n(r->connection, MHD_GET_ARGUMENT_KIND, name, strlen(name),
					  &value, &n) == MHD_NO)
		return NULL;
	return value ? value : "";
}

/* ---- what it is ---- */

struct arguments {
	char *list[40];
	unsigned count;
};

static enum MHD_Result collect_argument(void *arg, enum MHD_ValueKind kind, const char *name,
					const char *value)
{
	struct arguments *a = arg;
	struct buf one = { 0 };
	(void)kind;
	if (a->count == 40)
		return MHD_NO;
	s3_uri_encode(&one, name, false);
	buf_add_str(&one, "=");
	s3_uri_encode(&one, value ? value : "", false);
	a->list[a->count++] = one.data;
	return MHD_YES;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void canonical_query(struct request *r)
{
	struct arguments a = { .count = 0 };
	MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, collect_argument, &a);
	qsort(a.list, a.count, sizeof(*a.list), by_text);
	for (unsigned i = 0; i < a.count; i++) {
		if (i)
			buf_add_str(&r->query, "&");
		buf_add_str(&r->query, a.list[i]);
		free(a.list[i]);
	}
}

/* /bucket/key; or, virtual-host style, bucket.HOST and /key. */
static int split_path(struct request *r)
{
	const char *host = header(r, "host"), *path = r->path + 1;
	const char *dot = host ? strstr(host, ".localhost") : NULL;
	const char *key = path;
	if (dot) {
		r->bucket = strndup(host, dot - host);
	} else if (*path) {
		key = strchrnul(path, '/');
		r->bucket = strndup(path, key - path);
		if (*key)
			key++;
	}
	if (*key) {
		r->key = strdup(key);
		/* In a path '+' is itself. */
		_cleanup_buf_ struct buf plus = { 0 };
		for (const char *c = key; *c; c++)
			if (*c == '+')
				buf_add_str(&plus, "%2B");
			else
				buf_add(&plus, c, 1);
		free(r->key);
		r->key = steal_pointer(&plus.data);
		if (s3_uri_decode(r->key) < 0)
			return -EINVAL;
	}
	return 0;
}

static const char *object_kind(const struct request *r)
{
	const char *m = r->method;
	bool upload = argument(r, "uploadId");
	if (!strcmp(m, "GET"))
		return upload ? "ListParts" : "GetObject";
	if (!strcmp(m, "HEAD"))
		return "HeadObject";
	if (!strcmp(m, "DELETE"))
		return upload ? "AbortMultipartUpload" : "DeleteObject";
	if (!strcmp(m, "POST"))
		return argument(r, "uploads") ? "CreateMultipartUpload" : "CompleteMultipartUpload";
	bool copy = header(r, "x-amz-copy-source");
	if (argument(r, "partNumber"))
		return copy ? "UploadPartCopy" : "UploadPart";
	return copy ? "CopyObject" : "PutObject";
}

static const char *bucket_kind(const struct request *r)
{
	static const struct {
		const char *argument, *kind;
	} gets[] = { { "versioning", "GetBucketVersioning" }, { "location", "GetBucketLocation" },
		     { "object-lock", "GetObjectLockConfiguration" },
		     { "uploads", "ListMultipartUploads" } };
	const char *m = r->method;
	if (!strcmp(m, "HEAD"))
		return "HeadBucket";
	if (!strcmp(m, "PUT"))
		return "CreateBucket";
	if (!strcmp(m, "DELETE"))
		return "DeleteBucket";
	if (!strcmp(m, "POST"))
		return "DeleteObjects";
	for (size_t i = 0; i < sizeof(gets) / sizeof(*gets); i++)
		if (argument(r, gets[i].argument))
			return gets[i].kind;
	return argument(r, "list-type") ? "ListObjectsV2" : "ListObjects";
}

/* ---- its body ---- */

static void begin_body(struct request *r)
{
	r->to_file = !strcmp(r->kind, "PutObject") || !strcmp(r->kind, "UploadPart");
	r->md5 = EVP_MD_CTX_new();
	r->sha256 = EVP_MD_CTX_new();
	EVP_DigestInit_ex(r->md5, EVP_md5(), NULL);
	EVP_DigestInit_ex(r->sha256, EVP_sha256(), NULL);
	if (!r->to_file)
		return;
	pthread_mutex_lock(&store.lock);
	bool there = r->bucket && store_bucket_locked(r->bucket);
	pthread_mutex_unlock(&store.lock);
	r->fd = there ? store_new_file(r->bucket, &r->file) : -1;
	if (!there)
		fail(r, 404, "NoSuchBucket");
}

static void take_body(struct request *r, const char *data, size_t n)
{
	const char *hash = header(r, "x-amz-content-sha256");
	r->received += n;
	EVP_DigestUpdate(r->md5, data, n);
	if (hash && strlen(hash) == 64)
		EVP_DigestUpdate(r->sha256, data, n);
	if (settings.bandwidth)
		usleep(n * 1000000ull / settings.bandwidth);
	if (!r->to_file) {
		if (r->body.length < BODY_MAX)
			buf_add(&r->body, data, n);
		return;
	}
	for (size_t done = 0; r->fd >= 0 && done < n;) {
		ssize_t w = write(r->fd, data + done, n - done);
		if (w <= 0) {
			fail(r, 500, "InternalError");
			return;
		}
		done += w;
	}
}

static void hex_of(void *ctx, char *hex)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned n;
	EVP_DigestFinal_ex(ctx, sum, &n);
	for (unsigned i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

static void check_body(struct request *r)
{
	const char *md5 = header(r, "content-md5"), *hash = header(r, "x-amz-content-sha256");
	unsigned char sum[64];
	char hex[33] = "";
	hex_of(r->md5, r->md5_hex);
	hex_of(r->sha256, r->sha256_hex);
	if (md5) {
		if (strlen(md5) != 24 || EVP_DecodeBlock(sum, (const unsigned char *)md5, 24) != 18) {
			fail(r, 400, "InvalidDigest");
			return;
		}
		for (int i = 0; i < 16; i++)
			snprintf(hex + 2 * i, 3, "%02x", sum[i]);
		if (strcmp(hex, r->md5_hex))
			fail(r, 400, "BadDigest");
	}
	if (hash && strlen(hash) == 64 && strcmp(hash, r->sha256_hex))
		fail(r, 400, "XAmzContentSHA256Mismatch");
}

/* ---- its answer ---- */

static void error_body(struct request *r)
{
	buf_clear(&r->answer);
	buf_addf(&r->answer, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>%s</Code>"
			     "<Message>%s</Message><RequestId>gw-%p</RequestId></Error>",
		 r->code, r->code, (void *)r);
}

static enum MHD_Result queue(struct request *r)
{
	if (r->code[0])
		error_body(r);
	if (!r->response || r->code[0]) {
		if (r->response)
			MHD_destroy_response(r->response);
		r->response = MHD_create_response_from_buffer(
			r->answer.length, r->answer.data ? r->answer.data : "", MHD_RESPMEM_MUST_COPY);
		if (r->answer.length)
			MHD_add_response_header(r->response, "Content-Type", "application/xml");
	}
	if (r->fault.matched && r->fault.retry_after_s) {
		char text[16];
		snprintf(text, sizeof(text), "%u", r->fault.retry_after_s);
		MHD_add_response_header(r->response, "Retry-After", text);
	}
	MHD_add_response_header(r->response, "x-amz-request-id", "gw");
	enum MHD_Result result = MHD_queue_response(r->connection, r->status, r->response);
	MHD_destroy_response(r->response);
	r->response = NULL;
	return result;
}

static void sleep_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000l };
	if (ms)
		nanosleep(&t, NULL);
}

/* All of it has arrived. */
static enum MHD_Result answer(struct request *r)
{
	if (!strncmp(r->path, "/_gateway/", 10)) {
		r->status = control(r->method, r->path + 10, &r->body, &r->answer);
		return queue(r);
	}
	check_body(r);
	sleep_ms(settings.latency_ms + r->fault.latency_ms + r->fault.hang_ms);
	uint64_t in = r->received;
	if (r->fault.drop_before)
		return MHD_NO;
	if (r->fault.status)
		fail(r, r->fault.status, r->fault.code);
	else if (!r->code[0]) {
		r->received = r->to_file ? r->received : 0;
		serve(r);
	}
	bool get = !strcmp(r->kind, "GetObject") && !r->code[0];
	stats_count(r->kind, r->key, r->query.data, r->status, get ? 0 : in,
		    get ? r->received : r->answer.length);
	if (r->fault.drop_answer)
		return MHD_NO;
	return queue(r);
}

static struct request *request_new(struct MHD_Connection *connection, const char *method,
				   const char *raw)
{
	struct request *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->connection = connection;
	r->method = method;
	r->fd = -1;
	r->path = strndup(raw, strcspn(raw, "?"));
	r->body.limit = BODY_MAX + (1 << 20);
	r->kind = "Other";
	return r;
}

/* The headers are there. */
static void begin(struct request *r)
{
	if (strncmp(r->path, "/_gateway/", 10)) {
		canonical_query(r);
		if (split_path(r) < 0)
			fail(r, 400, "InvalidArgument");
		if (r->bucket)
			r->kind = r->key ? object_kind(r) : bucket_kind(r);
		faults_match(r->kind, r->key, &r->fault);
		if (!r->code[0])
			authenticate(r);
	}
	begin_body(r);
}

enum MHD_Result request_handle(void *arg, struct MHD_Connection *connection, const char *url,
			       const char *method, const char *version, const char *data,
			       size_t *data_size, void **state)
{
	struct request *r = *state;
	(void)arg, (void)url, (void)version;
	if (!r)
		return MHD_NO; /* request_seen could not make it */
	if (!r->connection) {
		r->connection = connection;
		r->method = strdup(method);
		begin(r);
		return MHD_YES;
	}
	if (*data_size) {
		take_body(r, data, *data_size);
		*data_size = 0;
		return MHD_YES;
	}
	return answer(r);
}

/* libmicrohttpd decodes the path; signatures are over the raw one. */
void *request_seen(void *arg, const char *uri, struct MHD_Connection *connection)
{
	(void)arg, (void)connection;
	return request_new(NULL, NULL, uri);
}

void request_ended(void *arg, struct MHD_Connection *connection, void **state,
		   enum MHD_RequestTerminationCode code)
{
	struct request *r = *state;
	(void)arg, (void)connection, (void)code;
	if (!r)
		return;
	if (r->fd >= 0)
		close(r->fd);
	if (r->file)
		store_remove_file(r->bucket, r->file); /* nobody took it */
	EVP_MD_CTX_free(r->md5);
	EVP_MD_CTX_free(r->sha256);
	buf_free(&r->query);
	buf_free(&r->body);
	buf_free(&r->answer);
	free((char *)r->method);
	free(r->path);
	free(r->bucket);
	free(r->key);
	free(r);
	*state = NULL;
}
