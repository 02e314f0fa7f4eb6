/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <string.h>

#include "base/waiting.h"
#include "base/buf.h"
#include "fs/s3/internal.h"
#include "fs/s3/list.h"
#include "fs/s3/loop.h"

static char *dup_or_null(const char *text)
{
	return text ? strdup(text) : NULL;
}

/* scheme://authority, and the Host header, which curl makes of the URL. */
static int make_base(struct s3_client *c)
{
	_cleanup_buf_ struct buf authority = { 0 }, base = { 0 };
	const char *host = strstr(c->endpoint, "://");
	if (!host || (strncmp(c->endpoint, "http://", 7) && strncmp(c->endpoint, "https://", 8)))
		return -EINVAL;
	host += 3;
	if (!*host || strpbrk(host, "/?#@ "))
		return -EINVAL;
	int scheme = host - c->endpoint;
	int r = c->path_style ? buf_add_str(&authority, host)
			      : buf_addf(&authority, "%s.%s", c->bucket, host);
	if (r == 0)
		r = buf_addf(&base, "%.*s%s", scheme, c->endpoint, authority.data);
	if (r < 0)
		return r;
	/* The default port is not in the Host header that curl sends. */
	char *port = strrchr(authority.data, ':');
	if (port && ((scheme == 7 && !strcmp(port, ":80")) || (scheme == 8 && !strcmp(port, ":443"))))
		*port = 0;
	c->authority = steal_pointer(&authority.data);
	c->base = steal_pointer(&base.data);
	return 0;
}

int s3_client_create(const struct s3_config *config, struct s3_client **ret_client,
		     const char **ret_why)
{
	const char *why = "out of memory";
	struct s3_client *c = calloc(1, sizeof(*c));
	int r = -ENOMEM;
	if (!c)
		goto failed;
	c->endpoint = dup_or_null(config->endpoint);
	c->region = dup_or_null(config->region ? config->region : "us-east-1");
	c->bucket = dup_or_null(config->bucket);
	c->cafile = dup_or_null(config->cafile);
	c->profile = dup_or_null(config->profile);
	c->passwd_file = dup_or_null(config->passwd_file);
	c->path_style = config->path_style;
	c->timeout_s = config->timeout_s;
	if (!c->endpoint || !c->region || !c->bucket)
		goto failed;
	size_t n = strlen(c->endpoint);
	while (n && c->endpoint[n - 1] == '/')
		c->endpoint[--n] = 0;
	r = make_base(c);
	if (r < 0) {
		why = "endpoint must be http://HOST[:PORT] or https://HOST[:PORT]";
		goto failed;
	}
	r = s3_credentials_load(&c->credentials, c->profile, c->passwd_file, &why);
	if (r == 0)
		r = s3_loop_create(config->connections ? config->connections : 1, config->req_rate,
				   &c->loop);
	if (r < 0)
		goto failed;
	*ret_client = c;
	return 0;
failed:
	if (ret_why)
		*ret_why = why;
	s3_client_destroy(c);
	return r;
}

int s3_client_start(struct s3_client *client)
{
	return s3_loop_start(client->loop);
}

void s3_client_stop(struct s3_client *client)
{
	s3_loop_stop(client->loop);
}

struct s3_client *s3_client_destroy(struct s3_client *c)
{
	if (!c)
		return NULL;
	s3_loop_destroy(c->loop);
	memset(&c->credentials, 0, sizeof(c->credentials));
	free(c->endpoint);
	free(c->authority);
	free(c->base);
	free(c->region);
	free(c->bucket);
	free(c->cafile);
	free(c->profile);
	free(c->passwd_file);
	free(c);
	return NULL;
}

uint64_t s3_client_requests(struct s3_client *client)
{
	return s3_loop_requests(client->loop);
}

void s3_waiter_done(void *arg, const struct s3_reply *reply)
{
	struct s3_waiter *w = arg;
	pthread_mutex_lock(&w->lock);
	w->reply = *reply;
	w->done = true;
	pthread_cond_signal(&w->done_cond);
	pthread_mutex_unlock(&w->lock);
}

int s3_waiter_wait(struct s3_waiter *w, struct s3_reply *ret_reply)
{
	waiting_begin();
	pthread_mutex_lock(&w->lock);
	while (!w->done)
		pthread_cond_wait(&w->done_cond, &w->lock);
	pthread_mutex_unlock(&w->lock);
	if (waiting_end() < 0) {
		w->reply.listing = s3_listing_free(w->reply.listing);
		w->reply.error = -EINTR;
	}
	if (ret_reply)
		*ret_reply = w->reply;
	return w->reply.error;
}
