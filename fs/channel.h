/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * channel - the requests that the kernel waits for, in memory that outlives the
 * worker.
 *
 * A request is received straight into a slot, and stays there until its reply
 * was written; the next worker runs what it finds.  The memory is a memfd that
 * the supervisor keeps; the tables of fs/handover are in it, too.
 *
 * Invariants
 *   C1  A request that left the kernel is in a slot until its reply is written.
 *	 (The head of a slot's data is zero before it is received into.)
 *   C2  The reply of a request that has an effect is in the slot before it is
 *	 written: one that is found there is written again, not run again.  (The
 *	 kernel refuses a reply that it had with ENOENT, which does no harm.)
 *   C3  `tries` counts deaths while the request was executed, not while it
 *	 waited; one that has TRIES_MAX of them gets EIO.
 *   C4  Memory of another layout is refused (-EPROTO).
 *
 * Threads: channel.lock guards which slots are free, and is a leaf.  A slot
 * belongs to who received into it, then to whoever replies.
 */
#pragma once

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/attempt.h"

struct channel;

struct slot {
	_Atomic uint32_t state; /* channel.c's */
	_Atomic uint32_t executing;
	_Atomic uint32_t tries;
	uint32_t reply_length;
	_Atomic uint64_t unique;
	struct attempt attempt;
	uint8_t reply[400];
};

/* New memory, for a supervisor; the caller owns *ret_fd. */
int channel_create(int *ret_fd);
/* The fd stays the caller's. */
int channel_open(int fd, struct channel **ret_channel);
struct channel *channel_close(struct channel *channel);

/* Has a worker served on it before? */
bool channel_is_taken_over(const struct channel *channel);
unsigned channel_takeovers(const struct channel *channel);
/* Moves with each reply; for the supervisor. */
uint64_t channel_progress(const struct channel *channel);
void channel_note_progress(struct channel *channel);
/* The death to come is not the fault of what is executed. */
void channel_forgive(struct channel *channel);
/* When the first worker began, ms since 1970; 0: `now_ms`, which is kept. */
int64_t channel_began_ms(struct channel *channel, int64_t now_ms);
/* For fs/handover. */
void *channel_memory(struct channel *channel);
/* Handles that a request opened whose reply was never written. */
void channel_each_lost_handle(struct channel *channel, void (*fn)(void *arg, uint64_t number),
			      void *arg);

/* How libfuse reads and writes; its userdata is a struct mounted (op.h). */
extern const struct fuse_custom_io channel_io;

/* Reads a request and runs it.  As fuse_session_receive_buf: > 0, 0 at the end
 * of the mount, or a negative errno. */
int channel_serve(struct channel *channel, struct fuse_session *session);
/* What the last worker left: INIT, then every request in a slot.  Before
 * channel_serve, on one thread. */
void channel_replay(struct channel *channel, struct fuse_session *session);

/* The slot of the request that the calling thread is handling. */
struct slot *channel_current(void);
