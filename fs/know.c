/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * know - is what we know of a name fresh, and if not, which request tells.
 *
 * A file whose path says that it is one is asked for with HEAD.  A digest's
 * directory is asked for with HEAD of its `data` or `link`, which answers
 * both.  Anything else is answered by the first page of its directory's
 * listing, which tells of all its neighbours too; where the directory has
 * more than a page, by HEAD and a listing of one key.
 *
 * Invariants T1 to T3: tree.h.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/staging.h"
#include "fs/name.h"
#include "fs/pool.h"
#include "fs/s3/list.h"
#include "fs/s3/object.h"
#include "fs/tree.h"

#define PAGE_KEYS 1000
#define FOREVER_S 86400.0

struct question {
	struct fs *fs;
	struct name n;
};

static void question_free(struct question *q)
{
	name_free(&q->n);
}

/* ---- freshness ---- */

static double age_ttl_s(struct fs *fs, int64_t checked_ms)
{
	if (checked_ms < fs->began_ms)
		return 0;
	if (fs->config.exclusive)
		return FOREVER_S;
	double left = fs->config.meta_ttl_s - (meta_now_ms() - checked_ms) / 1000.0;
	return left > 0 ? left : 0;
}

double know_ttl_s(struct fs *fs, const struct meta_entry *e)
{
	if (e->id == META_ROOT_ID)
		return FOREVER_S;
	if (e->flags & (META_LOCAL | META_KEPT))
		return fs->config.exclusive ? FOREVER_S : fs->config.meta_ttl_s;
	if (e->kind == META_ABSENT && fs->config.shared)
		return 0;
	return age_ttl_s(fs, e->checked_ms);
}

double know_absent_ttl_s(struct fs *fs)
{
	/* The kernel may keep a negative for as long as we would believe it; not
	 * longer than a second where others write, since it cannot be told. */
	return fs->config.exclusive ? FOREVER_S : 0;
}

/* Is every name in the directory known? */
static bool is_listed(struct fs *fs, const struct meta_entry *dir)
{
	if (dir->flags & META_LOCAL)
		return true; /* made here: nothing of it is in the bucket */
	if (fs->config.shared)
		return false;
	return dir->listed_seq && age_ttl_s(fs, dir->listed_ms) > 0;
}

/* ---- asking ---- */

static int head(struct fs *fs, const char *key, struct s3_reply *ret_reply)
{
	struct s3_waiter waiter = S3_WAITER_INIT;
	s3_object_head(fs->s3, key, S3_CLASS_READ, s3_waiter_done, &waiter);
	return s3_waiter_wait(&waiter, ret_reply);
}

static int list(struct fs *fs, const char *prefix, const char *token, unsigned max_keys,
		struct s3_listing **ret_listing)
{
	struct s3_waiter waiter = S3_WAITER_INIT;
	struct s3_reply reply;
	s3_list_page(fs->s3, prefix, '/', token, max_keys, S3_CLASS_READ, s3_waiter_done, &waiter);
	int r = s3_waiter_wait(&waiter, &reply);
	if (r == 0)
		*ret_listing = reply.listing;
	return r;
}

static void listing_free(struct s3_listing **listing)
{
	s3_listing_free(*listing);
}

static void hidden(struct fs *fs, const char *key)
{
	if (fs->hidden_keys++ == 0)
		log_warning("key \"%.200s\" cannot be a file name; it is hidden (and others like it)",
			    key);
	else
		log_debug("key \"%.200s\" is hidden", key);
}

/* A page of a directory's listing, as cache/meta takes it.  Returns whether the
 * directory has a marker. */
static int apply_page(struct fs *fs, uint64_t dir, const char *prefix,
		      const struct s3_listing *listing, uint64_t seq, int64_t began_ms,
		      bool *marker)
{
	_cleanup_free_ struct meta_listed *listed = calloc(listing->count + 1, sizeof(*listed));
	size_t n = 0, skip = strlen(prefix);
	if (!listed)
		return -ENOMEM;
	for (size_t i = 0; i < listing->count; i++) {
		struct s3_list_entry *e = &listing->entries[i];
		size_t length = strlen(e->key);
		if (length < skip || memcmp(e->key, prefix, skip))
			continue; /* not what was asked for */
		char *name = e->key + skip;
		length -= skip;
		if (length == 0) {
			*marker = skip > 0;
			continue;
		}
		bool is_dir = name[length - 1] == '/';
		if (is_dir)
			length--;
		if (!layout_name_ok(name, length)) {
			hidden(fs, e->key);
			continue;
		}
		name[length] = 0;
		listed[n++] = (struct meta_listed){
			.name = name,
			.kind = is_dir ? META_DIR : META_FILE,
			.size_bytes = e->size_bytes,
			.mtime_ns = e->mtime_ns,
			.etag = is_dir ? NULL : e->etag,
		};
	}
	return meta_listing_page(fs->meta, dir, seq, began_ms, listed, n);
}

