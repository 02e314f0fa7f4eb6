/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pool - see pool.h.  pool.lock is a leaf; no job runs under it. */
#include "fs/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/waiting.h"

struct job {
	pool_fn fn;
	void *arg;
	struct job *next;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct job *first, **last; /* guarded by lock */
	bool ending;		   /* guarded by lock */
	bool may_wait;
	unsigned count;
	pthread_t threads[];
};

static _Thread_local bool this_may_wait;

bool pool_may_wait(void)
{
	return this_may_wait;
}

void pool_set_may_wait(bool may)
{
	this_may_wait = may;
}

static struct job *take_job(struct pool *pool)
{
	LOCK_SCOPE(&pool->lock);
	while (!pool->first && !pool->ending)
		pthread_cond_wait(&pool->work, &pool->lock);
	struct job *job = pool->first;
	if (job) {
		pool->first = job->next;
		if (!pool->first)
			pool->last = &pool->first;
	}
	return job;
}

static void *pool_thread(void *arg)
{
	struct pool *pool = arg;
	this_may_wait = pool->may_wait;
	for (struct job *job; (job = take_job(pool));) {
		job->fn(job->arg);
		free(job);
	}
	return NULL;
}

int pool_create(unsigned threads, bool may_wait, struct pool **ret_pool)
{
	struct pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(pthread_t));
	if (!pool)
		return -ENOMEM;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pool->last = &pool->first;
	pool->may_wait = may_wait;

	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 512 << 10);
	for (; pool->count < threads; pool->count++) {
		int r = pthread_create(&pool->threads[pool->count], &attr, pool_thread, pool);
		if (r) {
			pthread_attr_destroy(&attr);
			pool_destroy(pool);
			return -r;
		}
	}
	pthread_attr_destroy(&attr);
	*ret_pool = pool;
	return 0;
}

struct pool *pool_destroy(struct pool *pool)
{
	if (!pool)
		return NULL;
	pthread_mutex_lock(&pool->lock);
	pool->ending = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->count; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
	return NULL;
}

int pool_submit(struct pool *pool, pool_fn fn, void *arg)
{
	struct job *job = malloc(sizeof(*job));
	if (!job)
		return -ENOMEM;
	*job = (struct job){ .fn = fn, .arg = arg };
	LOCK_SCOPE(&pool->lock);
	*pool->last = job;
	pool->last = &job->next;
	pthread_cond_signal(&pool->work);
	return 0;
}

void waiters_done(struct waiter *list, int error)
{
	while (list) {
		struct waiter *next = list->next;
		list->done(list, error);
		list = next;
	}
}

struct wait_here {
	struct waiter waiter; /* first: found from the waiter's address */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
	int error;
};

static void wait_here_done(struct waiter *waiter, int error)
{
	struct wait_here *w = (struct wait_here *)waiter;
	LOCK_SCOPE(&w->lock);
	w->done = true;
	w->error = error;
	pthread_cond_signal(&w->cond);
}

int wait_here(void (*start)(void *arg, struct waiter *waiter), void *arg)
{
	struct wait_here w = { .waiter = { .done = wait_here_done } };
	pthread_mutex_init(&w.lock, NULL);
	pthread_cond_init(&w.cond, NULL);
	start(arg, &w.waiter);
	waiting_begin();
	pthread_mutex_lock(&w.lock);
	while (!w.done)
		pthread_cond_wait(&w.cond, &w.lock);
	pthread_mutex_unlock(&w.lock);
	pthread_mutex_destroy(&w.lock);
	pthread_cond_destroy(&w.cond);
	return waiting_end() < 0 ? -EINTR : w.error;
}
