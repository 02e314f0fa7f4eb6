/* SPDX-License-Identifier: GPL-3.0-or-later */
/* reader - see reader.h */
#include "fs/reader.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/chunk.h"
#include "fs/digest.h"
#include "fs/inode.h"
#include "fs/s3/object.h"

#define FETCHES_MAX 12		      /* of one inode at once */
#define SEGMENT_MIN (1u << 20)	      /* of a read ahead */
#define SEGMENT_MAX (8u << 20)
#define WINDOW_FIRST (1u << 20)
#define WINDOW_MAX (96u << 20)

struct read_wait {
	uint64_t offset, length;
	struct waiter *waiter;
	struct read_wait *next;
};

struct fetch {
	struct inode *inode; /* a reference */
	struct chunk_file *file; /* opened for this fetch */
	char etag[META_ETAG_MAX];
	uint64_t offset, length;
	uint64_t arrived, marked; /* event thread only */
	struct fetch *next;
};

struct reading {
	struct fetch *fetches;
	struct read_wait *waits;
	unsigned count;			/* of fetches */
	uint64_t ahead_from, ahead_to;	/* what a sequential reader will want */
};

static int fetch_data(void *arg, const void *data, size_t length);
static void fetch_done(void *arg, const struct s3_reply *reply);

int reader_object_key_locked(struct inode *inode, struct buf *key)
{
	if (inode->object_key)
		return buf_add_str(key, inode->object_key);
	if (!inode->path)
		return -ESTALE;
	return fs_key(inode->fs, inode->path, key);
}

/* One more use of the chunks of the published version. */
static int open_chunks_locked(struct inode *inode, struct chunk_file **ret_file)
{
	_cleanup_buf_ struct buf key = { 0 };
	int r = reader_object_key_locked(inode, &key);
	if (r < 0)
		return r;
	return chunk_file_open(inode->fs->chunks, key.data, inode->etag, inode->object_size,
			       ret_file);
}

static const struct fetch *fetch_over(const struct reading *rd, uint64_t offset)
{
	for (const struct fetch *f = rd->fetches; f; f = f->next)
		if (offset >= f->offset && offset < f->offset + f->length)
			return f;
	return NULL;
}

static uint64_t next_fetch_begin(const struct reading *rd, uint64_t offset, uint64_t end)
{
	for (const struct fetch *f = rd->fetches; f; f = f->next)
		if (f->offset > offset && f->offset < end)
			end = f->offset;
	return end;
}

static struct fetch *fetch_new(struct inode *inode, uint64_t offset, uint64_t length)
{
	struct fetch *f = calloc(1, sizeof(*f));
	if (!f || open_chunks_locked(inode, &f->file) < 0) {
		free(f);
		return NULL;
	}
	f->inode = inode_ref(inode);
	memcpy(f->etag, inode->etag, sizeof(f->etag));
	f->offset = offset;
	f->length = length;
	return f;
}

/* Fetches for what is missing of [from, to), as far as FETCHES_MAX allows; to
 * be started by the caller without the lock.  *list collects them. */
static int plan_locked(struct inode *inode, uint64_t from, uint64_t to, struct fetch **list)
{
	struct reading *rd = inode->reading;
	uint64_t segment = (to - from) / 4 / CHUNK_SIZE * CHUNK_SIZE;
	if (segment < SEGMENT_MIN)
		segment = SEGMENT_MIN;
	if (segment > SEGMENT_MAX)
		segment = SEGMENT_MAX;

	uint64_t at = from, length;
	while (rd->count < FETCHES_MAX && at < to &&
	       chunk_file_missing(inode->chunks, at, &at, &length) && at < to) {
		const struct fetch *under_way = fetch_over(rd, at);
		if (under_way) {
			at = under_way->offset + under_way->length;
			continue;
		}
		uint64_t end = at + (length < segment ? length : segment);
		uint64_t limit = (to + CHUNK_SIZE - 1) / CHUNK_SIZE * CHUNK_SIZE;
		if (end > limit)
			end = limit;
		if (end > (uint64_t)inode->object_size)
			end = inode->object_size;
		end = next_fetch_begin(rd, at, end);
		struct fetch *f = fetch_new(inode, at, end - at);
		if (!f)
			return -ENOMEM;
		/* On both lists: rd->fetches by next; the caller's array below. */
		f->next = rd->fetches;
		rd->fetches = f;
		rd->count++;
		list[rd->count - 1] = f;
		at = end;
	}
	return 0;
}

/* Starts what plan_locked has put into list. */
static void start_fetches(struct fetch *const *list)
{
	for (unsigned i = 0; i < FETCHES_MAX; i++) {
		struct fetch *f = list[i];
		if (!f)
			continue;
		_cleanup_buf_ struct buf key = { 0 };
		pthread_mutex_lock(&f->inode->lock);
		int r = reader_object_key_locked(f->inode, &key);
		pthread_mutex_unlock(&f->inode->lock);
		if (r < 0) {
			struct s3_reply reply = { .error = r };
			fetch_done(f, &reply);
			continue;
		}
		s3_object_get(f->inode->fs->s3, key.data, S3_CLASS_READ, f->offset, f->length,
			      f->etag, fetch_data, fetch_done, f);
	}
}

