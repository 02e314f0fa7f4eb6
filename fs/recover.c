/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * recover - see recover.h.
 *
 * A row of the journal is written before its change of a name takes effect.  In
 * a takeover the names tell whether it had (then it counts) or not (then it is
 * dropped, and the request is run again); in a fresh mount it counts.
 */
#include "fs/recover.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
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
#include "fs/s3/list.h"
#include "fs/s3/object.h"
#include "fs/s3/upload.h"
#include "fs/tree.h"
#include "fs/writeback.h"
#include "fs/writer.h"

#define ENTRIES_AT_ONCE 256

/* A row, with strings of our own. */
struct todo {
	struct journal_record record;
	struct todo *next;
};

struct todos {
	struct fs *fs;
	struct todo *first, **last;
	int error;
};

static void todos_free(struct todos *all)
{
	while (all->first) {
		struct todo *t = all->first;
		all->first = t->next;
		free((char *)t->record.key);
		free((char *)t->record.from_key);
		free((char *)t->record.etag);
		free((char *)t->record.upload_id);
		free(t);
	}
}

static const char *copy_of(const char *text)
{
	return text ? strdup(text) : NULL;
}

static int collect(void *arg, const struct journal_record *record)
{
	struct todos *all = arg;
	struct todo *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->record = *record;
	t->record.key = copy_of(record->key);
	t->record.from_key = copy_of(record->from_key);
	t->record.etag = copy_of(record->etag);
	t->record.upload_id = copy_of(record->upload_id);
	*all->last = t;
	all->last = &t->next;
	return 0;
}

static struct meta_entry *entry_of(struct fs *fs, const struct journal_record *record,
				   struct meta_entry *ret_entry)
{
	if (fs->config.takeover)
		return meta_get(fs->meta, record->node, ret_entry) == 0 ? ret_entry : NULL;
	return tree_make_path(fs, record->key, ret_entry) == 0 ? ret_entry : NULL;
}

/* Does the node have the name that the row was to give it? */
static bool took_effect(struct fs *fs, const struct journal_record *record)
{
	_cleanup_buf_ struct buf path = { 0 };
	return !fs->config.takeover || (meta_path(fs->meta, record->node, &path) == 0 &&
					!strcmp(path.data, record->key));
}

/* ---- uploads ---- */

/* The name in the staging tree that the file had. */
static void drop_staged_name(struct fs *fs, const char *path, const struct stat *file)
{
	struct stat st;
	if (path && staging_stat(fs->staging, path, &st) == 0 && st.st_ino == file->st_ino)
		staging_unlink(fs->staging, path);
}

static void restore_upload_locked(struct inode *inode, struct local *local,
				  const struct journal_record *record, const struct stat *st)
{
	if (inode->journal_row && inode->journal_row != record->row)
		journal_done(inode->fs->journal, inode->journal_row);
	local_put(inode->local);
	inode->local = local;
	inode->staged = false;
	inode->wrote = true;
	inode->size_bytes = st->st_size;
	inode->mtime_ns = record->mtime_ns;
	inode->journal_row = record->row;
	inode->changed++;
	writeback_kept_locked(inode);
}

static int restore_upload(struct fs *fs, const struct journal_record *record)
{
	_cleanup_close_ int fd = -1;
	_cleanup_inode_ struct inode *inode = NULL;
	struct meta_entry e;
	struct stat st;
	int r = spool_open_file(fs->spool, record->number, &fd);
	if (r == -ENOENT) /* the rename had not happened yet, or all was done */
		return journal_done(fs->journal, record->row);
	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r == 0 && !entry_of(fs, record, &e))
		r = -EIO;
	if (r == 0)
		r = inode_hold(fs, &e, record->key, &inode);
	if (r < 0)
		return r;
	struct local *local = local_new(fd, record->number);
	if (!local)
		return -ENOMEM;
	steal_fd(&fd);
	drop_staged_name(fs, record->from_key, &st);
	pthread_mutex_lock(&inode->lock);
	restore_upload_locked(inode, local, record, &st);
	pthread_mutex_unlock(&inode->lock);
	log_info("%s: its upload is taken up again", record->key);
	return pending_add(fs, record->key, inode);
}

/* ---- copies ---- */

