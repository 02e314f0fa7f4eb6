/* SPDX-License-Identifier: GPL-3.0-or-later */
/* publish - see publish.h */
#include "fs/publish.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/chunk.h"
#include "cache/journal.h"
#include "cache/spool.h"
#include "fs/digest.h"
#include "fs/handover.h"
#include "fs/inode.h"
#include "fs/pending.h"
#include "fs/reader.h"
#include "fs/s3/upload.h"
#include "fs/tree.h"
#include "fs/writeback.h"
#include "fs/writer.h"

#define LINK_MAX_BYTES 256
#define SAME_MAX_BYTES (1 << 20) /* worth hashing to save a PUT */

enum step { REFERENCE, VERIFY, TURN, SAME, SEND, COPY_BY_HAND, FINISH };

struct publish {
	struct waiter waiter; /* first: what this publish itself waits for */
	struct inode *inode;  /* a reference */
	struct fs *fs;
	enum step step;
	/* What is published, as of the start. */
	struct local *local; /* NULL: a copy */
	uint64_t generation, dir, from_dir;
	char *path, *key;
	char *from_key; /* of a copy; may be `key` itself */
	bool moves;	/* a copy whose source goes */
	bool sets_mtime;
	char etag[META_ETAG_MAX]; /* of the object before */
	struct layout layout;
	int64_t size_bytes, mtime_ns;
	struct s3_reply reply;
	int error;
	bool has_turn;
	_Atomic uint64_t multipart_row; /* of the journal, while a multipart upload may be open */
	/* Guarded by inode.lock. */
	struct waiter *now, *next;
};

static void publish_run(void *arg);
static struct publish *publish_new_locked(struct inode *inode, struct waiter *waiters);

static void publish_free(struct publish *p)
{
	local_put(p->local);
	inode_put(p->inode);
	free(p->path);
	free(p->key);
	free(p->from_key);
	free(p);
}

/* Goes on with a step, on a worker. */
static void publish_resume(struct publish *p, enum step step)
{
	p->step = step;
	if (pool_submit(p->fs->workers, publish_run, p) < 0)
		publish_run(p);
}

static void publish_fail(struct publish *p, int error)
{
	p->error = error;
	publish_resume(p, FINISH);
}

/* ---- REFERENCE ---- */

static int read_link_target(struct publish *p, struct buf *blob_path)
{
	char text[LINK_MAX_BYTES], alg[LAYOUT_ALG_MAX], hex[LAYOUT_HEX_MAX];
	if (!p->local || p->size_bytes > (int64_t)sizeof(text))
		return -ENOENT;
	ssize_t n = pread(p->local->fd, text, p->size_bytes, 0);
	if (n != p->size_bytes || !layout_parse_digest(text, n, alg, hex))
		return -ENOENT;
	int r = buf_add(blob_path, p->path, p->layout.root_len);
	return r < 0 ? r : buf_addf(blob_path, "/blobs/%s/%.2s/%s/data", alg, hex, hex);
}

static void blob_published(struct waiter *waiter, int error)
{
	struct publish *p = (struct publish *)waiter;
	if (error)
		publish_fail(p, error);
	else
		publish_resume(p, VERIFY);
}

static void blob_asked(void *arg, const struct s3_reply *reply)
{
	struct publish *p = arg;
	if (reply->error == -ENOENT)
		log_warning("%s refers to a blob that is not in the bucket; it is published all the same",
			    p->path);
	else if (reply->error) {
		p->reply = *reply;
		publish_fail(p, reply->error);
		return;
	}
	publish_resume(p, VERIFY);
}

/* true: goes on by itself, later. */
static bool step_reference(struct publish *p)
{
	_cleanup_buf_ struct buf blob_path = { 0 }, key = { 0 };
	if (!p->layout.is_link || read_link_target(p, &blob_path) < 0)
		return false;
	struct inode *blob = pending_find(p->fs, blob_path.data);
	if (blob) {
		p->waiter.done = blob_published;
		publish_want(blob, &p->waiter);
		inode_put(blob);
		return true;
	}
	bool known = tree_known_here(p->fs, blob_path.data);
	if (known || fs_key(p->fs, blob_path.data, &key) < 0)
		return false;
	s3_object_head(p->fs->s3, key.data, S3_CLASS_PUSH, blob_asked, p);
	return true;
}

/* ---- VERIFY ---- */