/* Takes those off the list whose bytes are there, or all (`all`), or those that
 * overlap a range that failed. */
static struct waiter *take_waits_locked(struct inode *inode, bool all, uint64_t failed_offset,
					uint64_t failed_length)
{
	struct reading *rd = inode->reading;
	struct waiter *taken = NULL;
	for (struct read_wait **at = &rd->waits; *at;) {
		struct read_wait *w = *at;
		bool failed = failed_length && w->offset < failed_offset + failed_length &&
			      failed_offset < w->offset + w->length;
		if (!all && !failed &&
		    !(inode->chunks && chunk_file_has(inode->chunks, w->offset, w->length))) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->waiter->next = taken;
		taken = w->waiter;
		free(w);
	}
	return taken;
}

void reader_wake(struct inode *inode)
{
	pthread_mutex_lock(&inode->lock);
	struct waiter *taken = inode->reading ? take_waits_locked(inode, true, 0, 0) : NULL;
	pthread_mutex_unlock(&inode->lock);
	waiters_done(taken, 0);
}

static void fetch_mark(struct fetch *f)
{
	uint64_t from = f->offset + f->marked, to = f->offset + f->arrived;
	bool at_end = to == (uint64_t)f->inode->object_size;
	if (to / CHUNK_SIZE == from / CHUNK_SIZE && !at_end)
		return;
	if (!at_end)
		to = to / CHUNK_SIZE * CHUNK_SIZE;
	chunk_file_mark(f->file, from, to - from);
	f->marked = to - f->offset;

	pthread_mutex_lock(&f->inode->lock);
	struct waiter *taken = take_waits_locked(f->inode, false, 0, 0);
	pthread_mutex_unlock(&f->inode->lock);
	waiters_done(taken, 0);
}

static int fetch_data(void *arg, const void *data, size_t length)
{
	struct fetch *f = arg;
	if (length > f->length - f->arrived)
		return -EIO;
	int r = chunk_file_write(f->file, data, length, f->offset + f->arrived);
	if (r < 0)
		return r;
	f->arrived += length;
	fetch_mark(f);
	return 0;
}

/* R4, on a worker. */
static void verify_blob(void *arg)
{
	struct fetch *f = arg; /* its file and inode are ours now */
	struct inode *inode = f->inode;
	char hex[LAYOUT_HEX_MAX] = "";
	pthread_mutex_lock(&inode->lock);
	struct layout layout = inode->layout;
	int64_t size = inode->object_size;
	pthread_mutex_unlock(&inode->lock);

	int r = digest_of_fd(chunk_file_fd(f->file), size, layout.alg, hex);
	if (r == 0 && strcmp(hex, layout.hex)) {
		log_error("blob %s:%s: the bytes from the gateway hash to %s; dropped from the cache, "
			  "to be fetched again",
			  layout.alg, layout.hex, hex);
		chunk_file_drop(f->file);
		pthread_mutex_lock(&inode->lock);
		inode->chunks = chunk_file_close(inode->chunks);
		pthread_mutex_unlock(&inode->lock);
	}
	chunk_file_close(f->file);
	inode_put(inode);
	free(f);
}

static void fetch_unlink_locked(struct reading *rd, struct fetch *f)
{
	struct fetch **at = &rd->fetches;
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	rd->count--;
}

/* R2: what still waits, then the read ahead. */
static void plan_again_locked(struct inode *inode, struct fetch **list)
{
	struct reading *rd = inode->reading;
	if (!inode->chunks)
		return;
	for (struct read_wait *w = rd->waits; w; w = w->next)
		plan_locked(inode, w->offset, w->offset + w->length, list);
	if (rd->ahead_from < rd->ahead_to)
		plan_locked(inode, rd->ahead_from, rd->ahead_to, list);
}

static void fetch_done(void *arg, const struct s3_reply *reply)
{
	struct fetch *f = arg, *list[FETCHES_MAX] = { NULL };
	struct inode *inode = f->inode;
	struct fs *fs = inode->fs;
	int error = reply->error;
	if (!error && f->arrived != f->length)
		error = -EIO;

	pthread_mutex_lock(&inode->lock);
	struct reading *rd = inode->reading;
	fetch_unlink_locked(rd, f);
	if (error)
		rd->ahead_to = rd->ahead_from;
	struct waiter *taken =
		take_waits_locked(inode, false, f->offset, error ? f->length : 0);
	if (!error)
		plan_again_locked(inode, list);
	bool verify = !error && inode->layout.is_blob && chunk_file_complete(f->file);
	_cleanup_free_ char *path = error && inode->path ? strdup(inode->path) : NULL;
	pthread_mutex_unlock(&inode->lock);

	start_fetches(list);
	if (error) {
		log_warning("read of %s at %llu failed: %s (%s, request %s)",
			    path ? path : "(unlinked)", (unsigned long long)f->offset,
			    strerror(-error), reply->code, reply->request_id);
		struct meta_entry entry;
		if (error == -ESTALE && meta_get(fs->meta, inode->id, &entry) == 0) {
			entry.checked_ms = 0; /* the next open asks */
			meta_update(fs->meta, &entry);
		}
	}
	waiters_done(taken, error);
	if (verify && pool_submit(fs->workers, verify_blob, f) == 0)
		return;
	chunk_file_close(f->file);
	inode_put(inode);
	free(f);
}

