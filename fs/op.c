/* SPDX-License-Identifier: GPL-3.0-or-later */
/* op - see op.h */
#include "fs/op.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "fs/attempt.h"
#include "fs/channel.h"

#define STAT_BLOCK 4096
#define STATFS_BLOCKS (1ull << 38) /* 1 PiB: a bucket has no end of its own */

/* RUNNING -> WAITING -> RUNNING ...; WAITING -> GIVEN_UP, which was answered. */
enum { RUNNING, WAITING, GIVEN_UP };

static void op_told(struct waiter *waiter, int error);
static void wait_begins(struct waiting *waiting);
static int wait_ends(struct waiting *waiting);
static void give_up(fuse_req_t request, void *data);

void op_stat(const struct fs *fs, const struct attr *attr, struct stat *st)
{
	bool dir = attr->kind == META_DIR;
	*st = (struct stat){
		.st_ino = attr->id,
		.st_mode = (dir ? S_IFDIR | 0777 : S_IFREG | 0666) & ~fs->config.umask,
		.st_nlink = dir ? 2 : 1,
		.st_uid = fs->config.uid,
		.st_gid = fs->config.gid,
		.st_size = dir ? 0 : attr->size_bytes,
		.st_blksize = STAT_BLOCK,
		.st_blocks = dir ? 0 : (attr->size_bytes + 511) / 512,
	};
	st->st_mtim.tv_sec = attr->mtime_ns / 1000000000;
	st->st_mtim.tv_nsec = attr->mtime_ns % 1000000000;
	st->st_ctim = st->st_atim = st->st_mtim;
}

struct op *op_new(fuse_req_t request, const char *kind, op_fn run, enum op_reply reply,
		  uint64_t node, const char *name)
{
	struct op *op = calloc(1, sizeof(*op));
	if (op && name && !(op->name = strdup(name))) {
		free(op);
		op = NULL;
	}
	if (!op) {
		fuse_reply_err(request, ENOMEM);
		return NULL;
	}
	op->fs = ((struct mounted *)fuse_req_userdata(request))->fs;
	op->slot = channel_current();
	op->waiting = (struct waiting){ wait_begins, wait_ends };
	op->request = request;
	op->kind = kind;
	op->run = run;
	op->reply = reply;
	op->node = node;
	op->waiter.done = op_told;
	return op;
}

static void op_free(struct op *op)
{
	free(op->name);
	free(op->new_name);
	free(op->own_data);
	free(op->buf);
	free(op);
}

static void reply_entry(struct op *op)
{
	struct fuse_entry_param e = {
		.ino = op->attr.id,
		.attr_timeout = op->attr.entry_ttl_s,
		.entry_timeout = op->attr.entry_ttl_s,
	};
	if (op->attr.id)
		op_stat(op->fs, &op->attr, &e.attr);
	if (op->reply == REPLY_CREATE)
		fuse_reply_create(op->request, &e, &op->fi);
	else
		fuse_reply_entry(op->request, &e);
}

static void reply_attr(struct op *op)
{
	struct stat st;
	op_stat(op->fs, &op->attr, &st);
	fuse_reply_attr(op->request, &st, op->attr.entry_ttl_s);
}

static void reply_statfs(struct op *op)
{
	struct statvfs st = {
		.f_bsize = STAT_BLOCK,
		.f_frsize = STAT_BLOCK,
		.f_blocks = STATFS_BLOCKS,
		.f_bfree = STATFS_BLOCKS,
		.f_bavail = STATFS_BLOCKS,
		.f_files = UINT32_MAX,
		.f_ffree = UINT32_MAX,
		.f_favail = UINT32_MAX,
		.f_namemax = META_NAME_MAX,
	};
	fuse_reply_statfs(op->request, &st);
}

