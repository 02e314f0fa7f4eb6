/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pool - threads that run jobs, in order of submission.
 *
 * The mount has two: `waiters`, whose jobs may wait for the gateway, and
 * `workers`, whose jobs only compute and use the local disk, so that they are
 * never behind a slow gateway.  A job never waits for another job.
 */
#pragma once

#include <stdbool.h>

struct pool;
typedef void (*pool_fn)(void *arg);

int pool_create(unsigned threads, bool may_wait, struct pool **ret_pool);
/* Runs what was submitted, then ends the threads. */
struct pool *pool_destroy(struct pool *pool);

/* -ENOMEM: fn will not run. */
int pool_submit(struct pool *pool, pool_fn fn, void *arg);

/* May the calling thread wait for the gateway? */
bool pool_may_wait(void);
/* For threads outside the pools: recovery before the mount serves. */
void pool_set_may_wait(bool may);

/*
 * Somebody who is told when a thing is done: a parked request, or the next
 * step of a longer work.  Owned by who waits; `done` is called once, from any
 * thread, with no lock held, and is the last touch.
 */
struct waiter {
	void (*done)(struct waiter *waiter, int error);
	struct waiter *next;
};

/* Tells everybody on a list. */
void waiters_done(struct waiter *list, int error);

/* The blocking face of a waiter; not on threads that may not wait.  -EINTR: who
 * asked gave up; what was waited for has ended all the same. */
int wait_here(void (*start)(void *arg, struct waiter *waiter), void *arg);
