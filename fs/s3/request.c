/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/s3/request.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "fs/s3/error.h"
#include "fs/s3/internal.h"
#include "fs/s3/loop.h"
#include "fs/s3/sign.h"
#include "fs/s3/xml.h"

#define ANSWER_MAX (8u << 20) /* a page of a listing is below 2 MiB */
#define CONNECT_TIMEOUT_S 10
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 10000
#define MISMATCHES_MAX 3
#define SIGNED_MAX (S3_HEADERS_MAX + 4)

/* ---- making ---- */

struct s3_request *s3_request_new(struct s3_client *client, const char *kind, const char *method,
				  const char *key, enum s3_class class, s3_done_fn done, void *arg)
{
	struct s3_request *r = calloc(1, sizeof(*r));
	if (!r || (key && !(r->key = strdup(key)))) {
		free(r);
		return NULL;
	}
	r->client = client;
	r->kind = kind;
	r->method = method;
	r->class = class;
	r->done = done;
	r->arg = arg;
	r->conditional = -EIO;
	r->body.fd = -1;
	r->answer.limit = ANSWER_MAX;
	r->reply.size_bytes = -1;
	return r;
}

static void attempt_free(struct s3_request *r)
{
	if (r->easy)
		curl_easy_cleanup(r->easy);
	curl_slist_free_all(r->sent_headers);
	EVP_MD_CTX_free(r->md5);
	r->easy = NULL;
	r->sent_headers = NULL;
	r->md5 = NULL;
}

struct s3_request *s3_request_free(struct s3_request *r)
{
	if (!r)
		return NULL;
	attempt_free(r);
	for (unsigned i = 0; i < r->header_count; i++)
		free(r->headers[i]);
	buf_free(&r->query);
	buf_free(&r->own_body);
	buf_free(&r->answer);
	free(r->more);
	free(r->key);
	free(r);
	return NULL;
}

int s3_request_header(struct s3_request *r, const char *format, ...)
{
	va_list args;
	char *line;
	if (r->header_count == S3_HEADERS_MAX)
		return -ENOMEM;
	va_start(args, format);
	int n = vasprintf(&line, format, args);
	va_end(args);
	if (n < 0)
		return -ENOMEM;
	r->headers[r->header_count++] = line;
	return 0;
}

int s3_request_query(struct s3_request *r, const char *name, const char *value)
{
	int e = r->query.length ? buf_add_str(&r->query, "&") : 0;
	if (e == 0)
		e = s3_uri_encode(&r->query, name, false);
	if (e == 0)
		e = buf_add_str(&r->query, "=");
	return e < 0 ? e : s3_uri_encode(&r->query, value, false);
}

int s3_request_put_headers(struct s3_request *r, const struct s3_put_options *o)
{
	int e = s3_request_header(r, "content-type:application/octet-stream");
	if (e == 0 && o && o->mtime_ns > 0)
		e = s3_request_header(r, "x-amz-meta-mtime:%lld.%09lld",
				      (long long)(o->mtime_ns / 1000000000),
				      (long long)(o->mtime_ns % 1000000000));
	if (e == 0 && o && o->if_none_match) {
		e = s3_request_header(r, "if-none-match:*");
		r->conditional = -EEXIST;
	}
	return e;
}

void s3_request_finish(struct s3_request *r)
{
	r->done(r->arg, &r->reply);
}

void s3_request_submit(struct s3_request *r, int error)
{
	if (error == 0) {
		s3_loop_submit(r->client->loop, r);
		return;
	}
	s3_fail(r->done, r->arg, error);
	s3_request_free(r);
}

void s3_fail(s3_done_fn done, void *arg, int error)
{
	struct s3_reply reply = { .error = error, .size_bytes = -1 };
	done(arg, &reply);
}

/* ---- what curl calls ---- */

static size_t read_body(char *to, size_t size, size_t count, void *arg)
{
	struct s3_request *r = arg;
	size_t room = size * count, left = r->body.length - r->body_sent;
	size_t n = room < left ? room : left;
	if (r->body.fd < 0) {
		memcpy(to, (const char *)r->body.data + r->body_sent, n);
	} else if (n) {
		ssize_t got = pread(r->body.fd, to, n, r->body.offset + r->body_sent);
		if (got <= 0)
			return CURL_READFUNC_ABORT; /* the file is shorter than it was */
		n = got;
	}
	if (r->md5)
		EVP_DigestUpdate(r->md5, to, n);
	r->body_sent += n;
	return n;
}

static int seek_body(void *arg, curl_off_t offset, int origin)
{
	struct s3_request *r = arg;
	if (origin != SEEK_SET || offset != 0)
		return CURL_SEEKFUNC_FAIL;
	r->body_sent = 0;
	if (r->md5)
		EVP_DigestInit_ex(r->md5, EVP_md5(), NULL);
	return CURL_SEEKFUNC_OK;
}