/* In a fresh mount: before anybody sees the tree. */
static int make_copy(struct fs *fs, const struct journal_record *record)
{
	struct s3_waiter asked = S3_WAITER_INIT, copied = S3_WAITER_INIT,
			 deleted = S3_WAITER_INIT;
	_cleanup_buf_ struct buf key = { 0 };
	struct s3_reply reply;
	int r = fs_key(fs, record->key, &key);
	if (r < 0)
		return r;
	if (!strcmp(key.data, record->from_key)) /* there and back: it is where it belongs */
		return journal_done(fs->journal, record->row);
	s3_object_head(fs->s3, record->from_key, S3_CLASS_PUSH, s3_waiter_done, &asked);
	r = s3_waiter_wait(&asked, &reply);
	if (r == -ENOENT || (r == 0 && strcmp(reply.etag, record->etag)))
		return journal_done(fs->journal, record->row);
	if (r < 0)
		return r;
	s3_object_copy(fs->s3, record->from_key, key.data, S3_CLASS_PUSH, record->etag, NULL,
		       s3_waiter_done, &copied);
	r = s3_waiter_wait(&copied, &reply);
	if (r < 0)
		return r;
	/* Now, since the next row may write that key. */
	s3_object_delete(fs->s3, record->from_key, S3_CLASS_PUSH, s3_waiter_done, &deleted);
	r = s3_waiter_wait(&deleted, &reply);
	if (r < 0)
		return r;
	log_info("%s: renamed to %s, as it was begun", record->from_key, record->key);
	return journal_done(fs->journal, record->row);
}

/* The directory of a key, as far as it is known; 0: not. */
static uint64_t dir_of_key(struct fs *fs, const char *key)
{
	struct meta_entry dir;
	const char *path = key + strlen(fs->prefix), *slash = strrchr(path, '/');
	_cleanup_free_ char *parent = strndup(path, slash ? slash - path : 0);
	return parent && tree_find_known(fs, parent, &dir) == 0 ? dir.id : 0;
}

static int restore_copy(struct fs *fs, const struct journal_record *record)
{
	_cleanup_inode_ struct inode *inode = NULL;
	struct meta_entry e;
	uint64_t dir = dir_of_key(fs, record->from_key);
	int r = entry_of(fs, record, &e) ? inode_hold(fs, &e, record->key, &inode) : -EIO;
	if (r == 0)
		r = pending_write_begin(fs, record->from_key, dir, NULL);
	if (r < 0)
		return r;
	pthread_mutex_lock(&inode->lock);
	free(inode->object_key);
	inode->object_key = strdup(record->from_key);
	inode->object_dir = dir;
	inode->copy_pending = true;
	inode->journal_row = record->row;
	inode->changed++;
	pthread_mutex_unlock(&inode->lock);
	return pending_add(fs, record->key, inode);
}

/* ---- multipart uploads ---- */

struct aborting {
	struct fs *fs;
	uint64_t row;
	char *key, *upload_id; /* NULL: its id never came back; then the key is claimed, so
				* that what is found is not a new upload of it */
	bool claimed;
};

static void aborted(void *arg, const struct s3_reply *reply)
{
	struct aborting *a = arg;
	if (reply->error == 0 || reply->error == -ENOENT)
		journal_done(a->fs->journal, a->row);
	else
		log_warning("%s: a multipart upload that was begun could not be aborted: %s", a->key,
			    strerror(-reply->error));
	if (a->claimed)
		pending_write_end(a->fs, a->key, 0);
	free(a->key);
	free(a->upload_id);
	free(a);
}

/* The id of an upload of that very key.  -ENOENT: there is none. */
static int find_upload(struct fs *fs, const char *key, char **ret_id)
{
	const char *slash = strrchr(key, '/');
	_cleanup_free_ char *prefix = strndup(key, slash ? slash - key + 1 : 0);
	struct s3_upload_listing *listing = NULL;
	int r = prefix ? s3_list_uploads(fs->s3, prefix, NULL, &listing) : -ENOMEM;
	if (r < 0)
		return r;
	r = -ENOENT;
	for (size_t i = 0; r == -ENOENT && i < listing->count; i++)
		if (!strcmp(listing->entries[i].key, key))
			r = (*ret_id = strdup(listing->entries[i].upload_id)) ? 0 : -ENOMEM;
	s3_upload_listing_free(listing);
	return r;
}

/* On a thread that may wait. */
static void abort_upload(void *arg)
{
	struct aborting *a = arg;
	int r = a->upload_id ? 0 : find_upload(a->fs, a->key, &a->upload_id);
	if (r < 0) {
		aborted(a, &(struct s3_reply){ .error = r });
		return;
	}
	s3_multipart_abort(a->fs->s3, a->key, a->upload_id, S3_CLASS_GC, aborted, a);
}

