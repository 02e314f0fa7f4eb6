/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * worker - the process that works: bucket, cache, state, and the requests.
 *
 * It prepares everything, is given the FUSE descriptor by the supervisor, and
 * serves until the mount is gone or it is told to end; then it finishes what is
 * under way.  After a death, the next one takes over: the cache keeps what only
 * this mount knows, open files come back (fs/handover), requests are run again
 * (fs/channel).
 */
#pragma once

#include "fs/options.h"
#include "fs/supervisor.h"

/* An exit_status, or STATUS_LAYOUT. */
int worker_run(struct options *options, const struct supervision *supervision);
