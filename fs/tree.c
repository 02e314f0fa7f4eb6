/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tree - see tree.h; renames are in rename.c, knowledge in know.c */
#include "fs/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/chunk.h"
#include "cache/journal.h"
#include "cache/spool.h"
#include "cache/staging.h"
#include "fs/attempt.h"
#include "fs/inode.h"
#include "fs/marker.h"
#include "fs/name.h"
#include "fs/pending.h"
#include "fs/publish.h"
#include "fs/reader.h"
#include "fs/writeback.h"
#include "fs/writer.h"

#define CHILDREN_AT_ONCE 128

/* ---- attributes ---- */

static int staged_attr(struct fs *fs, uint64_t id, struct attr *attr)
{
	_cleanup_buf_ struct buf path = { 0 };
	struct stat st;
	int r = meta_path(fs->meta, id, &path);
	if (r == 0)
		r = staging_stat(fs->staging, path.data, &st);
	if (r < 0)
		return r;
	attr->size_bytes = st.st_size;
	attr->mtime_ns = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
	return 0;
}

/* What is open or under way knows better than the row. */
static void inode_attr(struct inode *inode, struct attr *attr)
{
	LOCK_SCOPE(&inode->lock);
	struct stat st;
	attr->size_bytes = inode->local ? inode->size_bytes : inode->object_size;
	attr->mtime_ns = inode->mtime_ns;
	if (inode->staged && inode->local && fstat(inode->local->fd, &st) == 0) {
		attr->size_bytes = st.st_size;
		attr->mtime_ns = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
	}
}

static void fill_attr(struct fs *fs, const struct meta_entry *e, struct attr *attr)
{
	*attr = (struct attr){
		.id = e->id,
		.kind = e->kind,
		.size_bytes = e->size_bytes,
		.mtime_ns = e->mtime_ns ? e->mtime_ns : fs->began_ms * 1000000,
		.entry_ttl_s = know_ttl_s(fs, e),
	};
	if (e->kind != META_FILE)
		return;
	_cleanup_inode_ struct inode *inode = inode_find(fs, e->id);
	if (inode)
		inode_attr(inode, attr);
	else if (e->flags & META_LOCAL)
		staged_attr(fs, e->id, attr);
}

int tree_lookup(struct fs *fs, uint64_t dir, const char *name, struct attr *ret_attr)
{
	struct meta_entry e;
	int r = know_entry(fs, dir, name, &e);
	if (r == 0)
		fill_attr(fs, &e, ret_attr);
	return r;
}

int tree_getattr(struct fs *fs, uint64_t id, struct attr *ret_attr)
{
	struct meta_entry e, now;
	int r = meta_get(fs->meta, id, &e);
	if (r < 0)
		return -ESTALE;
	if (e.parent && id != META_ROOT_ID && know_ttl_s(fs, &e) <= 0) {
		r = know_entry(fs, e.parent, e.name, &now);
		if (r < 0)
			return r;
		if (now.id != id)
			return -ESTALE;
		e = now;
	}
	fill_attr(fs, &e, ret_attr);
	return 0;
}

int tree_children(struct fs *fs, uint64_t dir, uint64_t cookie, tree_child_fn fn, void *arg)
{
	_cleanup_free_ struct meta_entry *children = calloc(CHILDREN_AT_ONCE, sizeof(*children));
	int r = cookie ? 0 : know_children(fs, dir);
	if (!children)
		return -ENOMEM;
	for (unsigned count = CHILDREN_AT_ONCE; r == 0 && count == CHILDREN_AT_ONCE;) {
		r = meta_children(fs->meta, dir, cookie, CHILDREN_AT_ONCE, children, &count);
		for (unsigned i = 0; r == 0 && i < count; i++) {
			struct attr attr;
			fill_attr(fs, &children[i], &attr);
			if (!fn(arg, children[i].name, &attr))
				return 0;
			cookie = children[i].id;
		}
	}
	return r;
}

/* ---- making ---- */

