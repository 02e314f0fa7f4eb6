/* SPDX-License-Identifier: GPL-3.0-or-later */
/* recover - see recover.h */
#include "fs/recover.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/journal.h"
#include "cache/spool.h"
#include "cache/staging.h"
#include "fs/inode.h"
#include "fs/pending.h"
#include "fs/publish.h"
#include "fs/s3/object.h"
#include "fs/tree.h"

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

static int resume_upload(struct fs *fs, const struct journal_record *record)
{
	_cleanup_close_ int fd = -1;
	struct meta_entry e;
	struct inode *inode;
	struct stat st;
	int r = spool_open_file(fs->spool, record->number, &fd);
	if (r == -ENOENT) /* the rename had not happened yet, or all was done */
		return journal_done(fs->journal, record->row);
	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r == 0)
		r = tree_make_path(fs, record->key, &e);
	if (r == 0)
		r = inode_hold(fs, &e, record->key, &inode);
	if (r < 0)
		return r;
	struct local *local = local_new(fd, record->number);
	if (!local) {
		inode_put(inode);
		return -ENOMEM;
	}
	steal_fd(&fd);
	pthread_mutex_lock(&inode->lock);
	local_put(inode->local);
	inode->local = local;
	inode->staged = false;
	inode->wrote = true;
	inode->size_bytes = st.st_size;
	inode->mtime_ns = record->mtime_ns;
	inode->journal_row = record->row;
	inode->changed++;
	pthread_mutex_unlock(&inode->lock);
	pending_add(fs, record->key, inode);
	log_info("%s: its upload is taken up again", record->key);
	publish_want(inode, NULL);
	inode_put(inode);
	return 0;
}

static int resume_copy(struct fs *fs, const struct journal_record *record)
{
	struct s3_waiter asked = S3_WAITER_INIT, copied = S3_WAITER_INIT;
	_cleanup_buf_ struct buf key = { 0 };
	struct s3_reply reply;
	int r = fs_key(fs, record->key, &key);
	if (r < 0)
		return r;
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
	log_info("%s: renamed to %s, as it was begun", record->from_key, record->key);
	pending_delete(fs, record->from_key, 0);
	return journal_done(fs->journal, record->row);
}

static int drop_orphan(void *arg, uint64_t number)
{
	struct todos *all = arg;
	for (struct todo *t = all->first; t; t = t->next)
		if (t->record.number == number)
			return 0;
	return spool_remove(all->fs->spool, number);
}

static int note_staged(void *arg, const char *name, const struct stat *st)
{
	(void)name, (void)st;
	*(bool *)arg = true;
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
	spool_each(fs->spool, drop_orphan, &all);
	for (struct todo *t = all.first; t; t = t->next) {
		r = t->record.kind == JOURNAL_UPLOAD ? resume_upload(fs, &t->record)
		    : t->record.kind == JOURNAL_COPY ? resume_copy(fs, &t->record)
						     : 0;
		if (r < 0)
			log_error("%s: what an earlier mount began could not be finished: %s; it stays "
				  "in the journal",
				  t->record.key, strerror(-r));
	}
	return 0;
}
