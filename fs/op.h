/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * op - one FUSE request, from its arrival to its answer.
 *
 * A handler in ops.c copies the arguments into an op and gives it to
 * op_execute, the one function through which every request runs: first on the
 * FUSE thread, without waiting; a request that would have to wait for the
 * gateway is run again from its beginning on a thread of fs->waiters; one that
 * waits for something under way is parked, and goes on (or is answered) when
 * told.  op_answer is the one function that replies.
 *
 * Who gives up (Ctrl-C) while his request waits gets EINTR at once; what it
 * waits for goes on, and finds nobody to tell.
 *
 * Threads: an op belongs to one thread at a time.  After op_answer it is gone.
 */
#pragma once

#include <fuse_lowlevel.h>

#include "base/waiting.h"
#include "fs/fs.h"
#include "fs/pool.h"
#include "fs/tree.h"

struct op;
struct channel;
struct slot;

/* libfuse's userdata. */
struct mounted {
	struct fs *fs;
	struct channel *channel;
};

/*
 * Runs a request: 0 or a negative errno is its result.  -EAGAIN: has had no
 * effect, to be run again where waiting is allowed.  -EINPROGRESS: op_park(op)
 * was handed over, as the last thing, and is told.
 */
typedef int (*op_fn)(struct op *op);

enum op_reply { REPLY_NONE, REPLY_ERROR, REPLY_ENTRY, REPLY_ATTR, REPLY_OPEN, REPLY_CREATE,
		REPLY_DATA, REPLY_WRITE, REPLY_STATFS };

struct op {
	struct waiter waiter; /* first: found from the waiter's address */
	struct fs *fs;
	fuse_req_t request;
	const char *kind; /* "lookup", for the log */
	op_fn run;
	enum op_reply reply;
	bool run_again; /* when told without an error; else that is the answer */
	_Atomic int phase; /* op.c's */
	struct waiting waiting;
	struct slot *slot; /* the request's; not after it was given up */

	/* arguments */
	uint64_t node, fh, new_dir;
	char *name, *new_name; /* owned */
	int flags;
	off_t offset;
	size_t size;
	int64_t set_size, set_mtime_ns;
	const void *data; /* of a write: FUSE's, until the handler returns */
	char *own_data;

	/* results */
	struct attr attr;
	struct fuse_file_info fi;
	char *buf;
	size_t length;
};

struct op *op_new(fuse_req_t request, const char *kind, op_fn run, enum op_reply reply,
		  uint64_t node, const char *name);
/* The waiter to hand over: from now on the request may be given up. */
struct waiter *op_park(struct op *op);
/* NULL (op_new failed and has answered) is fine. */
void op_execute(struct op *op);

/* struct stat of an attribute, with the mount's owner and modes. */
void op_stat(const struct fs *fs, const struct attr *attr, struct stat *ret_stat);
