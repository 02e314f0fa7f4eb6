/* SPDX-License-Identifier: GPL-3.0-or-later */
/* session - see session.h */
#include "fs/session.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define THREADS_MAX 64

struct serving {
	struct fuse_session *session;
	_Atomic int error;
};

static void *serve(void *arg)
{
	struct serving *s = arg;
	struct fuse_buf buf = { 0 };
	while (!fuse_session_exited(s->session)) {
		int n = fuse_session_receive_buf(s->session, &buf);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0) {
			if (n < 0 && n != -ENODEV)
				s->error = n;
			break;
		}
		fuse_session_process_buf(s->session, &buf);
	}
	fuse_session_exit(s->session);
	free(buf.mem);
	return NULL;
}

int session_run(struct fuse_session *session, unsigned count)
{
	struct serving s = { .session = session };
	pthread_t threads[THREADS_MAX];
	unsigned n = 0;
	if (count > THREADS_MAX)
		count = THREADS_MAX;
	for (; n < count; n++) {
		int r = pthread_create(&threads[n], NULL, serve, &s);
		if (r && !n)
			return -r;
		if (r) {
			log_warning("only %u of %u FUSE threads could be started", n, count);
			break;
		}
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return s.error;
}
