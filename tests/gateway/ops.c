/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ops - S3's operations on single objects and buckets; listings are in list.c,
 * multipart uploads in multipart.c.
 *
 * With Storj's manners: what its gateway refuses is refused (plain_s3 of
 * main.c: an ordinary S3 server).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "fs/s3/sign.h"
#include "fs/s3/xml.h"
#include "ops.h"

int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

void http_date(int64_t ms, char *to, size_t room)
{
	time_t s = ms / 1000;
	struct tm tm;
	strftime(to, room, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&s, &tm));
}

void iso_date(int64_t ms, char *to, size_t room)
{
	time_t s = ms / 1000;
	struct tm tm;
	char text[40];
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", gmtime_r(&s, &tm));
	snprintf(to, room, "%s.%03dZ", text, (int)(ms % 1000));
}

/* ---- buckets ---- */

static void create_bucket(struct request *r)
{
	LOCK_SCOPE(&store.lock);
	if (store_bucket_locked(r->bucket))
		fail(r, 409, "BucketAlreadyExists");
	else if (strlen(r->bucket) < 3 || store_make_bucket_locked(r->bucket) < 0)
		fail(r, 400, "InvalidBucketName");
	else
		r->status = 200;
}

static void delete_bucket(struct request *r, struct bucket *b)
{
	char path[4096];
	if (b->objects) {
		fail(r, 409, "BucketNotEmpty");
		return;
	}
	snprintf(path, sizeof(path), "%s/%s", settings.dir, b->name);
	HASH_DEL(store.buckets, b);
	rmdir(path);
	r->status = 204;
}

static void get_versioning(struct request *r)
{
	buf_addf(&r->answer, "<VersioningConfiguration>%s</VersioningConfiguration>",
		 settings.versioned ? "<Status>Enabled</Status>" : "");
	r->status = 200;
}

/* ---- conditions ---- */

static bool etag_in(const char *list, const char *etag)
{
	return !strcmp(list, "*") || strstr(list, etag);
}

static int check_conditions(struct request *r, const struct object *o)
{
	const char *match = header(r, "if-match"), *none = header(r, "if-none-match");
	if (match && !etag_in(match, o->etag))
		return fail(r, 412, "PreconditionFailed");
	if (none && etag_in(none, o->etag)) {
		r->status = 304;
		return -1;
	}
	return 0;
}

/* If-None-Match on a write: `*` only. */
int check_write_conditions(struct request *r, const struct object *there)
{
	const char *none = header(r, "if-none-match");
	if (none && strcmp(none, "*") && !settings.plain_s3)
		return fail(r, 501, "NotImplemented");
	return none && there ? fail(r, 412, "PreconditionFailed") : 0;
}

/* ---- reading ---- */

void add_header(struct request *r, const char *name, const char *value)
{
	MHD_add_response_header(r->response, name, value);
}

static void add_meta(struct request *r, const char *meta)
{
	_cleanup_free_ char *copy = strdup(meta);
	char *rest = copy, *line;
	while ((line = strsep(&rest, "\n"))) {
		char *colon = strstr(line, ": ");
		if (!colon)
			continue;
		*colon = 0;
		add_header(r, line, colon + 2);
	}
}

/* bytes=a-b, a-, -n.  0: none or not understood; 1: a range; -1: 416. */
static int parse_range(const char *text, uint64_t size, uint64_t *first, uint64_t *last)
{
	unsigned long long a, b;
	int n = 0;
	if (!text)
		return 0;
	if (sscanf(text, "bytes=%llu-%llu%n", &a, &b, &n) == 2 && !text[n]) {
		*first = a;
		*last = b;
	} else if (sscanf(text, "bytes=%llu-%n", &a, &n) == 1 && n && !text[n]) {
		*first = a;
		*last = UINT64_MAX;
	} else if (sscanf(text, "bytes=-%llu%n", &b, &n) == 1 && !text[n]) {
		*first = b < size ? size - b : 0;
		*last = UINT64_MAX;
	} else {
		return 0;
	}
	if (*first >= size || *last < *first)
		return -1;
	if (*last >= size)
		*last = size - 1;
	return 1;
}

