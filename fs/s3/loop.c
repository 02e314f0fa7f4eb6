/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/s3/loop.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fs/s3/request.h"

#define CLASSES (S3_CLASS_WARM + 1)
#define IDLE_MS 60000
#define THROTTLE_MS 5000

struct queue {
	struct s3_request *first, **last;
};

struct s3_loop {
	pthread_t thread;
	bool started;
	CURLM *multi;
	unsigned connections, rate;
	atomic_bool ending;
	_Atomic uint64_t sent;

	pthread_mutex_t lock;
	struct s3_request *inbox, **inbox_last; /* guarded by lock */
	bool ended;				/* guarded by lock */

	/* The event thread's. */
	struct queue ready[CLASSES];
	struct s3_request *later, *active;
	unsigned active_count;
	double tokens;
	int64_t filled_ms, slow_until_ms;
};

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

static void push(struct queue *q, struct s3_request *r)
{
	r->next = NULL;
	*q->last = r;
	q->last = &r->next;
}

static struct s3_request *pop(struct queue *q)
{
	struct s3_request *r = q->first;
	if (r && !(q->first = r->next))
		q->last = &q->first;
	return r;
}

int s3_loop_create(unsigned connections, unsigned rate, struct s3_loop **ret_loop)
{
	struct s3_loop *loop = calloc(1, sizeof(*loop));
	if (!loop)
		return -ENOMEM;
	loop->multi = curl_multi_init();
	if (!loop->multi) {
		free(loop);
		return -ENOMEM;
	}
	curl_multi_setopt(loop->multi, CURLMOPT_MAXCONNECTS, (long)connections);
	curl_multi_setopt(loop->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	pthread_mutex_init(&loop->lock, NULL);
	loop->inbox_last = &loop->inbox;
	for (int i = 0; i < CLASSES; i++)
		loop->ready[i].last = &loop->ready[i].first;
	loop->connections = connections;
	loop->rate = rate;
	loop->tokens = rate;
	*ret_loop = loop;
	return 0;
}

static void end_request(struct s3_request *r)
{
	r->finish(r);
	s3_request_free(r);
}

void s3_loop_submit(struct s3_loop *loop, struct s3_request *request)
{
	request->next = NULL;
	pthread_mutex_lock(&loop->lock);
	bool ended = loop->ended;
	if (!ended) {
		*loop->inbox_last = request;
		loop->inbox_last = &request->next;
	}
	pthread_mutex_unlock(&loop->lock);
	if (ended) {
		request->reply = (struct s3_reply){ .error = -ECANCELED, .size_bytes = -1 };
		end_request(request);
		return;
	}
	curl_multi_wakeup(loop->multi);
}

uint64_t s3_loop_requests(const struct s3_loop *loop)
{
	return loop->sent;
}

void s3_loop_throttled(struct s3_loop *loop)
{
	loop->slow_until_ms = now_ms() + THROTTLE_MS;
}

static void take_inbox(struct s3_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	struct s3_request *r = loop->inbox;
	loop->inbox = NULL;
	loop->inbox_last = &loop->inbox;
	pthread_mutex_unlock(&loop->lock);
	while (r) {
		struct s3_request *next = r->next;
		push(&loop->ready[r->class], r);
		r = next;
	}
}

/* Those whose time has come; returns ms until the next. */
static int64_t take_later(struct s3_loop *loop, int64_t now)
{
	int64_t soonest = IDLE_MS;
	for (struct s3_request **at = &loop->later; *at;) {
		struct s3_request *r = *at;
		if (r->retry_at_ms > now) {
			if (r->retry_at_ms - now < soonest)
				soonest = r->retry_at_ms - now;
			at = &r->next;
			continue;
		}
		*at = r->next;
		push(&loop->ready[r->class], r);
	}
	return soonest;
}

static void fill_tokens(struct s3_loop *loop, int64_t now)
{
	double rate = now < loop->slow_until_ms ? loop->rate / 2.0 : loop->rate;
	loop->tokens += rate * (now - loop->filled_ms) / 1000.0;
	loop->filled_ms = now;
	if (loop->tokens > loop->rate)
		loop->tokens = loop->rate;
}

static void begin(struct s3_loop *loop, struct s3_request *r, int64_t now)
{
	int error = s3_request_begin(r, now);
	if (error == 0 && curl_multi_add_handle(loop->multi, r->easy) != CURLM_OK)
		error = -ENOMEM;
	if (error < 0) {
		r->reply.error = error;
		end_request(r);
		return;
	}
	r->next = loop->active;
	loop->active = r;
	loop->active_count++;
	loop->sent++;
}

/* Sends what may be sent; returns ms until more may be. */
static int64_t send_ready(struct s3_loop *loop, int64_t now)
{
	fill_tokens(loop, now);
	for (int i = 0; i < CLASSES; i++)
		while (loop->ready[i].first && loop->active_count < loop->connections) {
			if (loop->rate && loop->tokens < 1)
				return 1 + 1000 / loop->rate;
			loop->tokens -= 1;
			begin(loop, pop(&loop->ready[i]), now);
		}
	return IDLE_MS;
}

static void take_off(struct s3_loop *loop, struct s3_request *r)
{
	struct s3_request **at = &loop->active;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	loop->active_count--;
	curl_multi_remove_handle(loop->multi, r->easy);
}

static void reap(struct s3_loop *loop)
{
	CURLMsg *message;
	int left;
	while ((message = curl_multi_info_read(loop->multi, &left))) {
		struct s3_request *r;
		CURLcode code = message->data.result;
		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &r);
		take_off(loop, r);
		if (s3_request_ended(r, code, now_ms())) {
			r->next = loop->later;
			loop->later = r;
		} else {
			end_request(r);
		}
	}
}

