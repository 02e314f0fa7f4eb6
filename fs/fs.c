/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fs - see fs.h */
#include "fs/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cache/chunk.h"
#include "cache/journal.h"
#include "cache/meta.h"
#include "cache/spool.h"
#include "cache/staging.h"
#include "fs/handover.h"
#include "fs/inode.h"
#include "fs/marker.h"
#include "fs/pending.h"
#include "fs/pool.h"
#include "fs/publish.h"
#include "fs/recover.h"
#include "fs/s3/client.h"
#include "fs/writeback.h"

#define WAITERS 48 /* requests that wait for the gateway at once */
#define WORKERS 4

static int open_state(struct fs *fs, char *message, size_t room)
{
	int r = journal_open(fs->places, &fs->journal);
	if (r == -EPROTO)
		snprintf(message, room, "the journal in the state directory was written by a newer "
					"version of tardigradefs; use that, nothing was touched");
	else if (r == -EUCLEAN)
		snprintf(message, room, "the journal in the state directory is damaged; nothing was "
					"touched. Keep a copy of the state directory, then move "
					"journal.db away: uploads it names are lost");
	else if (r < 0)
		snprintf(message, room, "cannot open the journal in the state directory: %s",
			 strerror(-r));
	return r;
}

static int open_rest(struct fs *fs)
{
	const struct fs_config *c = &fs->config;
	int r = staging_open(fs->places, &fs->staging);
	if (r == 0)
		r = spool_open(fs->places, &fs->spool);
	if (r == 0)
		r = meta_open(fs->places, c->takeover, &fs->meta);
	if (r == 0)
		r = chunk_store_open(fs->places, c->cache_size_bytes, c->cache_reserve_bytes,
				     &fs->chunks);
	if (r == 0)
		r = inodes_create(&fs->inodes);
	if (r == 0)
		r = pending_create(fs, &fs->pending);
	return r == 0 ? markers_create(&fs->markers) : r;
}

int fs_create(const struct fs_config *config, struct places *places, struct s3_client *s3,
	      struct handover *handover, struct fs **ret_fs, char *ret_message, size_t room)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int r = -ENOMEM;
	if (!fs)
		handover_close(handover);
	if (fs) {
		fs->config = *config;
		fs->places = places;
		fs->s3 = s3;
		fs->handover = handover;
		fs->prefix = strdup(config->prefix ? config->prefix : "");
		r = fs->prefix ? open_state(fs, ret_message, room) : -ENOMEM;
	}
	if (r < 0) {
		fs_free(fs);
		return r;
	}
	fs->config.prefix = fs->prefix;
	r = open_rest(fs);
	if (r < 0) {
		snprintf(ret_message, room, "cannot open the cache: %s", strerror(-r));
		fs_free(fs);
		return r;
	}
	*ret_fs = fs;
	return 0;
}

int fs_start(struct fs *fs)
{
	fs->began_ms = fs->config.began_ms;
	int r = pool_create(WAITERS, true, &fs->waiters);
	if (r == 0)
		r = pool_create(WORKERS, false, &fs->workers);
	if (r < 0)
		return r;
	pool_set_may_wait(true);
	r = recover_run(fs);
	pool_set_may_wait(false);
	return r == 0 && fs->config.writeback ? writeback_start(fs, &fs->writeback) : r;
}

static void wait_all(void *arg, struct waiter *waiter)
{
	publish_wait_dir(arg, 0, waiter);
}

int fs_stop(struct fs *fs)
{
	fs->writeback = writeback_stop(fs->writeback);
	pool_set_may_wait(true);
	/* Twice: an upload may end in a copy or a delete of its own. */
	int r = wait_here(wait_all, fs);
	int again = wait_here(wait_all, fs);
	int markers = marker_write_owed(fs);
	pool_set_may_wait(false);
	/* In this order: what ends there may still be told here. */
	s3_client_stop(fs->s3);
	fs->waiters = pool_destroy(fs->waiters);
	fs->workers = pool_destroy(fs->workers);
	r = r ? r : again ? again : markers;
	if (r < 0)
		log_error("not everything reached the bucket: %s; what a rename brought stays in the "
			  "state directory and is uploaded by the next mount",
			  strerror(-r));
	return r;
}

struct fs *fs_free(struct fs *fs)
{
	if (!fs)
		return NULL;
	writeback_stop(fs->writeback);
	pool_destroy(fs->waiters);
	pool_destroy(fs->workers);
	pending_free(fs->pending);
	inodes_free(fs->inodes);
	markers_free(fs->markers);
	chunk_store_close(fs->chunks);
	meta_close(fs->meta);
	spool_close(fs->spool);
	staging_close(fs->staging);
	journal_close(fs->journal);
	handover_close(fs->handover);
	free(fs->prefix);
	free(fs);
	return NULL;
}

int fs_key(const struct fs *fs, const char *path, struct buf *key)
{
	if (strlen(fs->prefix) + strlen(path) > S3_KEY_MAX)
		return -ENAMETOOLONG;
	int r = buf_add_str(key, fs->prefix);
	return r < 0 ? r : buf_add_str(key, path);
}

void fs_progress(struct fs *fs)
{
	if (fs->config.progress)
		fs->config.progress(fs->config.progress_arg);
}

void fs_notify_content(struct fs *fs, uint64_t id)
{
	if (fs->kernel.content)
		fs->kernel.content(fs->kernel.arg, id);
}

void fs_notify_entry(struct fs *fs, uint64_t parent, const char *name)
{
	if (fs->kernel.entry)
		fs->kernel.entry(fs->kernel.arg, parent, name);
}