struct body {
	int fd;
	uint64_t at, end, base;
	struct fault fault;
};

/* A body that the fault script spoils: cut, flipped, slow. */
static ssize_t read_spoiled(void *arg, uint64_t pos, char *to, size_t room)
{
	struct body *b = arg;
	uint64_t limit = b->end - b->at;
	if (b->fault.truncates && pos >= b->fault.truncate)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (pos >= limit)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (b->fault.truncates && room > b->fault.truncate - pos)
		room = b->fault.truncate - pos;
	if (b->fault.bandwidth) {
		size_t slice = b->fault.bandwidth / 20 + 1;
		if (room > slice)
			room = slice;
		usleep(room * 1000000ull / b->fault.bandwidth);
	}
	ssize_t n = pread(b->fd, to, room < limit - pos ? room : limit - pos, b->at + pos);
	if (n <= 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (b->fault.corrupts && b->fault.corrupt >= pos && b->fault.corrupt < pos + n)
		to[b->fault.corrupt - pos] ^= 1;
	return n;
}

static void free_body(void *arg)
{
	struct body *b = arg;
	close(b->fd);
	free(b);
}

static struct MHD_Response *object_response(struct request *r, int fd, uint64_t first, uint64_t length)
{
	bool spoiled = r->fault.truncates || r->fault.corrupts || r->fault.bandwidth || settings.bandwidth;
	if (!spoiled)
		return MHD_create_response_from_fd_at_offset64(length, fd, first);
	struct body *b = calloc(1, sizeof(*b));
	*b = (struct body){ .fd = fd, .at = first, .end = first + length, .fault = r->fault };
	if (!b->fault.bandwidth)
		b->fault.bandwidth = settings.bandwidth;
	return MHD_create_response_from_callback(length, 256 << 10, read_spoiled, b, free_body);
}

static void add_object_headers(struct request *r, const struct object *o)
{
	char etag[64], date[64];
	snprintf(etag, sizeof(etag), "\"%s\"", o->etag);
	http_date(o->mtime_ms, date, sizeof(date));
	add_header(r, "ETag", etag);
	add_header(r, "Last-Modified", date);
	add_header(r, "Content-Type", o->content_type);
	add_header(r, "Accept-Ranges", "bytes");
	add_meta(r, o->meta);
}

static void get_object(struct request *r, struct bucket *b, bool head)
{
	uint64_t first = 0, last = 0;
	struct object *o = store_get_locked(b, r->key);
	if (!o) {
		fail(r, 404, "NoSuchKey");
		return;
	}
	if (check_conditions(r, o))
		return;
	int ranged = parse_range(header(r, "range"), o->size, &first, &last);
	if (ranged < 0) {
		fail(r, 416, "InvalidRange");
		return;
	}
	uint64_t length = ranged ? last - first + 1 : o->size;
	int fd = store_open_file(b->name, o->file);
	if (fd < 0) {
		fail(r, 500, "InternalError");
		return;
	}
	r->response = object_response(r, fd, first, length);
	r->status = ranged ? 206 : 200;
	r->received = head ? 0 : length; /* for the counters: bytes out */
	add_object_headers(r, o);
	if (ranged) {
		char text[100];
		snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)first,
			 (unsigned long long)last, (unsigned long long)o->size);
		add_header(r, "Content-Range", text);
	}
}

/* ---- writing ---- */

static enum MHD_Result collect_meta(void *arg, enum MHD_ValueKind kind, const char *name,
				    const char *value)
{
	struct buf *meta = arg;
	(void)kind;
	if (!strncasecmp(name, "x-amz-meta-", 11)) {
		char lower[256];
		size_t i = 0;
		for (; name[i] && i + 1 < sizeof(lower); i++)
			lower[i] = name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i];
		lower[i] = 0;
		buf_addf(meta, "%s: %s\n", lower, value);
	}
	return MHD_YES;
}

