/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-pool - jobs run, waiting is where it is allowed, waiters are told once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/pool.h"

static atomic_int ran, allowed;

static void job(void *arg)
{
	(void)arg;
	ran++;
	allowed += pool_may_wait();
}

static void test_all_jobs_run(void **state)
{
	struct pool *pool;
	(void)state;
	ran = allowed = 0;
	assert_int_equal(pool_create(4, true, &pool), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(pool_submit(pool, job, NULL), 0);
	assert_null(pool_destroy(pool));
	assert_int_equal(ran, 1000);
	assert_int_equal(allowed, 1000);
	assert_false(pool_may_wait());
}

static void test_workers_may_not_wait(void **state)
{
	struct pool *pool;
	(void)state;
	ran = allowed = 0;
	assert_int_equal(pool_create(1, false, &pool), 0);
	pool_submit(pool, job, NULL);
	pool_destroy(pool);
	assert_int_equal(ran, 1);
	assert_int_equal(allowed, 0);
}

struct told {
	struct waiter waiter;
	int count, error;
};

static void told(struct waiter *waiter, int error)
{
	struct told *t = (struct told *)waiter;
	t->count++;
	t->error = error;
}

static void test_waiters(void **state)
{
	struct told a = { .waiter.done = told }, b = { .waiter.done = told };
	(void)state;
	a.waiter.next = &b.waiter;
	waiters_done(&a.waiter, -EIO);
	assert_int_equal(a.count, 1);
	assert_int_equal(b.count, 1);
	assert_int_equal(b.error, -EIO);
	waiters_done(NULL, 0);
}

static struct waiter *kept;

static void tell_later(void *arg)
{
	(void)arg;
	kept->done(kept, -ETIMEDOUT);
}

static void start_later(void *pool, struct waiter *waiter)
{
	kept = waiter;
	pool_submit(pool, tell_later, NULL);
}

static void test_wait_here(void **state)
{
	struct pool *pool;
	(void)state;
	pool_create(1, false, &pool);
	assert_int_equal(wait_here(start_later, pool), -ETIMEDOUT);
	pool_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_jobs_run),
		cmocka_unit_test(test_workers_may_not_wait),
		cmocka_unit_test(test_waiters),
		cmocka_unit_test(test_wait_here),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