static int insert_local(struct fs *fs, const struct name *n, enum meta_kind kind,
			struct meta_entry *ret_entry)
{
	uint64_t seq = places_next_id(fs->places);
	int64_t now_ms = meta_now_ms();
	struct meta_entry e = {
		.id = attempt_node() ? attempt_node() : places_next_id(fs->places),
		.parent = n->dir,
		.kind = kind,
		.flags = META_LOCAL | META_MTIME_OWN,
		.seq = seq,
		.checked_ms = now_ms,
		.mtime_ns = now_ms * 1000000,
	};
	if (!seq || !e.id)
		return -EIO;
	if (kind == META_DIR) { /* just made: nothing is in it */
		e.listed_seq = seq;
		e.listed_ms = now_ms;
	}
	snprintf(e.name, sizeof(e.name), "%s", n->name);
	int r = meta_insert(fs->meta, &e);
	if (r == 0)
		*ret_entry = e;
	return r;
}

/*
 * May a name be made?  1: an attempt whose process died has made it already, and
 * *ret_entry is that; 0: yes, and it is noted that this one does; or an errno.
 * In the staging tree nobody else makes it meanwhile: the kernel holds the
 * directory's lock.
 */
static int begin_making(struct fs *fs, uint64_t dir, const char *name, struct name *ret_name,
			struct meta_entry *ret_entry)
{
	uint64_t noted = attempt_node();
	int r = know_entry(fs, dir, name, ret_entry);
	bool there = r == 0;
	if (there || r == -ENOENT)
		r = name_of(fs, dir, name, ret_name);
	if (r < 0)
		return r;
	if (there && (!noted || (ret_entry->id != noted && ret_name->layout.class != LAYOUT_STAGED)))
		return -EEXIST;
	if (!noted)
		attempt_note_node(places_next_id(fs->places));
	return there;
}

int tree_create(struct fs *fs, uint64_t dir, const char *name, struct attr *ret_attr,
		struct inode **ret_inode)
{
	_cleanup_(name_free) struct name n = { 0 };
	_cleanup_inode_ struct inode *inode = NULL;
	struct meta_entry e;
	int fd, excl = attempt_node() ? 0 : O_EXCL;
	int there = begin_making(fs, dir, name, &n, &e), r = 0;
	if (there < 0)
		return there;
	if (n.layout.class == LAYOUT_STAGED) {
		r = staging_open_file(fs->staging, n.path.data, O_RDWR | O_CREAT | excl, &fd);
		if (r == 0)
			close(fd);
	}
	if (r == 0 && !there)
		r = insert_local(fs, &n, META_FILE, &e);
	if (r < 0)
		return r;
	r = inode_hold(fs, &e, n.path.data, &inode);
	if (r == 0)
		r = writer_create(inode);
	if (r < 0) {
		meta_remove(fs->meta, e.id, e.seq, meta_now_ms());
		return r;
	}
	fill_attr(fs, &e, ret_attr);
	*ret_inode = steal_pointer(&inode);
	return 0;
}

/* -o shared: another mount may have replaced it. */
static int ask_again(struct fs *fs, struct meta_entry *e)
{
	struct meta_entry now;
	if (!pool_may_wait())
		return -EAGAIN;
	e->checked_ms = 0;
	int r = meta_update(fs->meta, e);
	if (r == 0)
		r = know_entry(fs, e->parent, e->name, &now);
	if (r < 0)
		return r;
	if (now.id != e->id)
		return -ESTALE; /* the kernel looks it up again, and opens that */
	*e = now;
	return 0;
}

int tree_open(struct fs *fs, uint64_t id, struct inode **ret_inode)
{
	_cleanup_buf_ struct buf path = { 0 };
	_cleanup_inode_ struct inode *inode = NULL;
	struct meta_entry e;
	int r = meta_get(fs->meta, id, &e);
	if (r < 0)
		return -ESTALE;
	if (e.kind == META_DIR)
		return -EISDIR;
	if (fs->config.shared && e.parent && !(e.flags & META_LOCAL)) {
		r = ask_again(fs, &e);
		if (r < 0)
			return r;
	}
	r = meta_path(fs->meta, id, &path);
	if (r < 0 && !(inode = inode_find(fs, id)))
		return r;
	if (!inode) {
		r = inode_hold(fs, &e, path.data, &inode);
		if (r < 0)
			return r;
	}
	r = writer_open_staged(inode);
	if (r == 0)
		*ret_inode = steal_pointer(&inode);
	return r;
}

