/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pending - see pending.h */
#include "fs/pending.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <uthash.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fs/inode.h"
#include "fs/s3/object.h"
#include "fs/tree.h"

/* A key with something wanted or on its way. */
struct change {
	char *key;
	uint64_t dir;
	uint64_t ticket; /* order of arrival */
	struct fs *fs;
	bool writing, deleting, delete_wanted;
	struct waiter *turn; /* who waits to write */
	UT_hash_handle hh;
};

struct dir_wait {
	uint64_t dir;
	uint64_t ticket; /* waits for changes up to this one */
	int error;
	struct waiter *waiter;
	struct dir_wait *next;
};

struct unpublished {
	char *path;
	struct inode *inode;
	UT_hash_handle hh;
};

/* Everything below is guarded by lock. */
struct pending {
	pthread_mutex_t lock;
	struct change *changes;
	struct dir_wait *waits;
	struct unpublished *unpublished;
	uint64_t last_ticket;
};

int pending_create(struct fs *fs, struct pending **ret_pending)
{
	struct pending *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	*ret_pending = p;
	return 0;
}

static void change_free(struct pending *p, struct change *c)
{
	HASH_DEL(p->changes, c);
	free(c->key);
	free(c);
}

static void unpublished_free(struct pending *p, struct unpublished *u)
{
	HASH_DEL(p->unpublished, u);
	free(u->path);
	free(u);
}

struct pending *pending_free(struct pending *p)
{
	if (!p)
		return NULL;
	struct change *c, *next_c;
	HASH_ITER(hh, p->changes, c, next_c)
		change_free(p, c);
	struct unpublished *u, *next_u;
	HASH_ITER(hh, p->unpublished, u, next_u)
		unpublished_free(p, u);
	pthread_mutex_destroy(&p->lock);
	free(p);
	return NULL;
}

static struct change *change_get_locked(struct fs *fs, const char *key, uint64_t dir)
{
	struct pending *p = fs->pending;
	struct change *c;
	HASH_FIND_STR(p->changes, key, c);
	if (c)
		return c;
	c = calloc(1, sizeof(*c));
	if (!c || !(c->key = strdup(key))) {
		free(c);
		return NULL;
	}
	c->dir = dir;
	c->fs = fs;
	c->ticket = ++p->last_ticket;
	HASH_ADD_KEYPTR(hh, p->changes, c->key, strlen(c->key), c);
	if (!c->hh.tbl) {
		free(c->key);
		free(c);
		return NULL;
	}
	return c;
}

static bool dir_busy_locked(struct pending *p, const struct dir_wait *w)
{
	for (struct change *c = p->changes; c; c = c->hh.next)
		if ((!w->dir || c->dir == w->dir) && c->ticket <= w->ticket &&
		    (c->writing || c->deleting || c->delete_wanted))
			return true;
	return false;
}

/* Takes the waits that are over off the list; the caller tells them. */
static struct dir_wait *waits_over_locked(struct pending *p, uint64_t dir, int error)
{
	struct dir_wait *over = NULL;
	for (struct dir_wait **at = &p->waits; *at;) {
		struct dir_wait *w = *at;
		if (w->dir && w->dir != dir) {
			at = &w->next;
			continue;
		}
		if (error && !w->error)
			w->error = error;
		if (dir_busy_locked(p, w)) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->next = over;
		over = w;
	}
	return over;
}

static void tell_waits(struct dir_wait *over)
{
	while (over) {
		struct dir_wait *next = over->next;
		over->waiter->done(over->waiter, over->error);
		free(over);
		over = next;
	}
}

static void delete_done(void *arg, const struct s3_reply *reply);

/* A change has ended: the next one of this key, and those who waited. */
static void change_ended(struct fs *fs, const char *key, int error)
{
	struct pending *p = fs->pending;
	struct change *c;
	bool send_delete = false;

	pthread_mutex_lock(&p->lock);
	HASH_FIND_STR(p->changes, key, c);
	uint64_t dir = c->dir;
	struct waiter *turn = c->turn;
	c->turn = NULL;
	c->writing = c->deleting = false;
	if (c->delete_wanted) {
		c->delete_wanted = false;
		c->deleting = send_delete = true;
	}
	struct dir_wait *over = waits_over_locked(p, dir, error);
	if (!send_delete)
		change_free(p, c);
	pthread_mutex_unlock(&p->lock);

	if (send_delete)
		s3_object_delete(fs->s3, c->key, S3_CLASS_GC, delete_done, c);
	waiters_done(turn, 0);
	tell_waits(over);
}

static void delete_done(void *arg, const struct s3_reply *reply)
{
	struct change *c = arg;
	struct fs *fs = c->fs;
	_cleanup_free_ char *key = strdup(c->key);
	if (reply->error)
		log_error("delete of %s failed: %s (%s, request %s); the object is still in the bucket "
			  "and its name comes back",
			  c->key, strerror(-reply->error), reply->code, reply->request_id);
	const char *slash = strrchr(c->key, '/');
	tree_deleted(fs, c->dir, slash ? slash + 1 : c->key, reply->error);
	change_ended(fs, key ? key : c->key, reply->error);
}