static int step_verify(struct publish *p)
{
	char hex[LAYOUT_HEX_MAX];
	if (!p->layout.is_blob || !p->local)
		return 0;
	int r = digest_of_fd(p->local->fd, p->size_bytes, p->layout.alg, hex);
	if (r < 0)
		return r;
	if (!strcmp(hex, p->layout.hex))
		return 0;
	log_error("%s: its bytes hash to %s:%s; refused, and the name is withdrawn", p->path,
		  p->layout.alg, hex);
	pthread_mutex_lock(&p->inode->lock);
	p->inode->withdrawn = true;
	pthread_mutex_unlock(&p->inode->lock);
	return -EIO;
}

/* ---- TURN ---- */

static void turn_come(struct waiter *waiter, int error)
{
	(void)error;
	publish_resume((struct publish *)waiter, TURN);
}

/* ---- SAME, SEND ---- */

static void sent(void *arg, const struct s3_reply *reply)
{
	struct publish *p = arg;
	p->reply = *reply;
	p->error = reply->error;
	if (!p->local && reply->error == -ENOSYS)
		publish_resume(p, COPY_BY_HAND);
	else
		publish_resume(p, FINISH);
}

static void same_asked(void *arg, const struct s3_reply *reply)
{
	struct publish *p = arg;
	if (reply->error || strcmp(reply->etag, p->etag)) {
		publish_resume(p, SEND);
		return;
	}
	sent(p, reply);
}

static bool step_same(struct publish *p)
{
	char hex[LAYOUT_HEX_MAX];
	if (!p->local || !p->etag[0] || p->size_bytes > SAME_MAX_BYTES ||
	    digest_of_fd(p->local->fd, p->size_bytes, "md5", hex) < 0 || strcmp(hex, p->etag))
		return false;
	if (p->fs->config.exclusive) {
		struct s3_reply reply = { 0 };
		snprintf(reply.etag, sizeof(reply.etag), "%s", p->etag);
		sent(p, &reply);
	} else {
		s3_object_head(p->fs->s3, p->key, S3_CLASS_PUSH, same_asked, p);
	}
	return true;
}

/*
 * A multipart upload that was begun is in the journal, so that whoever comes
 * after a death aborts it; first without its id, which only the answer tells.
 */
static int note_multipart(struct publish *p, const char *upload_id)
{
	struct journal_record record = {
		.kind = JOURNAL_MULTIPART,
		.node = p->inode->id,
		.key = p->path,
		.upload_id = upload_id,
	};
	int r = journal_add(p->fs->journal, &record, false);
	if (r < 0)
		return r;
	uint64_t old = p->multipart_row;
	p->multipart_row = record.row;
	if (old)
		journal_done(p->fs->journal, old);
	return 0;
}

static void multipart_begun(void *arg, const char *upload_id)
{
	note_multipart(arg, upload_id);
}

static void step_send(struct publish *p)
{
	struct s3_put_options put = { .mtime_ns = p->mtime_ns };
	if (!p->local) {
		s3_object_copy(p->fs->s3, p->from_key, p->key, S3_CLASS_PUSH, p->etag,
			       p->sets_mtime ? &put : NULL, sent, p);
		return;
	}
	struct s3_body body = { .fd = p->local->fd, .length = p->size_bytes };
	struct s3_upload_options options = {
		.put = put,
		.part_size_bytes = p->fs->config.part_size_bytes,
		.begun = multipart_begun,
	};
	if (body.length > options.part_size_bytes && note_multipart(p, NULL) < 0) {
		publish_fail(p, -EIO);
		return;
	}
	s3_upload_start(p->fs->s3, p->key, S3_CLASS_PUSH, &body, &options, sent, p);
}

/* ---- COPY_BY_HAND: the gateway does not copy ---- */

static void fetched(struct waiter *waiter, int error)
{
	struct publish *p = (struct publish *)waiter;
	struct inode *inode = p->inode;
	uint64_t number = places_next_id(p->fs->places);
	int fd = -1;
	pthread_mutex_lock(&inode->lock);
	if (!error && !inode->chunks && p->size_bytes)
		error = -EIO;
	if (!error)
		error = inode->chunks ? spool_copy(p->fs->spool, chunk_file_fd(inode->chunks), number, &fd)
				      : spool_create(p->fs->spool, number, &fd);
	if (!error && !(p->local = local_new(fd, number)))
		error = -ENOMEM;
	pthread_mutex_unlock(&inode->lock);
	if (error)
		publish_fail(p, error);
	else
		publish_resume(p, SEND);
}

static void step_copy_by_hand(struct publish *p)
{
	p->waiter.done = fetched;
	p->error = 0;
	reader_fetch_all(p->inode, &p->waiter);
}

/* ---- FINISH ---- */