static int begin_abort(struct fs *fs, const struct journal_record *record)
{
	_cleanup_buf_ struct buf key = { 0 };
	int r = fs_key(fs, record->key, &key);
	struct aborting *a = r < 0 ? NULL : calloc(1, sizeof(*a));
	if (!a)
		return r < 0 ? r : -ENOMEM;
	*a = (struct aborting){ .fs = fs, .row = record->row };
	a->key = steal_pointer(&key.data);
	a->upload_id = record->upload_id ? strdup(record->upload_id) : NULL;
	a->claimed = !a->upload_id;
	if (a->claimed && pending_write_begin(fs, a->key, 0, NULL) != 0) {
		free(a->key); /* for the next mount */
		free(a);
		return 0;
	}
	return pool_submit(fs->waiters, abort_upload, a);
}

/* ---- what only this mount knows: a takeover ---- */

static int drop_row(struct fs *fs, const struct journal_record *record)
{
	struct meta_entry e;
	/* Marked for a rename that is run again. */
	if (record->kind == JOURNAL_COPY && meta_get(fs->meta, record->node, &e) == 0 && e.etag[0] &&
	    (e.flags & META_LOCAL)) {
		e.flags &= ~META_LOCAL;
		meta_update(fs->meta, &e);
	}
	return journal_done(fs->journal, record->row);
}

/* Local content that no row of the journal speaks of. */
static int restore_local_locked(struct inode *inode, const struct handover_file *file)
{
	struct stat st;
	int fd, r = spool_open_file(inode->fs->spool, file->number, &fd);
	if (r < 0)
		return r;
	inode->local = local_new(fd, file->number);
	if (!inode->local || fstat(fd, &st) < 0) {
		close(fd);
		return -ENOMEM;
	}
	inode->size_bytes = st.st_size;
	if (!inode->path)
		inode->local->doomed_in = inode->fs->spool;
	return 0;
}

static int restore_file_locked(struct inode *inode, uint32_t cell, const struct handover_file *file)
{
	int r = 0;
	inode->cell = cell;
	inode->error = file->error;
	inode->wrote = file->flags & HANDOVER_WROTE;
	inode->withdrawn = file->flags & HANDOVER_WITHDRAWN;
	inode->mtime_ns = file->mtime_ns;
	bool as_kept = inode->journal_row && (!inode->local || inode->local->number == file->number);
	if (inode->staged || as_kept)
		return 0;
	inode->local = local_put(inode->local); /* written on since */
	if (file->number)
		r = restore_local_locked(inode, file);
	if (r == 0 && (file->flags & HANDOVER_DIRTY)) {
		inode->changed++;
		inode->mtime_pending = file->flags & HANDOVER_MTIME;
		inode->copy_pending = inode->mtime_pending;
	}
	if (r < 0 && !inode->error)
		inode->error = r;
	return r;
}

/* *named: it has a path, which is in `path`. */
static int hold_node(struct fs *fs, uint64_t node, struct buf *path, bool *named,
		     struct inode **ret_inode)
{
	struct meta_entry e;
	int r = meta_get(fs->meta, node, &e);
	*named = r == 0 && meta_path(fs->meta, node, path) == 0;
	return r < 0 ? r : inode_hold(fs, &e, *named ? path->data : NULL, ret_inode);
}

static int restore_file(void *arg, uint32_t cell, const struct handover_file *file)
{
	_cleanup_buf_ struct buf path = { 0 };
	_cleanup_inode_ struct inode *inode = NULL;
	struct fs *fs = arg;
	bool named;
	int r = hold_node(fs, file->node, &path, &named, &inode);
	if (r < 0) {
		handover_drop_file(fs->handover, &cell);
		return 0;
	}
	pthread_mutex_lock(&inode->lock);
	r = restore_file_locked(inode, cell, file);
	bool dirty = inode_dirty_locked(inode);
	pthread_mutex_unlock(&inode->lock);
	if (r < 0)
		log_error("node %llu: its content that was not published yet is not there: %s",
			  (unsigned long long)file->node, strerror(-r));
	/* What has neither a name nor a handle goes with the last reference. */
	return dirty && named ? pending_add(fs, path.data, inode) : 0;
}

static int restore_handle(void *arg, uint32_t cell, const struct handover_handle *handle)
{
	_cleanup_buf_ struct buf path = { 0 };
	_cleanup_inode_ struct inode *inode = NULL;
	struct fs *fs = arg;
	bool named;
	int r = hold_node(fs, handle->node, &path, &named, &inode);
	if (r == 0)
		r = handle_restore(fs, inode, handle->number, handle->may_write, cell);
	if (r == 0)
		r = writer_open_staged(inode);
	if (r < 0)
		log_error("an open file of node %llu is lost: %s", (unsigned long long)handle->node,
			  strerror(-r));
	return 0;
}