int tree_mkdir(struct fs *fs, uint64_t dir, const char *name, struct attr *ret_attr)
{
	_cleanup_(name_free) struct name n = { 0 };
	struct meta_entry e;
	bool again = attempt_node();
	int there = begin_making(fs, dir, name, &n, &e), r = 0;
	if (there < 0)
		return there;
	if (n.layout.class == LAYOUT_STAGED)
		r = staging_mkdir(fs->staging, n.path.data);
	if (r == -EEXIST && again)
		r = 0;
	if (r == 0 && !there)
		r = insert_local(fs, &n, META_DIR, &e);
	if (r < 0)
		return r;
	if (n.layout.class == LAYOUT_MUTABLE)
		marker_owe(fs, e.id);
	fill_attr(fs, &e, ret_attr);
	return 0;
}

/* ---- removing ---- */

void tree_keep_dir(struct fs *fs, uint64_t dir)
{
	struct meta_entry e;
	bool children = true;
	if (dir == META_ROOT_ID || meta_get(fs->meta, dir, &e) < 0 || e.kind != META_DIR ||
	    meta_has_children(fs->meta, dir, &children) < 0 || children)
		return;
	if (!(e.flags & (META_LOCAL | META_MARKER | META_KEPT))) {
		e.flags |= META_KEPT;
		meta_update(fs->meta, &e);
	}
	marker_owe(fs, dir);
}

static void fetch_all(void *arg, struct waiter *waiter)
{
	reader_fetch_all(arg, waiter);
}

/* Its bytes into a file of the spool, which a next worker finds by its number. */
static int preserve_copy(struct inode *inode)
{
	LOCK_SCOPE(&inode->lock);
	return inode->local || !inode->chunks ? 0 : writer_keep_object_locked(inode);
}

/* A staged file leaves the staging tree for the spool. */
static int preserve_staged(struct inode *inode)
{
	struct fs *fs = inode->fs;
	char name[SPOOL_NAME_MAX];
	uint64_t number = places_next_id(fs->places);
	LOCK_SCOPE(&inode->lock);
	if (!inode->local || inode->local->number || !inode->path)
		return 0;
	spool_name(number, name);
	int r = number ? staging_link_out(fs->staging, inode->path, spool_dir_fd(fs->spool), name) : -EIO;
	if (r == 0)
		inode->local->number = number;
	return r;
}

int tree_preserve(struct inode *inode)
{
	if (!inode)
		return 0;
	pthread_mutex_lock(&inode->lock);
	bool open = inode->readers || inode->writers, staged = inode->staged;
	bool needed = open && !staged && !inode->local && inode->etag[0] && inode->object_size;
	pthread_mutex_unlock(&inode->lock);
	if (open && staged)
		return preserve_staged(inode);
	if (!needed)
		return 0;
	if (!pool_may_wait())
		return -EAGAIN;
	int r = wait_here(fetch_all, inode);
	if (r == -EINTR)
		return r;
	if (r == 0)
		r = preserve_copy(inode);
	if (r < 0)
		log_warning("a file that goes while it is open could not be kept for its readers: %s",
			    strerror(-r));
	return 0;
}

bool tree_detach(struct inode *inode)
{
	if (!inode)
		return false;
	struct fs *fs = inode->fs;
	pthread_mutex_lock(&inode->lock);
	char *path = inode->path;
	inode->path = NULL;
	bool under_way = inode->publish;
	if (inode->local && inode->local->number && !inode->local->busy)
		inode->local->doomed_in = fs->spool;
	writeback_settled_locked(inode);
	if (!inode->object_key && path) { /* reads go on under the old key */
		_cleanup_buf_ struct buf key = { 0 };
		if (fs_key(fs, path, &key) == 0)
			inode->object_key = steal_pointer(&key.data);
	}
	inode_save_locked(inode);
	pthread_mutex_unlock(&inode->lock);
	if (path)
		pending_remove(fs, path, inode);
	free(path);
	return under_way;
}

