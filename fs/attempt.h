/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * attempt - what a change notes before its effect, for whoever runs the same
 * request again after this process died.
 *
 * A request that is run again may find its own effect: the name that it was to
 * make is there, the one that it was to remove is not.  With the id that the
 * first attempt noted it is told from somebody else's.
 *
 * Threads: each has a current attempt; NULL: there is nothing to note.
 * The memory outlives the process (fs/channel).
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

struct attempt {
	_Atomic uint64_t node;	 /* made, removed or moved by the request; 0 none */
	_Atomic uint64_t handle; /* opened by it; 0 none */
};

extern _Thread_local struct attempt *attempt_current;

/* What an earlier attempt, or this one, noted; 0: nothing. */
static inline uint64_t attempt_node(void)
{
	return attempt_current ? attempt_current->node : 0;
}

static inline void attempt_note_node(uint64_t id)
{
	if (attempt_current)
		attempt_current->node = id;
}

static inline void attempt_note_handle(uint64_t number)
{
	if (attempt_current)
		attempt_current->handle = number;
}
