/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * rename - tree_rename: what moves, and how.
 *
 *	staged -> staged    a local rename
 *	staged -> bucket    the file leaves the staging tree, is noted in the
 *			    journal, and its upload starts; nothing waits, since
 *			    the kernel holds one rename lock per mount
 *	bucket -> bucket    a server-side copy, then a delete, journaled; here
 *			    the name changes at once
 *	anything else	    EXDEV: mv copies
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/journal.h"
#include "cache/spool.h"
#include "cache/staging.h"
#include "fs/attempt.h"
#include "fs/inode.h"
#include "fs/name.h"
#include "fs/pending.h"
#include "fs/publish.h"
#include "fs/tree.h"
#include "fs/writeback.h"
#include "fs/writer.h"

struct move {
	struct fs *fs;
	struct name from, to;
	struct meta_entry entry, target; /* target.kind ABSENT: none */
	struct inode *inode, *target_inode; /* references; target's may be NULL */
	unsigned flags;
};

static void move_free(struct move *m)
{
	name_free(&m->from);
	name_free(&m->to);
	inode_put(m->inode);
	inode_put(m->target_inode);
}

static int check_target(struct move *m)
{
	bool from_dir = m->entry.kind == META_DIR, children = false;
	if (m->target.kind == META_ABSENT)
		return 0;
	if (m->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (m->target.kind == META_FILE)
		return from_dir ? -ENOTDIR : 0;
	if (!from_dir)
		return -EISDIR;
	int r = know_children(m->fs, m->target.id);
	if (r == 0)
		r = meta_has_children(m->fs->meta, m->target.id, &children);
	return r == 0 && children ? -ENOTEMPTY : r;
}

static bool is_staged(const struct name *n, const struct meta_entry *e)
{
	return n->layout.class == LAYOUT_STAGED && !e->etag[0];
}

/* The row moves; what is at the target loses its name. */
static int move_entry(struct move *m, uint64_t seq_left_behind)
{
	struct fs *fs = m->fs;
	uint64_t seq = places_next_id(fs->places);
	int r = meta_move(fs->meta, m->entry.id, m->to.dir, m->to.name, seq, meta_now_ms());
	if (r < 0)
		return r;
	struct meta_entry left;
	if (seq_left_behind && meta_find(fs->meta, m->from.dir, m->from.name, &left) == 0 &&
	    left.kind == META_ABSENT) {
		left.seq = seq_left_behind;
		meta_update(fs->meta, &left);
	}
	tree_detach(m->target_inode);
	tree_keep_dir(fs, m->from.dir);
	return 0;
}

static int set_path_locked(struct inode *inode, const struct name *to)
{
	char *path = strdup(to->path.data);
	if (!path)
		return -ENOMEM;
	free(inode->path);
	inode->path = path;
	inode->parent = to->dir;
	inode->layout = to->layout;
	return 0;
}

/* An attempt whose process died may have done this already. */
static int rename_staged(struct move *m)
{
	struct stat st;
	struct staging *staging = m->fs->staging;
	int r = staging_rename(staging, m->from.path.data, m->to.path.data, m->flags);
	if (r == -ENOENT && attempt_node() && staging_stat(staging, m->to.path.data, &st) == 0)
		r = 0;
	return r;
}

/* ---- directories ---- */

static int move_dir(struct move *m)
{
	struct fs *fs = m->fs;
	bool children;
	if (m->from.layout.class == LAYOUT_STAGED && m->to.layout.class == LAYOUT_STAGED) {
		int r = rename_staged(m);
		return r < 0 ? r : move_entry(m, 0);
	}
	/* One that was made here and is empty has nothing in the bucket. */
	if (!(m->entry.flags & META_LOCAL) || m->to.layout.class == LAYOUT_STAGED ||
	    meta_has_children(fs->meta, m->entry.id, &children) < 0 || children)
		return -EXDEV;
	return move_entry(m, 0);
}

/* ---- files ---- */

static int move_staged(struct move *m)
{
	int r = rename_staged(m);
	if (r == 0)
		r = move_entry(m, 0);
	LOCK_SCOPE(&m->inode->lock);
	return r < 0 ? r : set_path_locked(m->inode, &m->to);
}

/* Before the name changes: its second name in the spool, and the journal's row.
 * Who finds that row after a death sees by the name whether it counts. */
static int take_out_locked(struct move *m, struct stat *st)
{
	struct fs *fs = m->fs;
	struct inode *inode = m->inode;
	if (fstat(inode->local->fd, st) < 0)
		return -errno;
	struct journal_record record = {
		.kind = JOURNAL_UPLOAD,
		.number = places_next_id(fs->places),
		.mtime_ns = st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec,
		.key = m->to.path.data,
		.from_key = m->from.path.data,
	};
	char name[SPOOL_NAME_MAX];
	spool_name(record.number, name);
	int r = record.number ? staging_link_out(fs->staging, m->from.path.data,
						 spool_dir_fd(fs->spool), name) : -EIO;
	if (r == 0 && fs->config.writeback && fsync(spool_dir_fd(fs->spool)) < 0)
		r = -errno;
	if (r == 0)
		r = publish_note_locked(inode, &record);
	if (r < 0)
		spool_remove(fs->spool, record.number);
	else
		inode->local->number = record.number;
	return r;
}

static void put_back_locked(struct move *m)
{
	struct inode *inode = m->inode;
	journal_done(m->fs->journal, inode->journal_row);
	inode->journal_row = 0;
	spool_remove(m->fs->spool, inode->local->number);
	inode->local->number = 0;
}

static int unstage_locked(struct move *m, const struct stat *st)
{
	struct inode *inode = m->inode;
	int r = set_path_locked(inode, &m->to);
	if (r < 0)
		return r;
	inode->staged = false;
	inode->wrote = true;
	inode->size_bytes = st->st_size;
	inode->mtime_ns = st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec;
	inode->changed++;
	writeback_kept_locked(inode);
	inode_save_locked(inode);
	return 0;
}

static int publish_staged(struct move *m)
{
	struct fs *fs = m->fs;
	struct stat st;
	int r = writer_open_staged(m->inode);
	if (r == 0 && fs->config.writeback) /* durable when it returns */
		r = pool_may_wait() ? writer_sync_staged(m->inode) : -EAGAIN;
	if (r < 0)
		return r;
	pthread_mutex_lock(&m->inode->lock);
	r = take_out_locked(m, &st);
	pthread_mutex_unlock(&m->inode->lock);
	if (r < 0)
		return r;
	r = move_entry(m, 0);
	pthread_mutex_lock(&m->inode->lock);
	if (r < 0)
		put_back_locked(m);
	else
		r = unstage_locked(m, &st);
	pthread_mutex_unlock(&m->inode->lock);
	if (r < 0)
		return r;
	staging_unlink(fs->staging, m->from.path.data);
	pending_add(fs, m->to.path.data, m->inode);
	publish_want(m->inode, NULL);
	return 0;
}

static void want(void *arg, struct waiter *waiter)
{
	publish_want(arg, waiter);
}

/* What was written and not published yet is published first, under its old
 * name: a copy moves only what is in the bucket.  So is what an earlier rename
 * owes: the journal speaks of one move of an object at a time. */
static int settle_source(struct inode *inode)
{
	pthread_mutex_lock(&inode->lock);
	bool dirty = inode_dirty_locked(inode) && (inode->etag[0] || inode->publish);
	bool new_only = inode_dirty_locked(inode) && !inode->etag[0] && !inode->publish;
	bool failed = inode->copy_pending && !inode->publish;
	pthread_mutex_unlock(&inode->lock);
	if (failed)
		return 0;
	if (!dirty || new_only)
		return 0;
	return pool_may_wait() ? wait_here(want, inode) : -EAGAIN;
}

static int owe_copy_locked(struct move *m, char **old_path)
{
	struct inode *inode = m->inode;
	bool in_bucket = inode->etag[0];
	*old_path = inode->path ? strdup(inode->path) : NULL;
	if (in_bucket && !inode->object_key) {
		if (!(inode->object_key = strdup(m->from.key.data)))
			return -ENOMEM;
		inode->object_dir = m->from.dir;
	}
	return in_bucket || inode->journal_row ? publish_note_owed_locked(inode, m->to.path.data) : 0;
}

/* The name has changed; so the object is to follow. */
static int renamed_locked(struct move *m)
{
	struct inode *inode = m->inode;
	int r = set_path_locked(inode, &m->to);
	if (r == 0 && inode->etag[0]) {
		inode->copy_pending = true;
		inode->changed++;
	}
	inode_save_locked(inode);
	return r;
}

struct turn {
	struct move *m;
	int result;
};

static void ask_for_turn(void *arg, struct waiter *waiter)
{
	struct turn *t = arg;
	struct name *from = &t->m->from;
	t->result = pending_write_begin(t->m->fs, from->key.data, from->dir, waiter);
	if (t->result != -EINPROGRESS)
		waiter->done(waiter, 0);
}

/* Nobody writes or deletes the source until its copy is made.  1: claimed;
 * 0: not needed (not in the bucket, or the claim is held already). */
static int claim_source(struct move *m)
{
	struct turn turn = { .m = m };
	pthread_mutex_lock(&m->inode->lock);
	bool needed = m->inode->etag[0] && !m->inode->object_key;
	pthread_mutex_unlock(&m->inode->lock);
	if (!needed)
		return 0;
	if (!pool_may_wait()) {
		int r = pending_write_begin(m->fs, m->from.key.data, m->from.dir, NULL);
		return r == 0 ? 1 : r == -EINPROGRESS ? -EAGAIN : r;
	}
	int r;
	do
		r = wait_here(ask_for_turn, &turn);
	while (turn.result == -EINPROGRESS && r != -EINTR);
	if (turn.result == 0 && r == -EINTR)
		pending_write_end(m->fs, m->from.key.data, 0);
	return r == -EINTR ? r : turn.result == 0 ? 1 : turn.result;
}

static int move_object(struct move *m)
{
	struct fs *fs = m->fs;
	_cleanup_free_ char *old_path = NULL;
	int r = settle_source(m->inode);
	if (r == 0)
		r = meta_get(fs->meta, m->entry.id, &m->entry);
	int claimed = r == 0 ? claim_source(m) : r;
	if (claimed < 0)
		return claimed;
	pthread_mutex_lock(&m->inode->lock);
	r = owe_copy_locked(m, &old_path);
	bool in_bucket = m->inode->etag[0], open = m->inode->writers;
	pthread_mutex_unlock(&m->inode->lock);
	if (r < 0) {
		if (claimed)
			pending_write_end(fs, m->from.key.data, r);
		return r;
	}
	m->entry.flags |= META_LOCAL; /* no listing shows it yet */
	r = meta_update(fs->meta, &m->entry);
	if (r == 0)
		r = move_entry(m, in_bucket ? SEQ_DELETING : 0);
	if (r == 0) {
		pthread_mutex_lock(&m->inode->lock);
		r = renamed_locked(m);
		pthread_mutex_unlock(&m->inode->lock);
	}
	if (r < 0)
		return r;
	pending_add(fs, m->to.path.data, m->inode);
	if (old_path)
		pending_remove(fs, old_path, m->inode);
	if (in_bucket || !open)
		publish_want(m->inode, NULL);
	return 0;
}

static int move_file(struct move *m)
{
	bool from = is_staged(&m->from, &m->entry);
	bool to = m->to.layout.class == LAYOUT_STAGED;
	if (!from && to)
		return -EXDEV;
	int r = inode_hold(m->fs, &m->entry, m->from.path.data, &m->inode);
	if (r < 0)
		return r;
	if (m->target.kind == META_FILE)
		m->target_inode = inode_find(m->fs, m->target.id);
	r = tree_preserve(m->target_inode);
	if (r < 0)
		return r;
	if (from && to)
		return move_staged(m);
	return from ? publish_staged(m) : move_object(m);
}

int tree_rename(struct fs *fs, uint64_t dir, const char *name, uint64_t new_dir,
		const char *new_name, unsigned flags)
{
	_cleanup_(move_free) struct move m = { .fs = fs, .flags = flags };
	if (flags & ~RENAME_NOREPLACE)
		return -EINVAL;
	int r = know_entry(fs, dir, name, &m.entry);
	if (r == -ENOENT && attempt_node())
		return know_entry(fs, new_dir, new_name, &m.target) == 0 ? 0 : r;
	if (r == 0)
		r = know_entry(fs, new_dir, new_name, &m.target);
	if (r == -ENOENT && m.entry.id)
		r = 0;
	if (r == 0 && m.target.id == m.entry.id)
		return 0;
	if (r == 0)
		r = check_target(&m);
	if (r == 0)
		r = name_of(fs, dir, name, &m.from);
	if (r == 0)
		r = name_of(fs, new_dir, new_name, &m.to);
	if (r < 0)
		return r;
	attempt_note_node(m.entry.id);
	return m.entry.kind == META_DIR ? move_dir(&m) : move_file(&m);
}
