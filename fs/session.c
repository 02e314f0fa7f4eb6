/* SPDX-License-Identifier: GPL-3.0-or-later */
/* session - see session.h */
#include "fs/session.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fs/channel.h"

#define THREADS_MAX 64
#define WAKE_SIGNAL SIGUSR1 /* interrupts a read; handled by doing nothing */
#define WAKE_AGAIN_MS 20

struct serving {
	struct fuse_session *session;
	struct channel *channel;
	_Atomic int error;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_t threads[THREADS_MAX]; /* guarded by lock, as are these: */
static unsigned count;		       /* that can be sent a signal */
static unsigned serving;	       /* that have not ended */

static void wake(int number)
{
	(void)number;
}

static void *serve(void *arg)
{
	struct serving *s = arg;
	while (!fuse_session_exited(s->session)) {
		int n = channel_serve(s->channel, s->session);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0) {
			if (n < 0 && n != -ENODEV)
				s->error = n;
			break;
		}
	}
	fuse_session_exit(s->session);
	LOCK_SCOPE(&lock);
	serving--;
	pthread_cond_broadcast(&changed);
	return NULL;
}

static unsigned start(struct serving *s, unsigned wanted)
{
	LOCK_SCOPE(&lock);
	for (count = 0; count < wanted && count < THREADS_MAX; count++) {
		if (pthread_create(&threads[count], NULL, serve, s))
			break;
		serving++;
	}
	if (count < wanted)
		log_warning("only %u of %u FUSE threads could be started", count, wanted);
	return count;
}

/* A signal that comes just before the read is lost: so until all have ended. */
void session_end(struct fuse_session *session)
{
	fuse_session_exit(session);
	LOCK_SCOPE(&lock);
	while (serving && count) {
		struct timespec until;
		for (unsigned i = 0; i < count; i++)
			pthread_kill(threads[i], WAKE_SIGNAL);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += WAKE_AGAIN_MS * 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&changed, &lock, &until);
	}
}

int session_run(struct fuse_session *session, struct channel *channel, unsigned wanted)
{
	struct serving s = { .session = session, .channel = channel };
	struct sigaction action = { .sa_handler = wake }; /* no SA_RESTART */
	sigaction(WAKE_SIGNAL, &action, NULL);
	unsigned n = start(&s, wanted);
	if (!n)
		return -EAGAIN;
	pthread_mutex_lock(&lock);
	while (serving == n) /* the first to end ends all */
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	session_end(session);
	pthread_mutex_lock(&lock);
	count = 0;
	pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return s.error;
}