/* The local file becomes the cached version, or goes. */
static void settle_local(struct publish *p, bool keep)
{
	struct fs *fs = p->fs;
	if (!p->local || !p->local->number)
		return;
	char name[SPOOL_NAME_MAX];
	spool_name(p->local->number, name);
	if (keep)
		chunk_store_adopt(fs->chunks, p->key, p->reply.etag, p->size_bytes,
				  spool_dir_fd(fs->spool), name, true);
	spool_remove(fs->spool, p->local->number);
}

static void note_published(struct publish *p)
{
	struct fs *fs = p->fs;
	struct meta_entry entry;
	if (meta_get(fs->meta, p->inode->id, &entry) < 0)
		return;
	entry.size_bytes = p->size_bytes;
	entry.mtime_ns = p->mtime_ns;
	entry.flags = (entry.flags & ~META_LOCAL) | META_MTIME_OWN;
	entry.checked_ms = meta_now_ms();
	entry.seq = places_next_id(fs->places);
	snprintf(entry.etag, sizeof(entry.etag), "%s", p->reply.etag);
	meta_update(fs->meta, &entry);
	if (entry.parent)
		meta_rooted(fs->meta, entry.parent);
}

/* Its bytes are about to go from the spool: a next worker need not have them. */
static void hand_over_nothing(struct publish *p)
{
	LOCK_SCOPE(&p->inode->lock);
	if (p->inode->local == p->local)
		handover_drop_file(p->fs->handover, &p->inode->cell);
}

int publish_note_locked(struct inode *inode, struct journal_record *record)
{
	uint64_t old = inode->journal_row;
	record->node = inode->id;
	int r = journal_add(inode->fs->journal, record, inode->fs->config.writeback);
	if (r < 0)
		return r;
	inode->journal_row = record->row;
	if (old)
		journal_done(inode->fs->journal, old);
	return 0;
}

int publish_note_owed_locked(struct inode *inode, const char *path)
{
	bool copy = inode->etag[0] && inode->object_key;
	struct journal_record record = {
		.kind = copy ? JOURNAL_COPY : JOURNAL_UPLOAD,
		.number = copy || !inode->local ? 0 : inode->local->number,
		.mtime_ns = inode->mtime_ns,
		.key = path,
		.from_key = copy ? inode->object_key : NULL,
		.etag = copy ? inode->etag : NULL,
	};
	return publish_note_locked(inode, &record);
}

/* Under inode.lock, after success.  true: there is more to publish (U3). */
static bool succeeded_locked(struct publish *p)
{
	struct inode *inode = p->inode;
	bool same_path = inode->path && !strcmp(inode->path, p->path);
	bool newer = inode->changed > p->generation;

	snprintf(inode->etag, sizeof(inode->etag), "%s", p->reply.etag);
	inode->object_size = p->size_bytes;
	inode->chunks = chunk_file_close(inode->chunks);
	inode->published = p->generation;
	if (newer && inode->error) { /* a write failed meanwhile: U2 */
		writer_discard_locked(inode);
		newer = false;
	}
	free(inode->object_key);
	inode->object_key = same_path ? NULL : strdup(p->key);
	inode->object_dir = p->dir;
	/* Another content has another file (I5): what is newer is the mtime. */
	if (inode->local == p->local)
		inode->local = local_put(inode->local);
	if (!inode->local)
		inode->size_bytes = inode->object_size;
	inode->copy_pending = inode->mtime_pending = newer && !inode->local;
	if (!same_path && inode->path && !inode->local) {
		inode->copy_pending = newer = true;
		inode->changed = inode->published + 1;
		publish_note_owed_locked(inode, inode->path); /* from where it is now */
	}
	if (!newer)
		writeback_settled_locked(inode);
	return newer && inode->path &&
	       (inode->writers == 0 || inode->copy_pending || inode->publish->next);
}

/* Under inode.lock, after failure.  true: the name goes. */
static bool failed_locked(struct publish *p)
{
	struct inode *inode = p->inode;
	if (inode->journal_row && !inode->withdrawn)
		return false; /* U2: tried again when it is asked for */
	writeback_settled_locked(inode);
	inode->error = inode->writers ? p->error : 0;
	writer_discard_locked(inode);
	bool gone = !inode->etag[0] || inode->withdrawn;
	if (gone)
		inode->path = (free(inode->path), NULL);
	return gone;
}

static void log_failure(const struct publish *p)
{
	log_error("upload of %s failed: %s (%s %s, request %s)", p->key, strerror(-p->error),
		  p->reply.code, p->reply.message, p->reply.request_id);
}

