/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * session - threads that read the FUSE channel and run its requests.
 *
 * A fixed number of threads: no request that waits for the gateway holds one
 * (ops parks it), so a few are enough.
 */
#pragma once

struct fuse_session;
struct channel;

/* Runs until the mount is gone or session_end is called (from another thread).
 * 0, or a negative errno. */
int session_run(struct fuse_session *session, struct channel *channel, unsigned threads);
/* Wakes the threads that wait for a request; those that run one finish it. */
void session_end(struct fuse_session *session);