/* A delete that was begun, a directory that may need a marker. */
static void restore_entry(struct fs *fs, const struct meta_entry *e)
{
	_cleanup_buf_ struct buf path = { 0 }, key = { 0 };
	if (e->kind == META_DIR) {
		marker_owe(fs, e->id);
		return;
	}
	if (meta_path(fs->meta, e->parent, &path) == 0 &&
	    buf_addf(&path, "%s%s", path.length ? "/" : "", e->name) == 0 &&
	    fs_key(fs, path.data, &key) == 0 && !pending_is_writing(fs, key.data))
		pending_delete(fs, key.data, e->parent);
}

static int restore_entries(struct fs *fs)
{
	_cleanup_free_ struct meta_entry *entries = calloc(ENTRIES_AT_ONCE, sizeof(*entries));
	unsigned count = ENTRIES_AT_ONCE;
	int r = entries ? 0 : -ENOMEM;
	for (uint64_t after = 0; r == 0 && count == ENTRIES_AT_ONCE;) {
		r = meta_unfinished(fs->meta, after, ENTRIES_AT_ONCE, entries, &count);
		for (unsigned i = 0; r == 0 && i < count; i++) {
			restore_entry(fs, &entries[i]);
			after = entries[i].id;
		}
	}
	return r;
}

/* ---- all of it ---- */

static int restore_row(struct fs *fs, const struct journal_record *record)
{
	if (record->kind == JOURNAL_MULTIPART)
		return begin_abort(fs, record);
	if (!took_effect(fs, record))
		return drop_row(fs, record);
	if (record->kind == JOURNAL_UPLOAD)
		return restore_upload(fs, record);
	if (record->kind == JOURNAL_COPY)
		return fs->config.takeover ? restore_copy(fs, record) : make_copy(fs, record);
	return 0;
}

static void restore_rows(struct todos *all)
{
	for (struct todo *t = all->first; t; t = t->next) {
		int r = restore_row(all->fs, &t->record);
		if (r < 0)
			log_error("%s: what was begun before could not be finished: %s; it stays in the "
				  "journal",
				  t->record.key, strerror(-r));
	}
}

struct owned {
	struct fs *fs;
	uint64_t number;
};

static int is_it(void *arg, uint32_t cell, const struct handover_file *file)
{
	(void)cell;
	return file->number == ((struct owned *)arg)->number;
}

/* A file of the spool that nothing speaks of. */
static int drop_orphan(void *arg, uint64_t number)
{
	struct todos *all = arg;
	struct owned owned = { all->fs, number };
	for (struct todo *t = all->first; t; t = t->next)
		if (t->record.number == number)
			return 0;
	if (all->fs->config.takeover && handover_each_file(all->fs->handover, is_it, &owned) == 1)
		return 0;
	return spool_remove(all->fs->spool, number);
}

/* By what is in the journal now: rows that did not count are gone. */
static void drop_orphans(struct fs *fs)
{
	_cleanup_(todos_free) struct todos all = { .fs = fs };
	all.last = &all.first;
	if (journal_each(fs->journal, collect, &all) == 0)
		spool_each(fs->spool, drop_orphan, &all);
}

static int note_staged(void *arg, const char *name, const struct stat *st)
{
	(void)name, (void)st;
	*(bool *)arg = true;
	return 0;
}

/* All that is known to be owed, but for files that somebody still writes. */
static int start_publishing(struct fs *fs)
{
	struct inode **inodes;
	size_t count;
	int r = pending_inodes(fs, 0, &inodes, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		pthread_mutex_lock(&inodes[i]->lock);
		bool now = !inodes[i]->writers || inodes[i]->journal_row;
		pthread_mutex_unlock(&inodes[i]->lock);
		if (now)
			publish_want(inodes[i], NULL);
		inode_put(inodes[i]);
	}
	free(inodes);
	return 0;
}

int recover_run(struct fs *fs)
{
	_cleanup_(todos_free) struct todos all = { .fs = fs };
	all.last = &all.first;
	staging_each(fs->staging, ".", note_staged, &fs->staged_anywhere);
	int r = journal_each(fs->journal, collect, &all);
	if (r < 0)
		return r;
	/* All of them before the first is published: a link finds its blob. */
	restore_rows(&all);
	if (fs->config.takeover) {
		handover_each_handle(fs->handover, restore_handle, fs); /* they hold the inodes */
		handover_each_file(fs->handover, restore_file, fs);
		r = restore_entries(fs);
	}
	drop_orphans(fs);
	return r < 0 ? r : start_publishing(fs);
}