static long answer_status(struct s3_request *r)
{
	long status = 0;
	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* The bytes of an object: they must be those that were asked for. */
static int take_data(struct s3_request *r, const char *data, size_t n, long status)
{
	uint64_t at = r->offset + r->delivered;
	if (status == 200 && at != 0)
		return -EIO;
	/* A gateway that does not heed If-Match. */
	if (r->if_match[0] && r->reply.etag[0] && strcmp(r->if_match, r->reply.etag))
		return -ESTALE;
	if (status == 206 && r->header.range_start != (int64_t)at - (int64_t)r->body_sent)
		return -EIO;
	if (r->length && r->delivered + n > r->length)
		return -EIO;
	int e = r->data(r->arg, data, n);
	if (e == 0) {
		r->delivered += n;
		r->body_sent += n; /* of a GET: received in this attempt */
	}
	return e;
}

static size_t write_answer(char *data, size_t size, size_t count, void *arg)
{
	struct s3_request *r = arg;
	size_t n = size * count;
	long status = answer_status(r);
	int e = r->is_get && (status == 200 || status == 206) ? take_data(r, data, n, status)
							      : buf_add(&r->answer, data, n);
	if (e < 0)
		r->data_error = e;
	return e < 0 ? 0 : n;
}

static size_t read_header(char *line, size_t size, size_t count, void *arg)
{
	struct s3_request *r = arg;
	size_t n = size * count;
	int e = s3_header_take(line, n, &r->reply, &r->header);
	if (r->header.date_s)
		r->client->server_time_s = r->header.date_s;
	if (e == 0)
		return n;
	snprintf(r->reply.message, sizeof(r->reply.message), "a length or range that cannot be");
	r->data_error = e;
	return 0;
}

/* ---- an attempt ---- */

/* By name alone: "x-a:" would come behind "x-a-b:" as text. */
static int by_name(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	size_t nx = strcspn(x, ":"), ny = strcspn(y, ":");
	int r = memcmp(x, y, nx < ny ? nx : ny);
	return r ? r : (nx > ny) - (nx < ny);
}

static int add_path(const struct s3_request *r, struct buf *path)
{
	const struct s3_client *c = r->client;
	int e = buf_add_str(path, "/");
	if (e == 0 && c->path_style)
		e = s3_uri_encode(path, c->bucket, false);
	if (e == 0 && r->key && c->path_style)
		e = buf_add_str(path, "/");
	return e == 0 && r->key ? s3_uri_encode(path, r->key, true) : e;
}

static int send_header(struct s3_request *r, const char *line)
{
	struct curl_slist *more = curl_slist_append(r->sent_headers, line);
	if (!more)
		return -ENOMEM;
	r->sent_headers = more;
	return 0;
}

static int add_content_md5(struct s3_request *r)
{
	unsigned char sum[16];
	char base64[32], line[64];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (!ctx)
		return -ENOMEM;
	EVP_DigestInit_ex(ctx, EVP_md5(), NULL);
	char step[65536];
	for (size_t at = 0; at < r->body.length;) {
		size_t n = r->body.length - at < sizeof(step) ? r->body.length - at : sizeof(step);
		if (r->body.fd < 0) {
			memcpy(step, (const char *)r->body.data + at, n);
		} else {
			ssize_t got = pread(r->body.fd, step, n, r->body.offset + at);
			if (got <= 0)
				break;
			n = got;
		}
		EVP_DigestUpdate(ctx, step, n);
		at += n;
	}
	EVP_DigestFinal_ex(ctx, sum, NULL);
	EVP_MD_CTX_free(ctx);
	EVP_EncodeBlock((unsigned char *)base64, sum, sizeof(sum));
	snprintf(line, sizeof(line), "Content-MD5: %s", base64);
	return send_header(r, line);
}

/* All headers, and the signature over those that count. */
static int sign_request(struct s3_request *r, const struct buf *path)
{
	struct s3_client *c = r->client;
	struct s3_credentials *cred = &c->credentials;
	_cleanup_buf_ struct buf host = { 0 }, token = { 0 }, authorization = { 0 };
	char stamp[20], date_header[40];
	const char *list[SIGNED_MAX];
	size_t n = 0;
	time_t now = time(NULL);
	struct tm tm;
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
	snprintf(date_header, sizeof(date_header), "x-amz-date:%s", stamp);

	int e = buf_addf(&host, "host:%s", c->authority);
	if (e == 0 && cred->token[0])
		e = buf_addf(&token, "x-amz-security-token:%s", cred->token);
	list[n++] = host.data;
	list[n++] = date_header;
	list[n++] = "x-amz-content-sha256:UNSIGNED-PAYLOAD";
	if (token.length)
		list[n++] = token.data;
	for (unsigned i = 0; i < r->header_count; i++)
		if (!strncmp(r->headers[i], "x-amz-", 6))
			list[n++] = r->headers[i];
	qsort(list, n, sizeof(*list), by_name);

	struct s3_sign_input in = {
		.method = r->method, .path = path->data,
		.query = r->query.length ? r->query.data : "",
		.headers = list, .header_count = n, .payload_hash = "UNSIGNED-PAYLOAD",
		.amz_date = stamp, .region = c->region, .service = "s3",
		.access_key = cred->access_key, .secret_key = cred->secret_key,
	};
	if (e == 0)
		e = buf_add_str(&authorization, "Authorization: ");
	if (e == 0)
		e = s3_sign(&in, &authorization);
	for (size_t i = 0; e == 0 && i < n; i++)
		if (list[i] != host.data)
			e = send_header(r, list[i]);
	for (unsigned i = 0; e == 0 && i < r->header_count; i++)
		if (strncmp(r->headers[i], "x-amz-", 6))
			e = send_header(r, r->headers[i]);
	return e == 0 ? send_header(r, authorization.data) : e;
}

static int add_range(struct s3_request *r)
{
	char line[128];
	int e = 0;
	if (!r->is_get)
		return 0;
	uint64_t from = r->offset + r->delivered;
	if (r->length)
		snprintf(line, sizeof(line), "Range: bytes=%llu-%llu", (unsigned long long)from,
			 (unsigned long long)(r->offset + r->length - 1));
	else
		snprintf(line, sizeof(line), "Range: bytes=%llu-", (unsigned long long)from);
	if (r->length || from)
		e = send_header(r, line);
	if (e == 0 && r->if_match[0]) {
		snprintf(line, sizeof(line), "If-Match: \"%s\"", r->if_match);
		e = send_header(r, line);
	}
	return e;
}

static unsigned timeout_s(const struct s3_request *r)
{
	unsigned check = r->client->check_timeout_s;
	return check ? check : r->client->timeout_s;
}

static void set_options(struct s3_request *r)
{
	CURL *h = r->easy;
	struct s3_client *c = r->client;
	unsigned stall_s = timeout_s(r) < 60 ? timeout_s(r) : 60;
	unsigned connect_s = stall_s < CONNECT_TIMEOUT_S ? stall_s : CONNECT_TIMEOUT_S;
	curl_easy_setopt(h, CURLOPT_PRIVATE, r);
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_PROXY, "");
	curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(h, CURLOPT_BUFFERSIZE, 512l << 10);
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, (long)connect_s);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)stall_s);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, write_answer);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, read_header);
	curl_easy_setopt(h, CURLOPT_HEADERDATA, r);
	if (c->cafile)
		curl_easy_setopt(h, CURLOPT_CAINFO, c->cafile);
	if (r->has_body) {
		curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE,
				 r->body.length > (64 << 10) ? 1l << 20 : 64l << 10);
		curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->body.length);
		curl_easy_setopt(h, CURLOPT_READFUNCTION, read_body);
		curl_easy_setopt(h, CURLOPT_READDATA, r);
		curl_easy_setopt(h, CURLOPT_SEEKFUNCTION, seek_body);
		curl_easy_setopt(h, CURLOPT_SEEKDATA, r);
	}
	if (!strcmp(r->method, "HEAD"))
		curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
	else
		curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, r->method);
}