static int prepare_locked(struct inode *inode)
{
	if (!inode->reading && !(inode->reading = calloc(1, sizeof(*inode->reading))))
		return -ENOMEM;
	return inode->chunks ? 0 : open_chunks_locked(inode, &inode->chunks);
}

static int park_locked(struct inode *inode, uint64_t offset, uint64_t length,
		       struct waiter *waiter)
{
	struct read_wait *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct read_wait){ offset, length, waiter, inode->reading->waits };
	inode->reading->waits = w;
	return 0;
}

/* Grows with each read that goes on where the last one ended. */
static void look_ahead_locked(struct inode *inode, struct handle *h, uint64_t offset,
			      uint64_t length)
{
	uint64_t window = h->window_bytes;
	uint64_t expected = h->next_offset;
	bool near = offset + (1u << 20) >= expected && offset <= expected + (1u << 20);
	if (!near)
		window = 0;
	else if (window < WINDOW_MAX)
		window = window ? window * 2 : WINDOW_FIRST;
	h->window_bytes = window;
	h->next_offset = offset + length;
	if (!window)
		return;
	uint64_t to = offset + length + window;
	inode->reading->ahead_from = offset;
	inode->reading->ahead_to = to;
	if (to > (uint64_t)inode->object_size)
		inode->reading->ahead_to = inode->object_size;
}

static ssize_t read_object(struct inode *inode, struct handle *handle, void *buf, size_t size,
			   off_t offset, struct waiter *waiter)
{
	struct fetch *list[FETCHES_MAX] = { NULL };
	struct chunk_file *file = NULL;

	pthread_mutex_lock(&inode->lock);
	if (offset >= inode->object_size) {
		pthread_mutex_unlock(&inode->lock);
		return 0;
	}
	if (size > (uint64_t)(inode->object_size - offset))
		size = inode->object_size - offset;
	ssize_t r = prepare_locked(inode);
	bool has = r == 0 && chunk_file_has(inode->chunks, offset, size);
	if (r == 0 && has)
		r = open_chunks_locked(inode, &file);
	else if (r == 0)
		r = park_locked(inode, offset, size, waiter);
	if (r == 0 && !chunk_file_complete(inode->chunks)) {
		if (!has)
			plan_locked(inode, offset, offset + size, list);
		if (handle)
			look_ahead_locked(inode, handle, offset, size);
		struct reading *rd = inode->reading;
		if (rd->ahead_from < rd->ahead_to)
			plan_locked(inode, rd->ahead_from, rd->ahead_to, list);
	}
	pthread_mutex_unlock(&inode->lock);

	start_fetches(list);
	if (r < 0)
		return r;
	if (!has)
		return -EINPROGRESS;
	r = pread(chunk_file_fd(file), buf, size, offset);
	if (r < 0)
		r = -errno;
	chunk_file_close(file);
	return r;
}

ssize_t reader_read(struct inode *inode, struct handle *handle, void *buf, size_t size,
		    off_t offset, struct waiter *waiter)
{
	pthread_mutex_lock(&inode->lock);
	struct local *local = local_ref(inode->local);
	bool nothing = !local && !inode->etag[0];
	int error = inode->error;
	pthread_mutex_unlock(&inode->lock);

	if (local) {
		ssize_t n = pread(local->fd, buf, size, offset);
		n = n < 0 ? -errno : n;
		local_put(local);
		return n;
	}
	if (nothing)
		return error;
	return read_object(inode, handle, buf, size, offset, waiter);
}

void reader_fetch_all(struct inode *inode, struct waiter *waiter)
{
	struct fetch *list[FETCHES_MAX] = { NULL };
	pthread_mutex_lock(&inode->lock);
	int r = inode->object_size ? prepare_locked(inode) : 0;
	bool done = r < 0 || !inode->object_size || chunk_file_complete(inode->chunks);
	if (!done) {
		r = park_locked(inode, 0, inode->object_size, waiter);
		done = r < 0;
	}
	if (!done)
		plan_locked(inode, 0, inode->object_size, list);
	pthread_mutex_unlock(&inode->lock);
	start_fetches(list);
	if (done)
		waiter->done(waiter, r);
}
