/* SPDX-License-Identifier: GPL-3.0-or-later */
/* marker - see marker.h */
#include "fs/marker.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/meta.h"
#include "fs/layout.h"
#include "fs/pool.h"
#include "fs/s3/object.h"

struct markers {
	pthread_mutex_t lock;
	uint64_t *owed; /* guarded by lock */
	size_t count, room;
};

struct marking {
	struct fs *fs;
	uint64_t dir;
	struct waiter *waiter;
};

int markers_create(struct markers **ret_markers)
{
	struct markers *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	pthread_mutex_init(&m->lock, NULL);
	*ret_markers = m;
	return 0;
}

struct markers *markers_free(struct markers *m)
{
	if (!m)
		return NULL;
	pthread_mutex_destroy(&m->lock);
	free(m->owed);
	free(m);
	return NULL;
}

void marker_owe(struct fs *fs, uint64_t dir)
{
	struct markers *m = fs->markers;
	LOCK_SCOPE(&m->lock);
	for (size_t i = m->count; i-- > 0 && i + 16 > m->count;)
		if (m->owed[i] == dir)
			return;
	if (m->count == m->room) {
		size_t room = m->room ? 2 * m->room : 64;
		uint64_t *owed = realloc(m->owed, room * sizeof(*owed));
		if (!owed)
			return;
		m->owed = owed;
		m->room = room;
	}
	m->owed[m->count++] = dir;
}

static void marked(void *arg, const struct s3_reply *reply)
{
	struct marking *m = arg;
	struct meta_entry e;
	if (reply->error == 0 && meta_get(m->fs->meta, m->dir, &e) == 0) {
		e.flags = (e.flags | META_MARKER) & ~(META_LOCAL | META_KEPT);
		e.checked_ms = meta_now_ms();
		meta_update(m->fs->meta, &e);
		if (e.parent)
			meta_rooted(m->fs->meta, e.parent);
	}
	m->waiter->done(m->waiter, reply->error);
	free(m);
}

/* Its key, if the directory needs a marker; else -ENODATA. */
static int marker_key(struct fs *fs, uint64_t dir, struct buf *key)
{
	_cleanup_buf_ struct buf path = { 0 };
	struct meta_entry e;
	struct layout layout;
	bool children = true;
	int r = meta_get(fs->meta, dir, &e);
	if (r == 0)
		r = meta_path(fs->meta, dir, &path);
	if (r < 0 || !path.length || e.kind != META_DIR || (e.flags & META_MARKER) ||
	    !(e.flags & (META_LOCAL | META_KEPT)) || fs->config.dirmarkers == DIRMARKERS_NEVER)
		return -ENODATA;
	layout_parse(path.data, &layout);
	if (layout.class != LAYOUT_MUTABLE)
		return -ENODATA;
	r = meta_has_children(fs->meta, dir, &children);
	if (r < 0 || children)
		return -ENODATA;
	r = fs_key(fs, path.data, key);
	return r < 0 ? r : buf_add_str(key, "/");
}

void marker_write(struct fs *fs, uint64_t dir, struct waiter *waiter)
{
	_cleanup_buf_ struct buf key = { 0 };
	struct marking *m = calloc(1, sizeof(*m));
	if (!m || marker_key(fs, dir, &key) < 0) {
		free(m);
		waiter->done(waiter, 0);
		return;
	}
	*m = (struct marking){ fs, dir, waiter };
	struct s3_body body = { .fd = -1, .data = "" };
	struct s3_put_options options = { 0 };
	s3_object_put(fs->s3, key.data, S3_CLASS_PUSH, &body, &options, marked, m);
}

struct one_marker {
	struct fs *fs;
	uint64_t dir;
};

static void write_one(void *arg, struct waiter *waiter)
{
	struct one_marker *one = arg;
	marker_write(one->fs, one->dir, waiter);
}

int marker_write_owed(struct fs *fs)
{
	int error = 0;
	for (size_t i = 0; i < fs->markers->count; i++) {
		struct one_marker one = { fs, fs->markers->owed[i] };
		int r = wait_here(write_one, &one);
		if (r < 0 && !error)
			error = r;
		if (r < 0)
			log_error("an empty directory could not be kept in the bucket: %s",
				  strerror(-r));
	}
	return error;
}