/* The object at a name that the file has no more, unless another file has it. */
static void delete_left(struct publish *p)
{
	struct inode *other = pending_find(p->fs, p->path);
	if (!other || other == p->inode)
		pending_delete(p->fs, p->key, p->dir);
	inode_put(other);
}

static void step_finish(struct publish *p)
{
	struct inode *inode = p->inode;
	struct fs *fs = p->fs;
	struct publish *again = NULL;
	bool more = false, withdraw = false;

	if (p->multipart_row)
		journal_done(fs->journal, p->multipart_row);
	if (!p->error) {
		note_published(p);
		hand_over_nothing(p);
		settle_local(p, true);
		fs_progress(fs);
	}
	pthread_mutex_lock(&inode->lock);
	if (p->local)
		p->local->busy = false;
	bool superseded = p->local && p->local != inode->local;
	if (!p->error)
		more = succeeded_locked(p);
	else
		withdraw = failed_locked(p);
	inode_save_locked(inode);
	bool unlinked = !inode->path;
	/* U3: written anew under another name, what it left goes. */
	bool left = !unlinked && !p->error && strcmp(inode->path, p->path) && !inode->copy_pending;
	bool keeps_claim = !p->error && inode->copy_pending && inode->object_key;
	bool clean = !inode_dirty_locked(inode);
	struct waiter *now = p->now, *next = p->next;
	inode->publish = NULL;
	if (more)
		inode->publish = again = publish_new_locked(inode, next);
	pthread_mutex_unlock(&inode->lock);

	if (p->error)
		log_failure(p);
	if (p->error && superseded && !p->local->kept)
		settle_local(p, false);
	if (withdraw)
		tree_withdraw(fs, inode->id);
	if (clean || withdraw)
		pending_remove(fs, p->path, inode);
	if (p->moves && (!p->error || unlinked)) {
		pending_delete(fs, p->from_key, p->from_dir);
		pending_write_end(fs, p->from_key, 0);
	}
	if (left || (unlinked && !(p->error && p->moves))) /* a lost answer may be a success */
		delete_left(p);
	if (p->has_turn && !keeps_claim)
		pending_write_end(fs, p->key, p->error);
	reader_wake(inode);
	if (again)
		publish_resume(again, REFERENCE);
	else
		waiters_done(next, more ? -ENOMEM : p->error);
	waiters_done(now, p->error);
	if (p->error && !withdraw)
		fs_notify_content(fs, inode->id);
	publish_free(p);
}

/* It was unlinked before its turn came: nothing is sent. */
static void step_skip(struct publish *p)
{
	struct inode *inode = p->inode;
	struct fs *fs = p->fs;

	pthread_mutex_lock(&inode->lock);
	if (p->local) {
		p->local->busy = false;
		p->local->doomed_in = p->local->number ? fs->spool : NULL;
	}
	inode->published = inode->changed;
	inode->copy_pending = inode->mtime_pending = false;
	writeback_settled_locked(inode);
	inode_save_locked(inode);
	struct waiter *now = p->now, *next = p->next;
	inode->publish = NULL;
	pthread_mutex_unlock(&inode->lock);

	if (p->moves) {
		pending_delete(fs, p->from_key, p->from_dir);
		pending_write_end(fs, p->from_key, 0);
	}
	pending_write_end(fs, p->key, 0);
	reader_wake(inode);
	waiters_done(next, 0);
	waiters_done(now, 0);
	publish_free(p);
}

static bool is_unlinked(struct inode *inode)
{
	LOCK_SCOPE(&inode->lock);
	return !inode->path;
}

/* ---- */

/* What has not its turn yet; true: goes on later, or has ended. */
static bool before_turn(struct publish *p)
{
	if (p->step == REFERENCE && step_reference(p))
		return true;
	p->error = p->step <= VERIFY ? step_verify(p) : 0;
	if (!p->error) {
		p->waiter.done = turn_come;
		p->error = pending_write_begin(p->fs, p->key, p->dir, &p->waiter);
	}
	if (p->error == -EINPROGRESS)
		return true;
	if (p->error) {
		step_finish(p);
		return true;
	}
	p->has_turn = true;
	p->step = SAME;
	if (!is_unlinked(p->inode))
		return false;
	step_skip(p);
	return true;
}

static void publish_run(void *arg)
{
	struct publish *p = arg;
	if (p->step <= TURN && before_turn(p))
		return;
	if (p->step == SAME && step_same(p))
		return;
	if (p->step <= SEND)
		step_send(p);
	else if (p->step == COPY_BY_HAND)
		step_copy_by_hand(p);
	else
		step_finish(p);
}