static void cancel_list(struct s3_request *r)
{
	while (r) {
		struct s3_request *next = r->next;
		r->reply = (struct s3_reply){ .error = -ECANCELED };
		end_request(r);
		r = next;
	}
}

/* The end: whatever is asked for now, by those who are told too, is cancelled. */
static void cancel_all(struct s3_loop *loop)
{
	bool any;
	do {
		take_inbox(loop);
		while (loop->active) {
			struct s3_request *r = loop->active;
			take_off(loop, r);
			r->next = loop->later;
			loop->later = r;
		}
		struct s3_request *later = loop->later;
		loop->later = NULL;
		any = later;
		cancel_list(later);
		for (int i = 0; i < CLASSES; i++) {
			struct s3_request *ready = loop->ready[i].first;
			loop->ready[i].first = NULL;
			loop->ready[i].last = &loop->ready[i].first;
			any = any || ready;
			cancel_list(ready);
		}
		pthread_mutex_lock(&loop->lock);
		any = any || loop->inbox;
		loop->ended = !any;
		pthread_mutex_unlock(&loop->lock);
	} while (any);
}

static void *loop_thread(void *arg)
{
	struct s3_loop *loop = arg;
	loop->filled_ms = now_ms();
	while (!loop->ending) {
		take_inbox(loop);
		int64_t now = now_ms();
		int64_t wait_ms = take_later(loop, now);
		int64_t tokens_ms = send_ready(loop, now);
		int running;
		curl_multi_perform(loop->multi, &running);
		reap(loop);
		/* What has ended makes room for what waits. */
		bool room = loop->active_count < loop->connections && tokens_ms == IDLE_MS;
		for (int i = 0; room && i < CLASSES; i++)
			if (loop->ready[i].first)
				wait_ms = 0;
		if (tokens_ms < wait_ms)
			wait_ms = tokens_ms;
		if (loop->later && wait_ms > 1000)
			wait_ms = 1000;
		curl_multi_poll(loop->multi, NULL, 0, wait_ms, NULL);
	}
	cancel_all(loop);
	return NULL;
}

int s3_loop_start(struct s3_loop *loop)
{
	int r = pthread_create(&loop->thread, NULL, loop_thread, loop);
	loop->started = r == 0;
	return -r;
}

void s3_loop_stop(struct s3_loop *loop)
{
	if (loop->started) {
		loop->ending = true;
		curl_multi_wakeup(loop->multi);
		pthread_join(loop->thread, NULL);
		loop->started = false;
	} else {
		cancel_all(loop);
	}
}

struct s3_loop *s3_loop_destroy(struct s3_loop *loop)
{
	if (!loop)
		return NULL;
	s3_loop_stop(loop);
	curl_multi_cleanup(loop->multi);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
	return NULL;
}
