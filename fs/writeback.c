/* SPDX-License-Identifier: GPL-3.0-or-later */
/* writeback - see writeback.h */
#include "fs/writeback.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cache/journal.h"
#include "cache/spool.h"
#include "fs/inode.h"
#include "fs/pending.h"
#include "fs/publish.h"

#define RETRY_S 10

struct writeback {
	struct fs *fs;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool ending; /* guarded by lock */
};

/* ---- keeping ---- */

void writeback_kept_locked(struct inode *inode)
{
	uint64_t old = inode->kept_number;
	inode->fs->kept_bytes += inode->size_bytes - inode->kept_bytes;
	inode->kept_bytes = inode->size_bytes;
	inode->kept = inode->changed;
	inode->kept_number = inode->local ? inode->local->number : 0;
	if (inode->local)
		inode->local->kept = true;
	if (old && old != inode->kept_number)
		spool_remove(inode->fs->spool, old);
}

void writeback_settled_locked(struct inode *inode)
{
	uint64_t published = inode->local ? inode->local->number : 0;
	if (inode->journal_row)
		journal_done(inode->fs->journal, inode->journal_row);
	inode->journal_row = 0;
	if (inode->kept_number && inode->kept_number != published)
		spool_remove(inode->fs->spool, inode->kept_number);
	inode->fs->kept_bytes -= inode->kept_bytes;
	inode->kept = inode->kept_number = inode->kept_bytes = 0;
}

static int sync_local(struct fs *fs, const struct local *local)
{
	if (!local || !local->number)
		return 0;
	return fdatasync(local->fd) < 0 || fsync(spool_dir_fd(fs->spool)) < 0 ? -errno : 0;
}

/* Notes what was synced; true: done (*ret_result), false: it changed meanwhile. */
static bool note(struct inode *inode, const struct local *synced, int *ret_result)
{
	LOCK_SCOPE(&inode->lock);
	if (inode->error || !inode->path || !inode_dirty_locked(inode)) {
		*ret_result = inode->error;
		return true;
	}
	if (inode->local != synced)
		return false;
	*ret_result = publish_note_owed_locked(inode, inode->path);
	if (*ret_result == 0)
		writeback_kept_locked(inode);
	inode_save_locked(inode);
	return true;
}

int writeback_keep(struct inode *inode)
{
	struct fs *fs = inode->fs;
	for (;;) {
		pthread_mutex_lock(&inode->lock);
		int r = inode->error;
		bool nothing = inode->staged || !inode->path || !inode_dirty_locked(inode) ||
			       inode->kept == inode->changed;
		bool no_bytes = !inode->local && !inode->object_key; /* a new mtime only */
		struct local *local = local_ref(inode->local);
		uint64_t more = inode->size_bytes - inode->kept_bytes;
		pthread_mutex_unlock(&inode->lock);
		bool ended = r < 0 || nothing;
		if (!ended && (no_bytes || fs->kept_bytes + more > fs->config.writeback_max_bytes))
			r = -EDQUOT;
		if (!ended && r == 0)
			r = sync_local(fs, local);
		ended = ended || r < 0 || note(inode, local, &r);
		local_put(local);
		if (ended)
			return r;
	}
}

/* ---- trying again ---- */

static void try_all(struct fs *fs)
{
	struct inode **inodes;
	size_t count;
	if (pending_inodes(fs, 0, &inodes, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++) {
		pthread_mutex_lock(&inodes[i]->lock);
		bool owed = inodes[i]->journal_row && !inodes[i]->publish;
		pthread_mutex_unlock(&inodes[i]->lock);
		if (owed)
			publish_want(inodes[i], NULL);
		inode_put(inodes[i]);
	}
	free(inodes);
}

static void *retry(void *arg)
{
	struct writeback *w = arg;
	struct timespec until;
	pthread_mutex_lock(&w->lock);
	while (!w->ending) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += RETRY_S;
		pthread_cond_timedwait(&w->ended, &w->lock, &until);
		if (w->ending)
			break;
		pthread_mutex_unlock(&w->lock);
		try_all(w->fs);
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int writeback_start(struct fs *fs, struct writeback **ret_writeback)
{
	struct writeback *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->fs = fs;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->ended, NULL);
	int r = pthread_create(&w->thread, NULL, retry, w);
	if (r) {
		free(w);
		return -r;
	}
	*ret_writeback = w;
	return 0;
}

struct writeback *writeback_stop(struct writeback *w)
{
	if (!w)
		return NULL;
	pthread_mutex_lock(&w->lock);
	w->ending = true;
	pthread_cond_signal(&w->ended);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->ended);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return NULL;
}
