/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * cleanup - release a local variable when its scope ends.
 *
 *   _cleanup_free_ char *name = strdup(x);
 *   _cleanup_close_ int fd = open(...);
 *
 * Every destructor here accepts an empty value (NULL, -1), so a variable is
 * initialised where it is declared and released on every path.  To hand a
 * value on, steal it: `*ret_name = steal_pointer(&name)`.
 */
#pragma once

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_unlock(pthread_mutex_t **lock)
{
	if (*lock)
		pthread_mutex_unlock(*lock);
}

static inline pthread_mutex_t *lock_taken(pthread_mutex_t *lock)
{
	pthread_mutex_lock(lock);
	return lock;
}

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

#define GUARD_JOIN2(a, b) a##b
#define GUARD_JOIN(a, b) GUARD_JOIN2(a, b)
/* Holds `lock` until the end of the scope. */
#define LOCK_SCOPE(lock)                                                       \
	__attribute__((unused)) _cleanup_(cleanup_unlock) pthread_mutex_t      \
		*GUARD_JOIN(guard_, __LINE__) = lock_taken(lock)

/* Takes the pointer out of `p`, leaving NULL for its cleanup to find. */
#define steal_pointer(p)                                                       \
	({                                                                     \
		__typeof__(*(p)) stolen_ = *(p);                               \
		*(p) = NULL;                                                   \
		stolen_;                                                       \
	})

static inline int steal_fd(int *fd)
{
	int stolen = *fd;
	*fd = -1;
	return stolen;
}