/* The object of a file that goes; a rename may still owe its copy: then it is
 * the source that goes, and its claim (a publish under way sees to both). */
static int delete_object(struct fs *fs, struct inode *inode, const struct name *n)
{
	_cleanup_free_ char *moved = NULL;
	uint64_t dir = n->dir;
	bool under_way = false;
	if (inode) {
		pthread_mutex_lock(&inode->lock);
		if (inode->copy_pending && inode->object_key) {
			moved = strdup(inode->object_key);
			dir = inode->object_dir;
			under_way = inode->publish;
			inode->copy_pending = false;
		}
		pthread_mutex_unlock(&inode->lock);
	}
	if (!moved)
		return pending_delete(fs, n->key.data, dir);
	tree_deleted(fs, n->dir, n->name, 0); /* there is none at this name */
	if (under_way)
		return 0;
	int r = pending_delete(fs, moved, dir);
	pending_write_end(fs, moved, 0);
	return r;
}

/* It is in the bucket by now, or on its way there. */
static bool may_land(struct inode *inode)
{
	if (!inode)
		return false;
	LOCK_SCOPE(&inode->lock);
	return inode->publish || inode->etag[0];
}

int tree_unlink(struct fs *fs, uint64_t dir, const char *name)
{
	_cleanup_(name_free) struct name n = { 0 };
	_cleanup_inode_ struct inode *inode = NULL;
	struct meta_entry e;
	int r = know_entry(fs, dir, name, &e);
	if (r == -ENOENT && attempt_node()) { /* by us, before we died */
		tree_keep_dir(fs, dir);
		return 0;
	}
	if (r == 0 && e.kind == META_DIR)
		r = -EISDIR;
	if (r == 0)
		r = name_of(fs, dir, name, &n);
	if (r < 0)
		return r;
	attempt_note_node(e.id);
	inode = inode_find(fs, e.id);
	r = tree_preserve(inode);
	if (r < 0)
		return r;
	bool staged = n.layout.class == LAYOUT_STAGED && !e.etag[0];
	if (staged) {
		r = staging_unlink(fs->staging, n.path.data);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	bool in_bucket = !staged && (e.etag[0] || !(e.flags & META_LOCAL) || may_land(inode));
	r = meta_remove(fs->meta, e.id, in_bucket ? SEQ_DELETING : places_next_id(fs->places),
			meta_now_ms());
	if (r < 0)
		return r;
	tree_detach(inode);
	if (in_bucket)
		r = delete_object(fs, inode, &n);
	tree_keep_dir(fs, dir);
	return r;
}

int tree_rmdir(struct fs *fs, uint64_t dir, const char *name)
{
	_cleanup_(name_free) struct name n = { 0 };
	struct meta_entry e;
	bool children;
	int r = know_entry(fs, dir, name, &e);
	if (r == -ENOENT && attempt_node()) {
		tree_keep_dir(fs, dir);
		return 0;
	}
	if (r == 0 && e.kind != META_DIR)
		r = -ENOTDIR;
	if (r == 0)
		r = know_children(fs, e.id);
	if (r == 0)
		r = meta_has_children(fs->meta, e.id, &children);
	if (r == 0 && children)
		r = -ENOTEMPTY;
	if (r == 0)
		r = name_of(fs, dir, name, &n);
	if (r == 0 && meta_get(fs->meta, e.id, &e) == 0 && (e.flags & META_MARKER)) {
		_cleanup_buf_ struct buf key = { 0 };
		r = buf_addf(&key, "%s/", n.key.data);
		if (r == 0)
			r = pending_delete(fs, key.data, dir);
	}
	if (r < 0)
		return r;
	attempt_note_node(e.id);
	if (n.layout.root_len || fs->staged_anywhere)
		staging_rmdir(fs->staging, n.path.data);
	r = meta_remove(fs->meta, e.id, places_next_id(fs->places), meta_now_ms());
	if (r == 0)
		tree_keep_dir(fs, dir);
	return r;
}

void tree_withdraw(struct fs *fs, uint64_t id)
{
	struct meta_entry e;
	if (meta_get(fs->meta, id, &e) < 0 || !e.parent)
		return;
	if (meta_remove(fs->meta, id, places_next_id(fs->places), meta_now_ms()) == 0)
		fs_notify_entry(fs, e.parent, e.name);
}

void tree_deleted(struct fs *fs, uint64_t dir, const char *name, int error)
{
	struct meta_entry e;
	if (meta_find(fs->meta, dir, name, &e) < 0 || e.kind != META_ABSENT)
		return;
	e.seq = error ? 0 : places_next_id(fs->places);
	e.checked_ms = error ? 0 : meta_now_ms();
	meta_update(fs->meta, &e);
}

/* ---- changing attributes ---- */

static int set_size_and_time(struct inode *inode, int64_t size_bytes, int64_t mtime_ns)
{
	int r = size_bytes >= 0 ? writer_truncate(inode, size_bytes) : 0;
	return r == 0 && mtime_ns >= 0 ? writer_set_mtime(inode, mtime_ns) : r;
}

int tree_setattr(struct fs *fs, uint64_t id, int64_t size_bytes, int64_t mtime_ns)
{
	_cleanup_inode_ struct inode *inode = NULL;
	struct meta_entry e;
	int r = meta_get(fs->meta, id, &e);
	if (r < 0)
		return -ESTALE;
	if (e.kind == META_DIR) { /* an object store keeps no times of prefixes */
		if (mtime_ns < 0)
			return 0;
		e.mtime_ns = mtime_ns;
		return meta_update(fs->meta, &e);
	}
	r = tree_open(fs, id, &inode);
	return r < 0 ? r : set_size_and_time(inode, size_bytes, mtime_ns);
}

/* ---- by path ---- */

int tree_find_known(struct fs *fs, const char *path, struct meta_entry *ret_entry)
{
	uint64_t dir = META_ROOT_ID;
	struct meta_entry e = { .id = META_ROOT_ID };
	while (*path) {
		const char *slash = strchrnul(path, '/');
		char name[META_NAME_MAX + 1];
		if (slash - path > META_NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, path, slash - path);
		name[slash - path] = 0;
		int r = meta_find(fs->meta, dir, name, &e);
		if (r < 0)
			return r;
		dir = e.id;
		path = *slash ? slash + 1 : slash;
	}
	*ret_entry = e;
	return 0;
}

bool tree_known_here(struct fs *fs, const char *path)
{
	struct meta_entry e;
	if (tree_find_known(fs, path, &e) < 0 || e.kind != META_FILE || !e.etag[0])
		return false;
	return fs->config.exclusive ? know_ttl_s(fs, &e) > 0 : e.seq && e.checked_ms >= fs->began_ms;
}

static int make_entry(struct fs *fs, uint64_t dir, const char *name, enum meta_kind kind,
		      struct meta_entry *ret_entry)
{
	struct name n = { .dir = dir, .name = name };
	int r = meta_find(fs->meta, dir, name, ret_entry);
	if (r == 0 && ret_entry->kind == kind)
		return 0;
	r = insert_local(fs, &n, kind, ret_entry);
	if (r == 0 && kind == META_DIR) { /* but who knows what else is in it */
		ret_entry->flags &= ~META_LOCAL;
		ret_entry->listed_seq = 0;
		ret_entry->listed_ms = 0;
		r = meta_update(fs->meta, ret_entry);
	}
	return r;
}

int tree_make_path(struct fs *fs, const char *path, struct meta_entry *ret_entry)
{
	uint64_t dir = META_ROOT_ID;
	for (;;) {
		const char *slash = strchrnul(path, '/');
		char name[META_NAME_MAX + 1];
		size_t length = slash - path;
		if (!layout_name_ok(path, length))
			return -EINVAL;
		memcpy(name, path, length);
		name[length] = 0;
		int r = make_entry(fs, dir, name, *slash ? META_DIR : META_FILE, ret_entry);
		if (r < 0 || !*slash)
			return r;
		dir = ret_entry->id;
		path = slash + 1;
	}
}