static void note_marker(struct fs *fs, uint64_t dir)
{
	struct meta_entry e;
	if (meta_get(fs->meta, dir, &e) == 0 && !(e.flags & META_MARKER)) {
		e.flags |= META_MARKER;
		meta_update(fs->meta, &e);
	}
}

static int dir_prefix(struct fs *fs, uint64_t dir, struct buf *path, struct buf *prefix)
{
	int r = meta_path(fs->meta, dir, path);
	if (r == 0)
		r = path->length ? fs_key(fs, path->data, prefix) : buf_add_str(prefix, fs->prefix);
	if (r == 0 && path->length)
		r = buf_add_str(prefix, "/");
	return r;
}

/*
 * Lists a directory, up to `pages` pages (0: all).  1: there is more; 0: all is
 * known now.  *ret_any: something is there (may be NULL).
 */
static int list_dir(struct fs *fs, uint64_t dir, unsigned pages, bool *ret_any)
{
	_cleanup_buf_ struct buf path = { 0 }, prefix = { 0 };
	_cleanup_free_ char *token = NULL;
	int r = dir_prefix(fs, dir, &path, &prefix);
	if (r < 0)
		return r;
	if (!pool_may_wait())
		return -EAGAIN;
	uint64_t seq = meta_listing_begin(fs->meta);
	int64_t began_ms = meta_now_ms();
	bool marker = false, any = false;
	for (unsigned page = 0;; page++) {
		_cleanup_(listing_free) struct s3_listing *listing = NULL;
		if (pages && page == pages)
			return 1;
		r = list(fs, prefix.data ? prefix.data : "", token, PAGE_KEYS, &listing);
		if (r < 0)
			return r;
		any = any || listing->count;
		r = apply_page(fs, dir, prefix.data ? prefix.data : "", listing, seq, began_ms,
			       &marker);
		if (r < 0)
			return r;
		free(token);
		token = steal_pointer(&listing->next_token);
		if (!token)
			break;
	}
	r = meta_listing_end(fs->meta, dir, seq, began_ms);
	if (r == 0 && marker)
		note_marker(fs, dir);
	if (ret_any)
		*ret_any = any;
	return r;
}

/* ---- what is staged ---- */

/* Of a directory above the sessions the bucket has a part, too. */
static int note_staged(struct fs *fs, uint64_t dir, const char *name, const char *path,
		       const struct stat *st)
{
	struct layout layout;
	struct meta_entry e;
	if (meta_find(fs->meta, dir, name, &e) == 0 && e.kind != META_ABSENT)
		return 0;
	layout_parse(path, &layout);
	e = (struct meta_entry){
		.parent = dir,
		.kind = S_ISDIR(st->st_mode) ? META_DIR : META_FILE,
		.flags = layout.class == LAYOUT_STAGED ? META_LOCAL : META_KEPT,
		.seq = places_next_id(fs->places),
		.checked_ms = meta_now_ms(),
	};
	snprintf(e.name, sizeof(e.name), "%s", name);
	return meta_insert(fs->meta, &e);
}

struct staged_dir {
	struct fs *fs;
	uint64_t id;
	const char *path;
};

static int adopt_child(void *arg, const char *name, const struct stat *st)
{
	const struct staged_dir *dir = arg;
	_cleanup_buf_ struct buf path = { 0 };
	int r = buf_addf(&path, "%s%s%s", dir->path, dir->path[0] ? "/" : "", name);
	return r < 0 ? r : note_staged(dir->fs, dir->id, name, path.data, st);
}

/* Entries for what the staging tree has in a directory: after a restart they
 * are there before anybody asked. */
static int adopt_staged(struct fs *fs, uint64_t dir, const char *path)
{
	struct layout layout;
	layout_parse(path, &layout);
	if (!layout.root_len && path[0] && !fs->staged_anywhere)
		return 0;
	struct staged_dir staged = { fs, dir, path };
	int r = staging_each(fs->staging, path[0] ? path : ".", adopt_child, &staged);
	return r == -ENOENT ? 0 : r;
}