static void forget_answer(struct s3_request *r)
{
	r->reply = (struct s3_reply){ .size_bytes = -1 };
	r->body_sent = 0;
	r->data_error = 0;
	r->header = (struct s3_header){ .range_start = -1 };
	buf_clear(&r->answer);
}

int s3_request_begin(struct s3_request *r, int64_t now_ms)
{
	struct s3_client *c = r->client;
	_cleanup_buf_ struct buf path = { 0 }, url = { 0 };
	attempt_free(r);
	forget_answer(r);
	s3_credentials_refresh(&c->credentials);
	if (r->attempts++ == 0)
		r->quiet_since_ms = now_ms;
	r->moved_ms = 0;
	if (r->check_md5) {
		r->md5 = EVP_MD_CTX_new();
		if (!r->md5 || !EVP_DigestInit_ex(r->md5, EVP_md5(), NULL))
			return -ENOMEM;
	}
	int e = add_path(r, &path);
	if (e == 0)
		e = buf_addf(&url, "%s%s%s%s", c->base, path.data, r->query.length ? "?" : "",
			     r->query.length ? r->query.data : "");
	if (e == 0)
		e = sign_request(r, &path);
	if (e == 0)
		e = add_range(r);
	if (e == 0 && r->check_md5 && (r->content_md5 || c->etags_not_md5))
		e = add_content_md5(r);
	if (e == 0)
		e = send_header(r, "Expect:");
	if (e == 0 && !(r->easy = curl_easy_init()))
		e = -ENOMEM;
	if (e < 0)
		return e;
	set_options(r);
	curl_easy_setopt(r->easy, CURLOPT_URL, url.data);
	curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->sent_headers);
	return 0;
}

