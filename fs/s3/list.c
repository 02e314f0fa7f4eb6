/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/s3/list.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/s3/internal.h"
#include "fs/s3/loop.h"
#include "fs/s3/request.h"
#include "fs/s3/xml.h"

static void finish_page(struct s3_request *r)
{
	struct s3_listing *listing = NULL;
	char *token = r->more;
	if (r->reply.error == 0)
		r->reply.error = s3_xml_listing(&r->answer, &listing);
	if (listing && token && listing->next_token && !strcmp(token, listing->next_token)) { /* L2 */
		listing = s3_listing_free(listing);
		r->reply.error = -EIO;
		snprintf(r->reply.message, sizeof(r->reply.message),
			 "the listing does not advance");
	}
	r->reply.listing = listing;
	r->done(r->arg, &r->reply);
}

void s3_list_page(struct s3_client *client, const char *prefix, char delimiter, const char *token,
		  unsigned max_keys, enum s3_class class, s3_done_fn done, void *arg)
{
	size_t n = strlen(prefix);
	char max[16];
	if ((n && prefix[n - 1] != '/') || (delimiter && delimiter != '/')) { /* L1 */
		s3_fail(done, arg, -EINVAL);
		return;
	}
	struct s3_request *r = s3_request_new(client, "ListObjectsV2", "GET", NULL, class, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	r->finish = finish_page;
	snprintf(max, sizeof(max), "%u", max_keys);
	int e = token ? s3_request_query(r, "continuation-token", token) : 0;
	if (e == 0 && delimiter)
		e = s3_request_query(r, "delimiter", "/");
	if (e == 0)
		e = s3_request_query(r, "encoding-type", "url");
	if (e == 0)
		e = s3_request_query(r, "list-type", "2");
	if (e == 0)
		e = s3_request_query(r, "max-keys", max);
	if (e == 0)
		e = s3_request_query(r, "prefix", prefix);
	if (e == 0 && token && !(r->more = strdup(token)))
		e = -ENOMEM;
	s3_request_submit(r, e);
}

static void finish_parts(struct s3_request *r)
{
	if (r->reply.error == 0)
		r->reply.error = s3_xml_parts(&r->answer, &r->reply.listing);
	r->done(r->arg, &r->reply);
}

void s3_list_parts(struct s3_client *client, const char *key, const char *upload_id,
		   s3_done_fn done, void *arg)
{
	struct s3_request *r =
		s3_request_new(client, "ListParts", "GET", key, S3_CLASS_PUSH, done, arg);
	if (!r) {
		s3_fail(done, arg, -ENOMEM);
		return;
	}
	r->finish = finish_parts;
	int e = s3_request_query(r, "max-parts", "10000");
	s3_request_submit(r, e < 0 ? e : s3_request_query(r, "uploadId", upload_id));
}

struct uploads_answer {
	struct s3_waiter waiter;
	struct s3_upload_listing *listing;
};

static void finish_uploads(struct s3_request *r)
{
	struct uploads_answer *a = r->arg;
	const char *sent = r->more, *next = NULL;
	if (r->reply.error == 0)
		r->reply.error = s3_xml_uploads(&r->answer, &a->listing);
	if (r->reply.error == 0)
		next = a->listing->next_key_marker;
	if (sent && next && !strcmp(sent, next)) { /* L2 */
		a->listing = s3_upload_listing_free(a->listing);
		r->reply.error = -EIO;
	}
	s3_waiter_done(&a->waiter, &r->reply);
}

int s3_list_uploads(struct s3_client *client, const char *prefix, const char *key_marker,
		    struct s3_upload_listing **ret_listing)
{
	struct uploads_answer a = { .waiter = S3_WAITER_INIT };
	struct s3_request *r = s3_request_new(client, "ListMultipartUploads", "GET", NULL,
					      S3_CLASS_GC, NULL, &a);
	if (!r)
		return -ENOMEM;
	r->finish = finish_uploads;
	int e = key_marker ? s3_request_query(r, "key-marker", key_marker) : 0;
	if (e == 0)
		e = s3_request_query(r, "prefix", prefix);
	if (e == 0)
		e = s3_request_query(r, "uploads", "");
	if (e == 0 && key_marker && !(r->more = strdup(key_marker)))
		e = -ENOMEM;
	if (e < 0) {
		s3_request_free(r);
		return e;
	}
	s3_loop_submit(client->loop, r);
	e = s3_waiter_wait(&a.waiter, NULL);
	if (e == 0)
		*ret_listing = a.listing;
	return e;
}
