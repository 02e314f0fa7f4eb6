/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/s3/object.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "fs/s3/internal.h"
#include "fs/s3/request.h"
#include "fs/s3/sign.h"
#include "fs/s3/xml.h"

void s3_object_head(struct s3_client *client, const char *key, enum s3_class class,
		    s3_done_fn done, void *arg)
{
	struct s3_request *r = s3_request_new(client, "HeadObject", "HEAD", key, class, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	r->finish = s3_request_finish;
	s3_request_submit(r, 0);
}

static void finish_get(struct s3_request *r)
{
	if (r->reply.error == 0 && r->length && r->delivered != r->length &&
	    r->reply.size_bytes >= (int64_t)(r->offset + r->length))
		r->reply.error = -EIO;
	s3_request_finish(r);
}

void s3_object_get(struct s3_client *client, const char *key, enum s3_class class, off_t offset,
		   size_t length, const char *if_match, s3_data_fn data, s3_done_fn done,
		   void *arg)
{
	struct s3_request *r = s3_request_new(client, "GetObject", "GET", key, class, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	r->is_get = true;
	r->offset = offset;
	r->length = length;
	r->data = data;
	r->conditional = -ESTALE;
	r->finish = finish_get;
	if (if_match)
		snprintf(r->if_match, sizeof(r->if_match), "%s", if_match);
	s3_request_submit(r, 0);
}

void s3_object_put(struct s3_client *client, const char *key, enum s3_class class,
		   const struct s3_body *body, const struct s3_put_options *options,
		   s3_done_fn done, void *arg)
{
	struct s3_request *r = s3_request_new(client, "PutObject", "PUT", key, class, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	r->has_body = true;
	r->body = *body;
	r->check_md5 = true;
	r->finish = s3_request_finish;
	s3_request_submit(r, s3_request_put_headers(r, options));
}

static void finish_copy(struct s3_request *r)
{
	char time[64];
	if (r->reply.error == -ENOSYS)
		r->client->no_copy = true;
	if (r->reply.error == 0) {
		r->reply.error = s3_xml_text(&r->answer, "CopyObjectResult", "ETag", r->reply.etag,
					     sizeof(r->reply.etag));
		if (s3_xml_text(&r->answer, "CopyObjectResult", "LastModified", time,
				sizeof(time)) == 0)
			s3_parse_iso_time(time, &r->reply.mtime_ns);
	}
	s3_request_finish(r);
}

void s3_object_copy(struct s3_client *client, const char *from, const char *to,
		    enum s3_class class, const char *if_match,
		    const struct s3_put_options *options, s3_done_fn done, void *arg)
{
	_cleanup_buf_ struct buf source = { 0 };
	struct s3_request *r = NULL;
	if (client->no_copy) {
		s3_fail(done, arg, -ENOSYS);
		return;
	}
	r = s3_request_new(client, "CopyObject", "PUT", to, class, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	r->has_body = true;
	r->conditional = -ESTALE;
	r->finish = finish_copy;
	int e = buf_add_str(&source, "/");
	if (e == 0)
		e = s3_uri_encode(&source, client->bucket, false);
	if (e == 0)
		e = buf_add_str(&source, "/");
	if (e == 0)
		e = s3_uri_encode(&source, from, true);
	if (e == 0)
		e = s3_request_header(r, "x-amz-copy-source:%s", source.data);
	if (e == 0 && if_match)
		e = s3_request_header(r, "x-amz-copy-source-if-match:\"%s\"", if_match);
	if (e == 0 && options)
		e = s3_request_header(r, "x-amz-metadata-directive:REPLACE");
	if (e == 0 && options)
		e = s3_request_put_headers(r, options);
	s3_request_submit(r, e);
}

static void finish_delete(struct s3_request *r)
{
	if (r->reply.error == -ENOENT && strcmp(r->reply.code, "NoSuchBucket"))
		r->reply.error = 0;
	s3_request_finish(r);
}

void s3_object_delete(struct s3_client *client, const char *key, enum s3_class class,
		      s3_done_fn done, void *arg)
{
	struct s3_request *r = s3_request_new(client, "DeleteObject", "DELETE", key, class, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	r->finish = finish_delete;
	s3_request_submit(r, 0);
}

static void finish_delete_many(struct s3_request *r)
{
	if (r->reply.error == 0)
		r->reply.error = s3_xml_deleted(&r->answer, r->keys, r->errors, r->count);
	for (unsigned i = 0; r->reply.error && i < r->count; i++)
		r->errors[i] = r->reply.error;
	s3_request_finish(r);
}

static int delete_body(struct s3_request *r, const char *const *keys, unsigned count)
{
	struct buf *body = &r->own_body;
	unsigned char sum[16];
	char base64[32];
	int e = buf_add_str(body, "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
				  "<Quiet>true</Quiet>");
	for (unsigned i = 0; e == 0 && i < count; i++) {
		e = buf_add_str(body, "<Object><Key>");
		if (e == 0)
			e = s3_xml_escape(body, keys[i]);
		if (e == 0)
			e = buf_add_str(body, "</Key></Object>");
	}
	if (e == 0)
		e = buf_add_str(body, "</Delete>");
	if (e < 0)
		return e;
	r->has_body = true;
	r->body = (struct s3_body){ .data = body->data, .fd = -1, .length = body->length };
	EVP_Digest(body->data, body->length, sum, NULL, EVP_md5(), NULL);
	EVP_EncodeBlock((unsigned char *)base64, sum, sizeof(sum));
	return s3_request_header(r, "content-md5:%s", base64);
}

void s3_object_delete_many(struct s3_client *client, const char *const *keys, int *errors,
			   unsigned count, enum s3_class class, s3_done_fn done, void *arg)
{
	struct s3_request *r = s3_request_new(client, "DeleteObjects", "POST", NULL, class, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	r->keys = keys;
	r->errors = errors;
	r->count = count;
	r->finish = finish_delete_many;
	int e = s3_request_query(r, "delete", "");
	s3_request_submit(r, e < 0 ? e : delete_body(r, keys, count));
}
