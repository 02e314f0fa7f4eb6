/* SPDX-License-Identifier: GPL-3.0-or-later */
/* inode - see inode.h */
#include "fs/inode.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/chunk.h"
#include "cache/places.h"
#include "cache/spool.h"
#include "fs/attempt.h"
#include "fs/handover.h"

struct inodes {
	pthread_mutex_t lock;
	struct inode *by_id;	    /* guarded by lock */
	struct handle *by_number;   /* guarded by lock */
};

struct local *local_new(int fd, uint64_t number)
{
	struct local *local = calloc(1, sizeof(*local));
	if (!local)
		return NULL;
	local->refs = 1;
	local->fd = fd;
	local->number = number;
	return local;
}

struct local *local_ref(struct local *local)
{
	if (local)
		local->refs++;
	return local;
}

struct local *local_put(struct local *local)
{
	if (local && --local->refs == 0) {
		if (local->fd >= 0)
			close(local->fd);
		if (local->doomed_in)
			spool_remove(local->doomed_in, local->number);
		free(local);
	}
	return NULL;
}

int inodes_create(struct inodes **ret_inodes)
{
	struct inodes *inodes = calloc(1, sizeof(*inodes));
	if (!inodes)
		return -ENOMEM;
	pthread_mutex_init(&inodes->lock, NULL);
	*ret_inodes = inodes;
	return 0;
}

static void inode_free(struct inode *inode)
{
	local_put(inode->local);
	chunk_file_close(inode->chunks);
	pthread_mutex_destroy(&inode->lock);
	free(inode->path);
	free(inode->object_key);
	free(inode->reading);
	free(inode);
}

struct inodes *inodes_free(struct inodes *inodes)
{
	if (!inodes)
		return NULL;
	struct handle *h, *next_h;
	HASH_ITER(hh, inodes->by_number, h, next_h) {
		HASH_DEL(inodes->by_number, h);
		free(h);
	}
	struct inode *inode, *next;
	HASH_ITER(hh, inodes->by_id, inode, next) {
		HASH_DEL(inodes->by_id, inode);
		inode_free(inode);
	}
	pthread_mutex_destroy(&inodes->lock);
	free(inodes);
	return NULL;
}

static struct inode *inode_new(struct fs *fs, const struct meta_entry *entry, const char *path)
{
	struct inode *inode = calloc(1, sizeof(*inode));
	if (!inode)
		return NULL;
	pthread_mutex_init(&inode->lock, NULL);
	inode->id = entry->id;
	inode->fs = fs;
	inode->refs = 1;
	inode->parent = entry->parent;
	inode->size_bytes = inode->object_size = entry->size_bytes;
	inode->mtime_ns = entry->mtime_ns;
	memcpy(inode->etag, entry->etag, sizeof(inode->etag));
	if (path) {
		layout_parse(path, &inode->layout);
		inode->path = strdup(path);
		if (!inode->path) {
			inode_free(inode);
			return NULL;
		}
	}
	/* A staged path that has an ETag is an object that another driver left. */
	inode->staged = inode->layout.class == LAYOUT_STAGED && !entry->etag[0];
	return inode;
}

int inode_hold(struct fs *fs, const struct meta_entry *entry, const char *path,
	       struct inode **ret_inode)
{
	struct inode *inode;
	LOCK_SCOPE(&fs->inodes->lock);
	HASH_FIND(hh, fs->inodes->by_id, &entry->id, sizeof(entry->id), inode);
	if (inode) {
		inode->refs++;
		*ret_inode = inode;
		return 0;
	}
	inode = inode_new(fs, entry, path);
	if (!inode)
		return -ENOMEM;
	HASH_ADD(hh, fs->inodes->by_id, id, sizeof(inode->id), inode);
	if (!inode->hh.tbl) {
		inode_free(inode);
		return -ENOMEM;
	}
	*ret_inode = inode;
	return 0;
}

struct inode *inode_find(struct fs *fs, uint64_t id)
{
	struct inode *inode;
	LOCK_SCOPE(&fs->inodes->lock);
	HASH_FIND(hh, fs->inodes->by_id, &id, sizeof(id), inode);
	if (inode)
		inode->refs++;
	return inode;
}

struct inode *inode_ref(struct inode *inode)
{
	LOCK_SCOPE(&inode->fs->inodes->lock);
	inode->refs++;
	return inode;
}