/* ---- its end ---- */

static bool is_md5(const char *etag)
{
	return strlen(etag) == 32 && strspn(etag, "0123456789abcdef") == 32;
}

/* false: what the gateway has is not what was sent. */
static bool etag_matches(struct s3_request *r)
{
	unsigned char sum[16];
	if (!r->check_md5)
		return true;
	EVP_DigestFinal_ex(r->md5, sum, NULL);
	for (int i = 0; i < 16; i++)
		snprintf(r->md5_hex + 2 * i, 3, "%02x", sum[i]);
	if (!strcmp(r->reply.etag, r->md5_hex))
		return true;
	if (r->client->etags_not_md5 && r->content_md5)
		return true;
	if (!is_md5(r->reply.etag) || r->content_md5) {
		/* The gateway has checked Content-MD5 for us: then its ETags are
		 * something else. */
		bool checked = r->content_md5;
		r->client->etags_not_md5 = true;
		r->content_md5 = true;
		return checked;
	}
	r->content_md5 = true;
	return false;
}

/* 0: an answer that is a success; else the errno, and whether to try again. */
static int judge(struct s3_request *r, CURLcode code, bool *retry)
{
	struct s3_reply *reply = &r->reply;
	*retry = false;
	if (r->data_error) /* whoever takes the bytes refused them */
		return r->data_error;
	reply->status = answer_status(r);
	if (code != CURLE_OK) {
		*retry = s3_error_curl_retry(code);
		snprintf(reply->message, sizeof(reply->message), "%s", curl_easy_strerror(code));
		if (code == CURLE_PEER_FAILED_VERIFICATION)
			snprintf(reply->code, sizeof(reply->code), "CertificateNotVerified");
		reply->status = 0;
		return s3_error_of_curl(code);
	}
	if (reply->status < 200 || reply->status >= 300 || !strcmp(r->kind, "CompleteMultipartUpload") ||
	    !strcmp(r->kind, "CopyObject"))
		s3_xml_error(&r->answer, reply);
	int error = s3_error_of_answer(reply->status, reply->code, r->conditional);
	if (error)
		*retry = s3_error_retry(reply->status, reply->code);
	if (!error && !strcmp(r->kind, "HeadObject") && reply->size_bytes < 0) {
		snprintf(reply->message, sizeof(reply->message), "an object without a length");
		error = -EIO;
	}
	if (!error && !etag_matches(r)) {
		*retry = ++r->mismatches < MISMATCHES_MAX;
		snprintf(reply->message, sizeof(reply->message),
			 "the gateway's ETag is not the MD5 of what was sent");
		error = -EIO;
	}
	return error;
}

static int64_t backoff_ms(const struct s3_request *r)
{
	unsigned shift = r->attempts < 8 ? r->attempts - 1 : 7;
	int64_t ms = (int64_t)BACKOFF_FIRST_MS << shift;
	unsigned char random;
	RAND_bytes(&random, 1);
	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	ms = ms / 2 + ms / 2 * random / 255;
	int64_t after_ms = r->header.retry_after_s * 1000ll;
	return after_ms > ms ? after_ms + ms / 4 : ms;
}

bool s3_request_ended(struct s3_request *r, CURLcode code, int64_t now_ms)
{
	bool retry;
	int error = judge(r, code, &retry);
	r->reply.error = error;
	log_debug("%s %s%s%s: %d %s", r->kind, r->key ? r->key : "", r->query.length ? "?" : "",
		  r->query.length ? r->query.data : "", r->reply.status, r->reply.code);
	if (error == 0)
		return false;
	/* Bytes that moved are progress; an answer that says no is none. */
	if (code != CURLE_OK && r->body_sent > 0 && code != CURLE_OPERATION_TIMEDOUT)
		r->quiet_since_ms = now_ms;
	if (r->reply.status == 429)
		s3_loop_throttled(r->client->loop);
	bool expired = error == -EACCES && !r->credentials_retried &&
		       s3_credentials_refresh(&r->client->credentials) == 1;
	if (expired)
		r->credentials_retried = retry = true;
	int64_t wait_ms = backoff_ms(r);
	if (now_ms + wait_ms - r->quiet_since_ms > timeout_s(r) * 1000ll)
		retry = false;
	if (retry) {
		r->retry_at_ms = now_ms + wait_ms;
		log_debug("%s %s: %s %d %s; again in %lld ms", r->kind, r->key ? r->key : "",
			  r->reply.message, r->reply.status, r->reply.code, (long long)wait_ms);
	}
	return retry;
}