char *request_meta(struct request *r)
{
	struct buf meta = { 0 };
	buf_add_str(&meta, "");
	MHD_get_connection_values(r->connection, MHD_HEADER_KIND, collect_meta, &meta);
	return meta.data;
}

char *request_type(struct request *r)
{
	const char *type = header(r, "content-type");
	return strdup(type ? type : "binary/octet-stream");
}

struct object *object_new(const char *key, uint64_t file, uint64_t size, const char *etag)
{
	struct object *o = calloc(1, sizeof(*o));
	o->key = strdup(key);
	o->file = file;
	o->size = size;
	o->mtime_ms = now_ms();
	snprintf(o->etag, sizeof(o->etag), "%s", etag);
	return o;
}

void add_etag(struct request *r, const char *etag)
{
	char text[64];
	snprintf(text, sizeof(text), "\"%s\"", etag);
	if (!r->response)
		r->response = MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
	add_header(r, "ETag", text);
}

static void put_object(struct request *r, struct bucket *b)
{
	if (check_write_conditions(r, store_get_locked(b, r->key)))
		return;
	struct object *o = object_new(r->key, r->file, r->received, r->md5_hex);
	o->content_type = request_type(r);
	o->meta = request_meta(r);
	r->file = 0; /* the object's now */
	if (store_put_locked(b, o) < 0) {
		fail(r, 500, "InternalError");
		return;
	}
	r->status = 200;
	add_etag(r, r->md5_hex);
}

static void copy_object(struct request *r, struct bucket *b)
{
	_cleanup_free_ char *source = strdup(header(r, "x-amz-copy-source"));
	const char *match = header(r, "x-amz-copy-source-if-match");
	const char *directive = header(r, "x-amz-metadata-directive");
	bool replace = directive && !strcmp(directive, "REPLACE");
	s3_uri_decode(source);
	char *name = source + (source[0] == '/'), *slash = strchr(name, '/');
	if (slash)
		*slash = 0;
	struct bucket *from_bucket = slash ? store_bucket_locked(name) : NULL;
	struct object *from = from_bucket ? store_get_locked(from_bucket, slash + 1) : NULL;
	if (!from) {
		fail(r, 404, "NoSuchKey");
		return;
	}
	if (match && !etag_in(match, from->etag)) {
		fail(r, 412, "PreconditionFailed");
		return;
	}
	struct object *there = store_get_locked(b, r->key);
	if (from == there && !replace) {
		fail(r, 400, "InvalidRequest");
		return;
	}
	if (check_write_conditions(r, there))
		return;
	/* Storj moves only metadata: here, a link to the same bytes. */
	char from_path[4096], to_path[4096], date[64];
	uint64_t file = ++store.last_file;
	snprintf(from_path, sizeof(from_path), "%s/%s/%llu", settings.dir, from_bucket->name,
		 (unsigned long long)from->file);
	snprintf(to_path, sizeof(to_path), "%s/%s/%llu", settings.dir, b->name,
		 (unsigned long long)file);
	if (link(from_path, to_path) < 0) {
		fail(r, 500, "InternalError");
		return;
	}
	struct object *o = object_new(r->key, file, from->size, from->etag);
	o->content_type = replace ? request_type(r) : strdup(from->content_type);
	o->meta = replace ? request_meta(r) : strdup(from->meta);
	if (from == there)
		o->mtime_ms = from->mtime_ms;
	iso_date(o->mtime_ms, date, sizeof(date));
	buf_addf(&r->answer, "<CopyObjectResult><LastModified>%s</LastModified><ETag>&quot;%s&quot;"
			     "</ETag></CopyObjectResult>", date, o->etag);
	r->status = store_put_locked(b, o) < 0 ? fail(r, 500, "InternalError"), 500 : 200;
}