static struct publish *publish_new_locked(struct inode *inode, struct waiter *waiters)
{
	struct publish *p = calloc(1, sizeof(*p));
	_cleanup_buf_ struct buf key = { 0 };
	if (!p)
		return NULL;
	p->fs = inode->fs;
	p->path = strdup(inode->path);
	if (p->path && fs_key(inode->fs, p->path, &key) == 0)
		p->key = steal_pointer(&key.data);
	bool copies = !inode->local;
	if (copies && p->key)
		p->from_key = strdup(inode->object_key ? inode->object_key : p->key);
	if (!p->path || !p->key || (copies && !p->from_key)) {
		free(p->path);
		free(p->key);
		free(p->from_key);
		free(p);
		return NULL;
	}
	p->inode = inode_ref(inode);
	p->generation = inode->changed;
	p->dir = inode->parent;
	p->layout = inode->layout;
	p->mtime_ns = inode->mtime_ns;
	p->size_bytes = copies ? inode->object_size : inode->size_bytes;
	if (copies) {
		p->moves = inode->object_key;
		p->sets_mtime = inode->mtime_pending;
		p->from_dir = inode->object_dir;
	} else {
		p->local = local_ref(inode->local);
		p->local->busy = true;
	}
	memcpy(p->etag, inode->etag, sizeof(p->etag));
	p->now = waiters;
	return p;
}

void publish_want(struct inode *inode, struct waiter *waiter)
{
	struct publish *begun = NULL;
	if (waiter)
		waiter->next = NULL;
	pthread_mutex_lock(&inode->lock);
	struct publish *p = inode->publish;
	int error = inode->error;
	bool done = error || inode->staged || !inode->path || !inode_dirty_locked(inode);
	if (!done && p && waiter) {
		struct waiter **list = p->generation >= inode->changed ? &p->now : &p->next;
		waiter->next = *list;
		*list = waiter;
	} else if (!done && !p) {
		inode->publish = begun = publish_new_locked(inode, waiter);
		done = !begun;
		error = begun ? 0 : -ENOMEM;
	}
	pthread_mutex_unlock(&inode->lock);
	if (begun)
		publish_resume(begun, REFERENCE);
	else if (done && waiter)
		waiter->done(waiter, error);
}

bool publish_can_wait(struct inode *inode)
{
	LOCK_SCOPE(&inode->lock);
	return !inode->error && !inode->wrote && inode->size_bytes == 0 && !inode->copy_pending;
}

/* ---- a directory ---- */

struct gathering {
	pthread_mutex_t lock;
	unsigned left; /* guarded by lock */
	int error;     /* guarded by lock */
	struct waiter *waiter;
	struct gathered {
		struct waiter waiter;
		struct gathering *all;
	} one[];
};

static void gathered_done(struct waiter *waiter, int error)
{
	struct gathering *g = ((struct gathered *)waiter)->all;
	pthread_mutex_lock(&g->lock);
	if (error && !g->error)
		g->error = error;
	bool last = --g->left == 0;
	error = g->error;
	pthread_mutex_unlock(&g->lock);
	if (!last)
		return;
	struct waiter *told = g->waiter;
	pthread_mutex_destroy(&g->lock);
	free(g);
	told->done(told, error);
}

static bool dir_waits_for(struct inode *inode, bool all)
{
	LOCK_SCOPE(&inode->lock);
	return all || inode->publish || inode->journal_row || inode->copy_pending ||
	       inode->writers == 0;
}

void publish_wait_dir(struct fs *fs, uint64_t dir, struct waiter *waiter)
{
	struct inode **inodes;
	size_t count;
	int r = pending_inodes(fs, dir, &inodes, &count);
	struct gathering *g = r < 0 ? NULL : calloc(1, sizeof(*g) + (count + 1) * sizeof(g->one[0]));
	if (!g) {
		waiter->done(waiter, -ENOMEM);
		return;
	}
	pthread_mutex_init(&g->lock, NULL);
	g->left = count + 1;
	g->waiter = waiter;
	for (size_t i = 0; i <= count; i++)
		g->one[i] = (struct gathered){ { .done = gathered_done }, g };
	for (size_t i = 0; i < count; i++) {
		if (dir_waits_for(inodes[i], !dir))
			publish_want(inodes[i], &g->one[i].waiter);
		else
			gathered_done(&g->one[i].waiter, 0);
		inode_put(inodes[i]);
	}
	free(inodes);
	pending_wait_dir(fs, dir, &g->one[count].waiter);
}
