/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/s3/bucket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "fs/s3/internal.h"
#include "fs/s3/list.h"
#include "fs/s3/object.h"
#include "fs/s3/request.h"
#include "fs/s3/upload.h"
#include "fs/s3/xml.h"

#define CHECK_TIMEOUT_S 8
#define CLOCK_SKEW_S 900
/* Never written: asked for only to learn what is allowed. */
#define PROBE_KEY ".tardigradefs/probe"

static void bucket_request(struct s3_client *client, const char *kind, const char *method,
			   const char *query, bool has_body, void (*finish)(struct s3_request *),
			   s3_done_fn done, void *arg)
{
	struct s3_request *r = s3_request_new(client, kind, method, NULL, S3_CLASS_READ, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	r->finish = finish;
	r->has_body = has_body;
	s3_request_submit(r, query ? s3_request_query(r, query, "") : 0);
}

void s3_bucket_head(struct s3_client *client, s3_done_fn done, void *arg)
{
	bucket_request(client, "HeadBucket", "HEAD", NULL, false, s3_request_finish, done, arg);
}

static void finish_bucket(struct s3_request *r)
{
	if (r->reply.error == -EEXIST || r->reply.status == 409)
		r->reply.error = 0;
	s3_request_finish(r);
}

void s3_bucket_create(struct s3_client *client, s3_done_fn done, void *arg)
{
	bucket_request(client, "CreateBucket", "PUT", NULL, true, finish_bucket, done, arg);
}

/* A gateway that does not know the question has nothing switched on. */
static bool does_not_know(const struct s3_reply *reply)
{
	return reply->error == -ENOSYS || reply->error == -ENOENT || reply->error == -EPERM ||
	       reply->status == 400 || reply->status == 403;
}

static void finish_versioning(struct s3_request *r)
{
	char status[32] = "";
	if (r->reply.error == 0)
		s3_xml_text(&r->answer, "VersioningConfiguration", "Status", status, sizeof(status));
	else if (does_not_know(&r->reply))
		r->reply.error = 0;
	r->reply.flag = status[0];
	s3_request_finish(r);
}

void s3_bucket_versioning(struct s3_client *client, s3_done_fn done, void *arg)
{
	bucket_request(client, "GetBucketVersioning", "GET", "versioning", false, finish_versioning,
		       done, arg);
}

static void finish_lock(struct s3_request *r)
{
	char enabled[32] = "";
	if (r->reply.error == 0)
		s3_xml_text(&r->answer, "ObjectLockConfiguration", "ObjectLockEnabled", enabled,
			    sizeof(enabled));
	else if (does_not_know(&r->reply))
		r->reply.error = 0;
	r->reply.flag = enabled[0];
	s3_request_finish(r);
}

void s3_bucket_object_lock(struct s3_client *client, s3_done_fn done, void *arg)
{
	bucket_request(client, "GetObjectLockConfiguration", "GET", "object-lock", false, finish_lock,
		       done, arg);
}

/* ---- the checks before a mount ---- */

typedef void (*bucket_fn)(struct s3_client *client, s3_done_fn done, void *arg);

static int ask(struct s3_client *client, bucket_fn fn, struct s3_reply *ret_reply)
{
	struct s3_waiter waiter = S3_WAITER_INIT;
	fn(client, s3_waiter_done, &waiter);
	return s3_waiter_wait(&waiter, ret_reply);
}

/* ListObjectsV2 says with a body why it refuses; HEAD cannot. */
static void ask_list(struct s3_client *client, s3_done_fn done, void *arg)
{
	s3_list_page(client, "", '/', NULL, 1, S3_CLASS_READ, done, arg);
}

static int explain(struct s3_client *c, const struct s3_reply *reply, char *message, size_t room)
{
	int64_t skew = c->server_time_s ? time(NULL) - c->server_time_s : 0;
	if (!strcmp(reply->code, "CertificateNotVerified"))
		snprintf(message, room, "the certificate of %s does not verify; for a private CA give "
					"cafile=FILE", c->endpoint);
	else if (reply->status == 0)
		snprintf(message, room, "cannot reach the gateway at %s: %s; check endpoint= and that "
					"it runs", c->endpoint,
			 reply->message[0] ? reply->message : strerror(-reply->error));
	else if (!strcmp(reply->code, "RequestTimeTooSkewed") || llabs(skew) > CLOCK_SKEW_S)
		snprintf(message, room, "this machine's clock is %lld s off the gateway's; set it "
					"(timedatectl set-ntp true)", (long long)skew);
	else if (reply->error == -EACCES)
		snprintf(message, room, "the gateway at %s refuses the credentials for bucket %s (%s); "
					"check the access key and its permissions", c->endpoint,
			 c->bucket, reply->code[0] ? reply->code : "403");
	else if (reply->error == -ENOENT && !strcmp(reply->code, "NoSuchBucket"))
		snprintf(message, room, "there is no bucket %s at %s; -o mkbucket makes it", c->bucket,
			 c->endpoint);
	else
		snprintf(message, room, "%s does not answer like an S3 gateway (HTTP %d %s); check "
					"endpoint=", c->endpoint, reply->status, reply->code);
	return reply->error ? reply->error : -EIO;
}

static void probe_create(struct s3_client *client, s3_done_fn done, void *arg)
{
	s3_multipart_create(client, PROBE_KEY, S3_CLASS_READ, NULL, done, arg);
}

static void probe_delete(struct s3_client *client, s3_done_fn done, void *arg)
{
	s3_object_delete(client, PROBE_KEY, S3_CLASS_READ, done, arg);
}

static int check_permissions(struct s3_client *c, char *message, size_t room)
{
	struct s3_reply reply;
	int r = ask(c, probe_create, &reply);
	if (r == 0) {
		struct s3_waiter waiter = S3_WAITER_INIT;
		s3_multipart_abort(c, PROBE_KEY, reply.upload_id, S3_CLASS_READ, s3_waiter_done,
				   &waiter);
		s3_waiter_wait(&waiter, NULL);
	} else if (r == -EACCES) {
		snprintf(message, room, "these credentials may not write to bucket %s; give others, or "
					"mount with -o ro", c->bucket);
		return r;
	} else if (r != -EDQUOT) { /* full: reading and deleting still work */
		return explain(c, &reply, message, room);
	}
	r = ask(c, probe_delete, &reply);
	if (r == -EACCES) {
		snprintf(message, room, "these credentials may not delete from bucket %s; give others, "
					"or mount with -o ro", c->bucket);
		return r;
	}
	return r < 0 ? explain(c, &reply, message, room) : 0;
}

static int check_bucket(struct s3_client *c, bool create, char *message, size_t room)
{
	struct s3_reply reply;
	int r = ask(c, ask_list, &reply);
	s3_listing_free(r == 0 ? reply.listing : NULL);
	bool missing = r == -ENOENT && (reply.code[0] == 0 || !strcmp(reply.code, "NoSuchBucket"));
	if (missing && create) {
		r = ask(c, s3_bucket_create, &reply);
		if (r == 0)
			return 0;
		snprintf(message, room, "cannot make bucket %s: %s %s", c->bucket, strerror(-r),
			 reply.code);
		return r;
	}
	return r < 0 ? explain(c, &reply, message, room) : 0;
}

int s3_bucket_check(struct s3_client *c, bool create, bool read_only, char *ret_message,
		    size_t room, bool *ret_versioned)
{
	struct s3_reply reply;
	c->check_timeout_s = CHECK_TIMEOUT_S;
	int r = check_bucket(c, create, ret_message, room);
	if (r == 0 && !read_only)
		r = check_permissions(c, ret_message, room);
	*ret_versioned = false;
	if (r == 0 && ask(c, s3_bucket_versioning, &reply) == 0 && reply.flag)
		*ret_versioned = true;
	if (r == 0 && ask(c, s3_bucket_object_lock, &reply) == 0 && reply.flag)
		*ret_versioned = true;
	c->check_timeout_s = 0;
	return r;
}
