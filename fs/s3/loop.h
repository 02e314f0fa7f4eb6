/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * s3/loop - the event thread.
 *
 * Requests wait in a queue per class; a lower class goes first.  A token
 * bucket holds the rate (halved for a while after a 429), `connections` the
 * number at once.  What is to be tried again waits until its time.
 *
 * Threads: s3_loop_submit from any (before s3_loop_start nothing is sent, after
 * s3_loop_stop a request ends with -ECANCELED on the caller's thread);
 * everything else is the event thread's.
 * loop.lock guards the inbox only and is a leaf.
 */
#pragma once

#include <stdint.h>

struct s3_client;
struct s3_loop;
struct s3_request;

int s3_loop_create(unsigned connections, unsigned rate, struct s3_loop **ret_loop);
int s3_loop_start(struct s3_loop *loop);
void s3_loop_stop(struct s3_loop *loop);
struct s3_loop *s3_loop_destroy(struct s3_loop *loop); /* stops it first */

/* The request is the loop's from now on. */
void s3_loop_submit(struct s3_loop *loop, struct s3_request *request);
/* The gateway said 429: slower for a while. */
void s3_loop_throttled(struct s3_loop *loop);
uint64_t s3_loop_requests(const struct s3_loop *loop);