struct inode *inode_put(struct inode *inode)
{
	if (!inode)
		return NULL;
	struct inodes *inodes = inode->fs->inodes;
	pthread_mutex_lock(&inodes->lock);
	bool last = --inode->refs == 0;
	if (last)
		HASH_DEL(inodes->by_id, inode);
	pthread_mutex_unlock(&inodes->lock);
	if (last) {
		handover_drop_file(inode->fs->handover, &inode->cell);
		inode_free(inode);
	}
	return NULL;
}

void inode_save_locked(struct inode *inode)
{
	bool dirty = inode_dirty_locked(inode);
	if (!inode->local && !dirty && !inode->error) {
		handover_drop_file(inode->fs->handover, &inode->cell);
		return;
	}
	struct handover_file file = {
		.node = inode->id,
		.number = inode->local ? inode->local->number : 0,
		.journal_row = inode->journal_row,
		.mtime_ns = inode->mtime_ns,
		.error = inode->error,
		.flags = (dirty ? HANDOVER_DIRTY : 0) | (inode->wrote ? HANDOVER_WROTE : 0) |
			 (inode->copy_pending ? HANDOVER_COPY : 0) |
			 (inode->mtime_pending ? HANDOVER_MTIME : 0) |
			 (inode->withdrawn ? HANDOVER_WITHDRAWN : 0),
	};
	if (handover_save_file(inode->fs->handover, &inode->cell, &file) < 0)
		log_debug("too many open files to hand over");
}

int inodes_all(struct fs *fs, struct inode ***ret_inodes, size_t *ret_count)
{
	LOCK_SCOPE(&fs->inodes->lock);
	size_t n = 0, count = HASH_COUNT(fs->inodes->by_id);
	struct inode **all = calloc(count + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (struct inode *i = fs->inodes->by_id; i; i = i->hh.next) {
		i->refs++;
		all[n++] = i;
	}
	*ret_inodes = all;
	*ret_count = n;
	return 0;
}

int handle_restore(struct fs *fs, struct inode *inode, uint64_t number, bool may_write,
		   uint32_t cell)
{
	struct handle *h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->inode = inode_ref(inode);
	h->may_write = may_write;
	h->number = number;
	h->cell = cell;

	pthread_mutex_lock(&fs->inodes->lock);
	HASH_ADD(hh, fs->inodes->by_number, number, sizeof(h->number), h);
	bool added = h->hh.tbl;
	pthread_mutex_unlock(&fs->inodes->lock);
	if (!added) {
		inode_put(inode);
		free(h);
		return -ENOMEM;
	}
	pthread_mutex_lock(&inode->lock);
	if (may_write)
		inode->writers++;
	else
		inode->readers++;
	pthread_mutex_unlock(&inode->lock);
	return 0;
}

int handle_open(struct fs *fs, struct inode *inode, bool may_write, uint64_t *ret_number)
{
	struct handover_handle record = { .node = inode->id, .may_write = may_write };
	uint32_t cell = 0;
	record.number = places_next_id(fs->places);
	if (!record.number)
		return -EIO;
	attempt_note_handle(record.number);
	int r = handover_save_handle(fs->handover, &cell, &record);
	if (r == 0)
		r = handle_restore(fs, inode, record.number, may_write, cell);
	if (r < 0)
		handover_drop_handle(fs->handover, &cell);
	else
		*ret_number = record.number;
	return r;
}

struct handle *handle_get(struct fs *fs, uint64_t number)
{
	struct handle *h;
	LOCK_SCOPE(&fs->inodes->lock);
	HASH_FIND(hh, fs->inodes->by_number, &number, sizeof(number), h);
	return h;
}

void handle_close(struct fs *fs, uint64_t number)
{
	struct handle *h = handle_get(fs, number);
	if (!h)
		return;
	pthread_mutex_lock(&fs->inodes->lock);
	HASH_DEL(fs->inodes->by_number, h);
	pthread_mutex_unlock(&fs->inodes->lock);
	handover_drop_handle(fs->handover, &h->cell);

	struct inode *inode = h->inode;
	pthread_mutex_lock(&inode->lock);
	if (h->may_write)
		inode->writers--;
	else
		inode->readers--;
	if (!inode->writers)
		inode->error = 0;
	inode_save_locked(inode);
	pthread_mutex_unlock(&inode->lock);
	inode_put(inode);
	free(h);
}
