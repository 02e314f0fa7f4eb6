/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/s3/upload.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fs/s3/internal.h"
#include "fs/s3/request.h"
#include "fs/s3/xml.h"

#define PARTS_MAX 10000
#define PARALLEL_DEFAULT 4

/* ---- the requests ---- */

static void finish_create(struct s3_request *r)
{
	if (r->reply.error == 0)
		r->reply.error = s3_xml_text(&r->answer, "InitiateMultipartUploadResult", "UploadId",
					     r->reply.upload_id, sizeof(r->reply.upload_id));
	if (r->reply.error == 0 && !r->reply.upload_id[0])
		r->reply.error = -EIO;
	s3_request_finish(r);
}

void s3_multipart_create(struct s3_client *client, const char *key, enum s3_class class,
			 const struct s3_put_options *options, s3_done_fn done, void *arg)
{
	struct s3_request *r =
		s3_request_new(client, "CreateMultipartUpload", "POST", key, class, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	r->has_body = true;
	r->finish = finish_create;
	int e = s3_request_query(r, "uploads", "");
	struct s3_put_options put = { .mtime_ns = options ? options->mtime_ns : 0 };
	s3_request_submit(r, e < 0 ? e : s3_request_put_headers(r, &put));
}

void s3_multipart_put_part(struct s3_client *client, const char *key, const char *upload_id,
			   unsigned number, enum s3_class class, const struct s3_body *body,
			   s3_done_fn done, void *arg)
{
	char text[16];
	struct s3_request *r = s3_request_new(client, "UploadPart", "PUT", key, class, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	snprintf(text, sizeof(text), "%u", number);
	r->has_body = true;
	r->body = *body;
	r->check_md5 = true;
	r->finish = s3_request_finish;
	int e = s3_request_query(r, "partNumber", text);
	s3_request_submit(r, e < 0 ? e : s3_request_query(r, "uploadId", upload_id));
}

static void finish_complete(struct s3_request *r)
{
	if (r->reply.error == 0)
		r->reply.error = s3_xml_text(&r->answer, "CompleteMultipartUploadResult", "ETag",
					     r->reply.etag, sizeof(r->reply.etag));
	s3_request_finish(r);
}

void s3_multipart_complete(struct s3_client *client, const char *key, const char *upload_id,
			   const char (*etags)[S3_ETAG_MAX], unsigned count, enum s3_class class,
			   const struct s3_put_options *options, s3_done_fn done, void *arg)
{
	struct s3_request *r =
		s3_request_new(client, "CompleteMultipartUpload", "POST", key, class, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	struct buf *body = &r->own_body;
	int e = buf_add_str(body, "<CompleteMultipartUpload>");
	for (unsigned i = 0; e == 0 && i < count; i++)
		e = buf_addf(body,
			     "<Part><PartNumber>%u</PartNumber><ETag>\"%s\"</ETag></Part>", i + 1,
			     etags[i]);
	if (e == 0)
		e = buf_add_str(body, "</CompleteMultipartUpload>");
	r->has_body = true;
	r->body = (struct s3_body){ .data = body->data, .fd = -1, .length = body->length };
	r->finish = finish_complete;
	if (e == 0 && options && options->if_none_match) {
		r->conditional = -EEXIST;
		e = s3_request_header(r, "if-none-match:*");
	}
	s3_request_submit(r, e < 0 ? e : s3_request_query(r, "uploadId", upload_id));
}

void s3_multipart_abort(struct s3_client *client, const char *key, const char *upload_id,
			enum s3_class class, s3_done_fn done, void *arg)
{
	struct s3_request *r =
		s3_request_new(client, "AbortMultipartUpload", "DELETE", key, class, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	r->finish = s3_request_finish;
	s3_request_submit(r, s3_request_query(r, "uploadId", upload_id));
}

/* ---- a whole upload: Create, parts, Complete; the event thread's ---- */

struct upload {
	struct s3_client *client;
	char *key, *upload_id;
	enum s3_class class;
	struct s3_body body;
	struct s3_upload_options options;
	s3_done_fn done;
	void *arg;
	uint64_t part_size;
	unsigned count, next, in_flight;
	bool restarted;
	struct s3_reply failure;
	char (*etags)[S3_ETAG_MAX];
};

struct part {
	struct upload *upload;
	unsigned number; /* from 1 */
};

static void upload_begin(struct upload *u);

static void upload_end(struct upload *u, const struct s3_reply *reply)
{
	u->done(u->arg, reply);
	free(u->etags);
	free(u->upload_id);
	free(u->key);
	free(u);
}

static void aborted(void *arg, const struct s3_reply *reply)
{
	struct upload *u = arg;
	if (reply->error && reply->error != -ENOENT)
		log_debug("AbortMultipartUpload %s: %s", u->key, strerror(-reply->error));
	upload_end(u, &u->failure);
}

/* Nothing is in flight any more, and it failed. */
static void give_up(struct upload *u)
{
	if (!strcmp(u->failure.code, "NoSuchUpload") && !u->restarted) {
		u->restarted = true;
		u->failure = (struct s3_reply){ 0 };
		upload_begin(u);
		return;
	}
	s3_multipart_abort(u->client, u->key, u->upload_id, u->class, aborted, u);
}

/* What the object's ETag must be, where ETags are MD5s. */
static int expected_etag(const struct upload *u, char etag[S3_ETAG_MAX])
{
	unsigned char sum[16];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (!ctx)
		return -ENOMEM;
	EVP_DigestInit_ex(ctx, EVP_md5(), NULL);
	for (unsigned i = 0; i < u->count; i++) {
		unsigned char part[16];
		for (int j = 0; j < 16; j++)
			sscanf(u->etags[i] + 2 * j, "%2hhx", &part[j]);
		EVP_DigestUpdate(ctx, part, sizeof(part));
	}
	EVP_DigestFinal_ex(ctx, sum, NULL);
	EVP_MD_CTX_free(ctx);
	for (int j = 0; j < 16; j++)
		snprintf(etag + 2 * j, 3, "%02x", sum[j]);
	snprintf(etag + 32, S3_ETAG_MAX - 32, "-%u", u->count);
	return 0;
}

static bool whole_is_right(const struct upload *u, const struct s3_reply *reply)
{
	char etag[S3_ETAG_MAX];
	return u->client->etags_not_md5 ||
	       (expected_etag(u, etag) == 0 && !strcmp(etag, reply->etag));
}

/* Complete's answer was lost, or told too little: is the object what we sent? */
static void asked(void *arg, const struct s3_reply *reply)
{
	struct upload *u = arg;
	if (reply->error == 0 && whole_is_right(u, reply))
		upload_end(u, reply);
	else
		give_up(u);
}

static void completed(void *arg, const struct s3_reply *reply)
{
	struct upload *u = arg;
	if (reply->error == 0 && reply->etag[0] && whole_is_right(u, reply)) {
		upload_end(u, reply);
		return;
	}
	u->failure = *reply;
	if (reply->error == 0) {
		u->failure.error = -EIO;
		snprintf(u->failure.message, sizeof(u->failure.message),
			 "the ETag of the whole is not that of its parts");
	}
	/* radosgw 16 completes with an empty ETag: HEAD tells it. */
	if (!strcmp(reply->code, "NoSuchUpload") || (reply->error == 0 && !reply->etag[0]))
		s3_object_head(u->client, u->key, u->class, asked, u);
	else
		give_up(u);
}

static void part_done(void *arg, const struct s3_reply *reply);

static int start_part(struct upload *u)
{
	struct part *p = malloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	uint64_t at = (uint64_t)u->next * u->part_size;
	uint64_t left = u->body.length - at;
	struct s3_body body = u->body;
	body.length = left < u->part_size ? left : u->part_size;
	if (body.fd < 0)
		body.data = (const char *)body.data + at;
	else
		body.offset += at;
	*p = (struct part){ u, ++u->next };
	u->in_flight++;
	s3_multipart_put_part(u->client, u->key, u->upload_id, p->number, u->class, &body, part_done,
			      p);
	return 0;
}

static void go_on(struct upload *u)
{
	unsigned parallel = u->options.parallel ? u->options.parallel : PARALLEL_DEFAULT;
	while (!u->failure.error && u->next < u->count && u->in_flight < parallel)
		if (start_part(u) < 0)
			u->failure.error = -ENOMEM;
	if (u->in_flight)
		return;
	if (u->failure.error)
		give_up(u);
	else
		s3_multipart_complete(u->client, u->key, u->upload_id,
				      (const char(*)[S3_ETAG_MAX])u->etags, u->count, u->class,
				      &u->options.put, completed, u);
}

static void part_done(void *arg, const struct s3_reply *reply)
{
	struct part *p = arg;
	struct upload *u = p->upload;
	u->in_flight--;
	if (reply->error && !u->failure.error)
		u->failure = *reply;
	else if (!reply->error)
		memcpy(u->etags[p->number - 1], reply->etag, S3_ETAG_MAX);
	free(p);
	go_on(u);
}

static void created(void *arg, const struct s3_reply *reply)
{
	struct upload *u = arg;
	free(u->upload_id);
	u->upload_id = reply->error ? NULL : strdup(reply->upload_id);
	if (!u->upload_id) {
		struct s3_reply failure = *reply;
		if (!failure.error)
			failure.error = -ENOMEM;
		upload_end(u, &failure);
		return;
	}
	if (u->options.begun)
		u->options.begun(u->arg, u->upload_id);
	go_on(u);
}

static void upload_begin(struct upload *u)
{
	u->next = 0;
	s3_multipart_create(u->client, u->key, u->class, &u->options.put, created, u);
}

void s3_upload_start(struct s3_client *client, const char *key, enum s3_class class,
		     const struct s3_body *body, const struct s3_upload_options *options,
		     s3_done_fn done, void *arg)
{
	uint64_t part_size = options->part_size_bytes;
	if (body->length <= part_size) {
		s3_object_put(client, key, class, body, &options->put, done, arg);
		return;
	}
	while (body->length / part_size >= PARTS_MAX)
		part_size *= 2;
	struct upload *u = calloc(1, sizeof(*u));
	unsigned count = (body->length + part_size - 1) / part_size;
	if (u) {
		u->key = strdup(key);
		u->etags = calloc(count, sizeof(*u->etags));
	}
	if (!u || !u->key || !u->etags) {
		if (u) {
			free(u->key);
			free(u->etags);
		}
		free(u);
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	u->client = client;
	u->class = class;
	u->body = *body;
	u->options = *options;
	u->done = done;
	u->arg = arg;
	u->part_size = part_size;
	u->count = count;
	upload_begin(u);
}