/* The one place that replies, and that negates the errno.  The last touch. */
static void op_answer(struct op *op, int error)
{
	if (op->phase == GIVEN_UP) { /* and the request is gone */
		op_free(op);
		return;
	}
	if (op->reply != REPLY_NONE) /* returns when give_up is not running any more */
		fuse_req_interrupt_func(op->request, NULL, NULL);
	if (error < 0 && op->reply != REPLY_NONE)
		log_debug("%s %llu %s: %s", op->kind, (unsigned long long)op->node,
			  op->name ? op->name : "", strerror(-error));
	if (op->reply == REPLY_NONE)
		fuse_reply_none(op->request);
	else if (error < 0 || op->reply == REPLY_ERROR)
		fuse_reply_err(op->request, -error);
	else if (op->reply == REPLY_ENTRY || op->reply == REPLY_CREATE)
		reply_entry(op);
	else if (op->reply == REPLY_ATTR)
		reply_attr(op);
	else if (op->reply == REPLY_OPEN)
		fuse_reply_open(op->request, &op->fi);
	else if (op->reply == REPLY_DATA)
		fuse_reply_buf(op->request, op->buf, op->length);
	else if (op->reply == REPLY_WRITE)
		fuse_reply_write(op->request, op->length);
	else
		reply_statfs(op);
	op_free(op);
}

static void run_waiting(void *arg);

/* ---- waiting, and giving up ---- */

struct waiter *op_park(struct op *op)
{
	int running = RUNNING;
	atomic_compare_exchange_strong(&op->phase, &running, WAITING);
	return &op->waiter;
}

/* Goes on; false: it was given up meanwhile, and answered. */
static bool unpark(struct op *op)
{
	int waiting = WAITING;
	return atomic_compare_exchange_strong(&op->phase, &waiting, RUNNING) ||
	       waiting == RUNNING;
}

static void set_executing(struct op *op, bool executing)
{
	if (op->slot)
		op->slot->executing = executing;
}

static void wait_begins(struct waiting *waiting)
{
	struct op *op = (struct op *)((char *)waiting - offsetof(struct op, waiting));
	if (op->phase == GIVEN_UP)
		return;
	set_executing(op, false);
	op_park(op);
}

static int wait_ends(struct waiting *waiting)
{
	struct op *op = (struct op *)((char *)waiting - offsetof(struct op, waiting));
	if (unpark(op)) {
		set_executing(op, true);
		return 0;
	}
	attempt_current = NULL; /* its slot is another request's by now */
	return -EINTR;
}

/* libfuse calls this with the request's own lock held. */
static void give_up(fuse_req_t request, void *data)
{
	struct op *op = data;
	int waiting = WAITING;
	if (atomic_compare_exchange_strong(&op->phase, &waiting, GIVEN_UP))
		fuse_reply_err(request, EINTR);
}

/* ---- running ---- */

/* What the handler's arguments point to dies with the handler. */
static bool keep_data(struct op *op)
{
	if (!op->data || op->own_data)
		return true;
	op->own_data = malloc(op->size ? op->size : 1);
	if (!op->own_data)
		return false;
	memcpy(op->own_data, op->data, op->size);
	op->data = op->own_data;
	return true;
}

/* -EINPROGRESS: op may be gone already, and its slot another request's; that
 * one's next death may go uncounted then, which does no harm. */
static int run(struct op *op)
{
	struct slot *slot = op->slot;
	waiting_current = &op->waiting;
	attempt_current = slot ? &slot->attempt : NULL;
	set_executing(op, true);
	int result = op->run(op);
	waiting_current = NULL;
	attempt_current = NULL;
	if (slot && (result == -EINPROGRESS || result == -EAGAIN))
		slot->executing = false;
	return result;
}

static void finish(struct op *op, int result)
{
	if (result == -EINPROGRESS)
		return; /* parked: perhaps answered already */
	if (result != -EAGAIN) {
		unpark(op);
		op_answer(op, result);
		return;
	}
	if (!keep_data(op) || pool_submit(op->fs->waiters, run_waiting, op) < 0)
		op_answer(op, -ENOMEM);
}

static void run_waiting(void *arg)
{
	struct op *op = arg;
	int result = run(op);
	if (result == -EINPROGRESS)
		return;
	unpark(op);
	op_answer(op, result == -EAGAIN ? -EIO : result);
}

static void run_told(void *arg)
{
	struct op *op = arg;
	finish(op, run(op));
}

/* Parked, and now told. */
static void op_told(struct waiter *waiter, int error)
{
	struct op *op = (struct op *)waiter;
	if (!unpark(op) || error < 0 || !op->run_again) {
		op_answer(op, error);
		return;
	}
	if (pool_submit(op->fs->workers, run_told, op) < 0)
		op_answer(op, -ENOMEM);
}

void op_execute(struct op *op)
{
	if (!op)
		return;
	if (op->reply != REPLY_NONE)
		fuse_req_interrupt_func(op->request, give_up, op);
	finish(op, run(op));
}
