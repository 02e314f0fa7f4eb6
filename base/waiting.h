/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * waiting - who works on a thread is told when that thread waits for somebody
 * else (the gateway), and may have given up meanwhile.
 *
 *	waiting_begin();
 *	... wait ...
 *	if (waiting_end() < 0)
 *		return -EINTR;
 *
 * Threads: each has a current of its own; NULL: nobody wants to know.
 */
#pragma once

#include <stddef.h>

struct waiting {
	void (*begin)(struct waiting *waiting);
	int (*end)(struct waiting *waiting); /* 0, or -EINTR: given up */
};

extern _Thread_local struct waiting *waiting_current;

static inline void waiting_begin(void)
{
	if (waiting_current)
		waiting_current->begin(waiting_current);
}

static inline int waiting_end(void)
{
	return waiting_current ? waiting_current->end(waiting_current) : 0;
}