int pending_write_begin(struct fs *fs, const char *key, uint64_t dir, struct waiter *waiter)
{
	LOCK_SCOPE(&fs->pending->lock);
	struct change *c = change_get_locked(fs, key, dir);
	if (!c)
		return -ENOMEM;
	if (c->writing || c->deleting) {
		if (waiter) {
			waiter->next = c->turn;
			c->turn = waiter;
		}
		return -EINPROGRESS;
	}
	c->writing = true;
	c->delete_wanted = false;
	return 0;
}

bool pending_is_writing(struct fs *fs, const char *key)
{
	struct change *c;
	LOCK_SCOPE(&fs->pending->lock);
	HASH_FIND_STR(fs->pending->changes, key, c);
	return c && c->writing;
}

void pending_write_end(struct fs *fs, const char *key, int error)
{
	change_ended(fs, key, error);
}

int pending_delete(struct fs *fs, const char *key, uint64_t dir)
{
	struct pending *p = fs->pending;
	pthread_mutex_lock(&p->lock);
	struct change *c = change_get_locked(fs, key, dir);
	bool send = c && !c->writing && !c->deleting;
	if (send)
		c->deleting = true;
	else if (c)
		c->delete_wanted = true;
	pthread_mutex_unlock(&p->lock);
	if (send)
		s3_object_delete(fs->s3, c->key, S3_CLASS_GC, delete_done, c);
	return c ? 0 : -ENOMEM;
}

void pending_wait_dir(struct fs *fs, uint64_t dir, struct waiter *waiter)
{
	struct pending *p = fs->pending;
	struct dir_wait *w = calloc(1, sizeof(*w));
	if (!w) {
		waiter->done(waiter, -ENOMEM);
		return;
	}
	pthread_mutex_lock(&p->lock);
	*w = (struct dir_wait){ .dir = dir, .ticket = p->last_ticket, .waiter = waiter };
	bool busy = dir_busy_locked(p, w);
	if (busy) {
		w->next = p->waits;
		p->waits = w;
	}
	pthread_mutex_unlock(&p->lock);
	if (!busy) {
		free(w);
		waiter->done(waiter, 0);
	}
}

int pending_add(struct fs *fs, const char *path, struct inode *inode)
{
	struct pending *p = fs->pending;
	struct inode *old = NULL;
	struct unpublished *u;
	LOCK_SCOPE(&p->lock);
	HASH_FIND_STR(p->unpublished, path, u);
	if (u && u->inode == inode)
		return 0;
	if (u) { /* replaced by a rename; its own path is gone */
		old = u->inode;
		u->inode = inode_ref(inode);
		inode_put(old);
		return 0;
	}
	u = calloc(1, sizeof(*u));
	if (!u || !(u->path = strdup(path))) {
		free(u);
		return -ENOMEM;
	}
	u->inode = inode_ref(inode);
	HASH_ADD_KEYPTR(hh, p->unpublished, u->path, strlen(u->path), u);
	return 0;
}

void pending_remove(struct fs *fs, const char *path, struct inode *inode)
{
	struct pending *p = fs->pending;
	struct unpublished *u;
	pthread_mutex_lock(&p->lock);
	HASH_FIND_STR(p->unpublished, path, u);
	bool found = u && u->inode == inode;
	if (found)
		unpublished_free(p, u);
	pthread_mutex_unlock(&p->lock);
	if (found)
		inode_put(inode);
}

struct inode *pending_find(struct fs *fs, const char *path)
{
	struct unpublished *u;
	LOCK_SCOPE(&fs->pending->lock);
	HASH_FIND_STR(fs->pending->unpublished, path, u);
	return u ? inode_ref(u->inode) : NULL;
}

int pending_inodes(struct fs *fs, uint64_t dir, struct inode ***ret_inodes, size_t *ret_count)
{
	struct pending *p = fs->pending;
	size_t n = 0, kept = 0;
	pthread_mutex_lock(&p->lock);
	struct inode **all = calloc(HASH_COUNT(p->unpublished) + 1, sizeof(*all));
	for (struct unpublished *u = p->unpublished; all && u; u = u->hh.next)
		all[n++] = inode_ref(u->inode);
	pthread_mutex_unlock(&p->lock);
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		pthread_mutex_lock(&all[i]->lock);
		bool wanted = !dir || all[i]->parent == dir;
		pthread_mutex_unlock(&all[i]->lock);
		if (wanted)
			all[kept++] = all[i];
		else
			inode_put(all[i]);
	}
	*ret_inodes = all;
	*ret_count = kept;
	return 0;
}