/* Below a session that is here, the bucket is not asked: it is ours alone. */
static bool is_ours(struct question *q)
{
	struct stat st;
	if (q->n.layout.class != LAYOUT_STAGED)
		return false;
	if (!q->n.layout.session_len)
		return true; /* v3's temporary names never reach a bucket */
	_cleanup_free_ char *session = strndup(q->n.path.data, q->n.layout.session_len);
	return session && staging_stat(q->fs->staging, session, &st) == 0;
}

/* ---- one name ---- */

/* What a HEAD said of a file becomes its entry. */
static int note_file(struct fs *fs, uint64_t dir, const char *name, const struct s3_reply *reply,
		     uint64_t asked_seq)
{
	struct meta_entry e;
	int r = meta_find(fs->meta, dir, name, &e);
	if (r == 0 && (e.seq > asked_seq || (e.flags & META_LOCAL)))
		return 0; /* ours is newer */
	bool same = r == 0 && e.kind == META_FILE && !strcmp(e.etag, reply->etag);
	if (!same)
		e = (struct meta_entry){ .parent = dir, .kind = META_FILE };
	e.size_bytes = reply->size_bytes;
	e.mtime_ns = reply->mtime_ns;
	e.flags |= META_MTIME_OWN;
	e.checked_ms = meta_now_ms();
	snprintf(e.etag, sizeof(e.etag), "%s", reply->etag);
	snprintf(e.name, sizeof(e.name), "%s", name);
	return same ? meta_update(fs->meta, &e) : meta_insert(fs->meta, &e);
}

static int note_dir(struct fs *fs, uint64_t dir, const char *name, uint64_t *ret_id)
{
	struct meta_entry e;
	int r = meta_find(fs->meta, dir, name, &e);
	if (r == 0 && e.kind == META_DIR) {
		*ret_id = e.id;
		e.checked_ms = meta_now_ms();
		return meta_update(fs->meta, &e);
	}
	e = (struct meta_entry){ .parent = dir, .kind = META_DIR, .checked_ms = meta_now_ms() };
	snprintf(e.name, sizeof(e.name), "%s", name);
	r = meta_insert(fs->meta, &e);
	*ret_id = e.id;
	return r;
}

static int note_absent(struct fs *fs, uint64_t dir, const char *name, uint64_t asked_seq)
{
	struct meta_entry e;
	int r = meta_find(fs->meta, dir, name, &e);
	if (r == 0 && (e.seq > asked_seq || (e.flags & (META_LOCAL | META_KEPT))))
		return 0;
	if (r == 0 && e.kind != META_ABSENT)
		return meta_remove(fs->meta, e.id, e.seq, meta_now_ms());
	if (r == 0) {
		e.checked_ms = meta_now_ms();
		return meta_update(fs->meta, &e);
	}
	e = (struct meta_entry){ .parent = dir, .kind = META_ABSENT, .checked_ms = meta_now_ms() };
	snprintf(e.name, sizeof(e.name), "%s", name);
	return meta_insert(fs->meta, &e);
}

static int ask_file(struct question *q)
{
	struct s3_reply reply;
	uint64_t seq = meta_listing_begin(q->fs->meta);
	int r = head(q->fs, q->n.key.data, &reply);
	if (r == -ENOENT)
		return note_absent(q->fs, q->n.dir, q->n.name, seq);
	return r < 0 ? r : note_file(q->fs, q->n.dir, q->n.name, &reply, seq);
}

/* `<digest>/` by HEAD of what it is there for. */
static int ask_digest_dir(struct question *q)
{
	_cleanup_buf_ struct buf leaf = { 0 };
	struct s3_reply reply;
	uint64_t id, seq = meta_listing_begin(q->fs->meta);
	int r = buf_addf(&leaf, "%s/%s", q->n.key.data, q->n.layout.leaf);
	if (r == 0)
		r = head(q->fs, leaf.data, &reply);
	if (r == -ENOENT)
		return note_absent(q->fs, q->n.dir, q->n.name, seq);
	if (r == 0)
		r = note_dir(q->fs, q->n.dir, q->n.name, &id);
	return r < 0 ? r : note_file(q->fs, id, q->n.layout.leaf, &reply, seq);
}

