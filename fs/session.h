/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * session - threads that read the FUSE channel and run its requests.
 *
 * A fixed number of threads: no request that waits for the gateway holds one
 * (ops parks it), so a few are enough.
 */
#pragma once

struct fuse_session;

/* Runs until the mount is gone or session_end is called (also from a signal
 * handler thread).  0, or a negative errno. */
int session_run(struct fuse_session *session, unsigned threads);