static void delete_objects(struct request *r, struct bucket *b)
{
	if (!header(r, "content-md5")) {
		fail(r, 400, "InvalidRequest");
		return;
	}
	_cleanup_buf_ struct buf deleted = { 0 };
	unsigned count = 0;
	buf_add_str(&r->answer, "<DeleteResult>");
	char *at = r->body.data ? r->body.data : "";
	while ((at = strstr(at, "<Key>"))) {
		char *end = strstr(at += 5, "</Key>");
		if (!end || ++count > 1000)
			break;
		_cleanup_free_ char *key = strndup(at, end - at);
		xml_unescape(key);
		store_delete_locked(b, key);
		at = end;
	}
	buf_add_str(&r->answer, "</DeleteResult>");
	r->status = 200;
	if (!count || count > 1000) {
		buf_clear(&r->answer);
		fail(r, 400, "MalformedXML");
	}
}

/* ---- which it is ---- */

static bool bad_key(struct request *r)
{
	_cleanup_free_ char *copy = strdup(r->key);
	char *rest = copy, *part;
	if (strlen(r->key) > KEY_MAX)
		return fail(r, 400, "KeyTooLongError");
	while ((part = strsep(&rest, "/")))
		if (!strcmp(part, ".") || !strcmp(part, ".."))
			return fail(r, 400, "XMinioInvalidResourceName");
	return false;
}

static void serve_bucket(struct request *r, struct bucket *b)
{
	const char *k = r->kind;
	if (!strcmp(k, "HeadBucket"))
		r->status = 200;
	else if (!strcmp(k, "DeleteBucket"))
		delete_bucket(r, b);
	else if (!strcmp(k, "GetBucketVersioning"))
		get_versioning(r);
	else if (!strcmp(k, "GetObjectLockConfiguration"))
		fail(r, 404, "ObjectLockConfigurationNotFoundError");
	else if (!strcmp(k, "GetBucketLocation")) {
		buf_add_str(&r->answer, "<LocationConstraint></LocationConstraint>");
		r->status = 200;
	} else if (!strcmp(k, "ListMultipartUploads"))
		list_uploads(r, b);
	else if (!strcmp(k, "DeleteObjects"))
		delete_objects(r, b);
	else
		list_objects(r, b);
}

static void serve_object(struct request *r, struct bucket *b)
{
	const char *k = r->kind;
	if (bad_key(r))
		return;
	if (!strcmp(k, "GetObject") || !strcmp(k, "HeadObject"))
		get_object(r, b, k[0] == 'H');
	else if (!strcmp(k, "PutObject"))
		put_object(r, b);
	else if (!strcmp(k, "CopyObject"))
		copy_object(r, b);
	else if (!strcmp(k, "DeleteObject")) {
		store_delete_locked(b, r->key);
		r->status = 204;
	} else
		serve_multipart(r, b);
}

static bool forbidden(struct request *r)
{
	bool read = !strcmp(r->method, "GET") || !strcmp(r->method, "HEAD");
	bool deletes = !strcmp(r->kind, "DeleteObject") || !strcmp(r->kind, "DeleteObjects");
	if ((!read && r->who->no_write) || (deletes && r->who->no_delete))
		return fail(r, 403, "AccessDenied");
	return false;
}

void serve(struct request *r)
{
	if (forbidden(r))
		return;
	if (!strcmp(r->kind, "CreateBucket")) {
		create_bucket(r);
		return;
	}
	LOCK_SCOPE(&store.lock);
	struct bucket *b = r->bucket ? store_bucket_locked(r->bucket) : NULL;
	if (!b)
		fail(r, 404, "NoSuchBucket");
	else if (r->key)
		serve_object(r, b);
	else
		serve_bucket(r, b);
}