/* A directory by the first page of its own listing, which is kept. */
static int ask_dir(struct question *q)
{
	_cleanup_(listing_free) struct s3_listing *listing = NULL;
	uint64_t id, seq = meta_listing_begin(q->fs->meta);
	int64_t began_ms = meta_now_ms();
	bool marker = false;
	int r = buf_add_str(&q->n.key, "/");
	if (r == 0)
		r = list(q->fs, q->n.key.data, NULL, PAGE_KEYS, &listing);
	q->n.key.data[--q->n.key.length] = 0;
	if (r < 0)
		return r;
	if (!listing->count && !listing->next_token)
		return note_absent(q->fs, q->n.dir, q->n.name, seq);
	_cleanup_buf_ struct buf prefix = { 0 };
	r = note_dir(q->fs, q->n.dir, q->n.name, &id);
	if (r == 0)
		r = buf_addf(&prefix, "%s/", q->n.key.data);
	if (r == 0)
		r = apply_page(q->fs, id, prefix.data, listing, seq, began_ms, &marker);
	if (r == 0 && !listing->next_token)
		r = meta_listing_end(q->fs->meta, id, seq, began_ms);
	if (r == 0 && marker)
		note_marker(q->fs, id);
	return r;
}

/* A name in a directory too large to list for it. */
static int ask_either(struct question *q)
{
	int r = ask_dir(q); /* the directory wins */
	struct meta_entry e;
	if (r == 0 && meta_find(q->fs->meta, q->n.dir, q->n.name, &e) == 0 && e.kind == META_DIR)
		return 0;
	return r < 0 ? r : ask_file(q);
}

static int ask(struct question *q, const struct meta_entry *known)
{
	if (!pool_may_wait())
		return -EAGAIN;
	if (q->n.layout.leaf && !q->fs->config.exclusive)
		return ask_digest_dir(q);
	if (q->n.layout.shape == LAYOUT_FILE || (known && known->kind == META_FILE))
		return ask_file(q);
	if (known && known->kind == META_DIR)
		return ask_dir(q);
	int r = list_dir(q->fs, q->n.dir, 1, NULL);
	if (r == 1)
		r = ask_either(q);
	return r;
}

/* Staged: the local tree tells. */
static int know_staged(struct question *q, struct meta_entry *ret_entry)
{
	struct stat st;
	int r = staging_stat(q->fs->staging, q->n.path.data, &st);
	if (r == 0)
		r = note_staged(q->fs, q->n.dir, q->n.name, q->n.path.data, &st);
	return r < 0 ? r : meta_find(q->fs->meta, q->n.dir, q->n.name, ret_entry);
}

int know_entry(struct fs *fs, uint64_t dir, const char *name, struct meta_entry *ret_entry)
{
	_cleanup_(question_free) struct question q = { 0 };
	struct meta_entry e, parent;
	int r = meta_find(fs->meta, dir, name, &e);
	bool have = r == 0;
	if (!have && r != -ENODATA)
		return r;
	if (have && know_ttl_s(fs, &e) > 0)
		goto answer;

	q.fs = fs;
	r = name_of(fs, dir, name, &q.n);
	if (r == 0)
		r = meta_get(fs->meta, dir, &parent);
	if (r < 0)
		return r;
	if (q.n.layout.class == LAYOUT_STAGED || q.n.layout.is_uploads || fs->staged_anywhere) {
		r = know_staged(&q, ret_entry);
		if (r == 0 || (r == -ENOENT && is_ours(&q)))
			return r;
	}
	if (!have && is_listed(fs, &parent))
		return -ENOENT;
	r = ask(&q, have && e.kind != META_ABSENT ? &e : NULL);
	if (r < 0 && r != -EAGAIN && have && e.kind != META_ABSENT) {
		log_debug("%s: %s; what is known of it serves", q.n.path.data, strerror(-r)); /* T3 */
		*ret_entry = e;
		return 0;
	}
	if (r < 0)
		return r;
	r = meta_find(fs->meta, dir, name, &e);
	if (r < 0)
		return r == -ENODATA ? -ENOENT : r;
answer:
	if (e.kind == META_ABSENT)
		return -ENOENT;
	*ret_entry = e;
	return 0;
}

int know_children(struct fs *fs, uint64_t dir)
{
	_cleanup_buf_ struct buf path = { 0 };
	struct meta_entry e;
	int r = meta_get(fs->meta, dir, &e);
	if (r == 0)
		r = meta_path(fs->meta, dir, &path);
	if (r < 0)
		return r;
	struct layout layout;
	layout_parse(path.length ? path.data : "", &layout);
	struct question q = { .fs = fs, .n.layout = layout, .n.path = path };
	bool ours = is_ours(&q);
	if (!ours && !is_listed(fs, &e))
		r = list_dir(fs, dir, 0, NULL);
	return r < 0 ? r : adopt_staged(fs, dir, path.length ? path.data : "");
}
