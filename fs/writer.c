/* SPDX-License-Identifier: GPL-3.0-or-later */
/* writer - see writer.h */
#include "fs/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/chunk.h"
#include "cache/spool.h"
#include "cache/staging.h"
#include "fs/inode.h"
#include "fs/pending.h"
#include "fs/reader.h"
#include "fs/tree.h"

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* Puts another local file in the place of the one there is.  One that is being
 * uploaded is removed by its publish. */
static int replace_local_locked(struct inode *inode, int fd, uint64_t number)
{
	struct local *local = local_new(fd, number);
	if (!local) {
		close(fd);
		spool_remove(inode->fs->spool, number);
		return -ENOMEM;
	}
	struct local *old = inode->local;
	inode->local = local;
	inode_save_locked(inode); /* before the old one goes */
	if (old && !old->busy && !old->kept && old->number)
		spool_remove(inode->fs->spool, old->number);
	local_put(old);
	return 0;
}

static int local_empty_locked(struct inode *inode)
{
	uint64_t number = places_next_id(inode->fs->places);
	int fd, r = number ? spool_create(inode->fs->spool, number, &fd) : -EIO;
	return r < 0 ? r : replace_local_locked(inode, fd, number);
}

static int local_copy_locked(struct inode *inode, int from_fd)
{
	uint64_t number = places_next_id(inode->fs->places);
	int fd, r = number ? spool_copy(inode->fs->spool, from_fd, number, &fd) : -EIO;
	return r < 0 ? r : replace_local_locked(inode, fd, number);
}

int writer_keep_object_locked(struct inode *inode)
{
	return local_copy_locked(inode, chunk_file_fd(inode->chunks));
}

static int open_staged_locked(struct inode *inode)
{
	if (inode->local)
		return 0;
	if (!inode->path)
		return -ESTALE;
	int fd, r = staging_open_file(inode->fs->staging, inode->path, O_RDWR, &fd);
	if (r < 0)
		return r;
	inode->local = local_new(fd, 0);
	if (!inode->local) {
		close(fd);
		return -ENOMEM;
	}
	return 0;
}

static void fetch_all(void *arg, struct waiter *waiter)
{
	reader_fetch_all(arg, waiter);
}

/* Local content that may be written, with the file's bytes if `keep`.  Returns
 * with inode.lock held on success only. */
static int lock_writable(struct inode *inode, bool keep)
{
	for (;;) {
		pthread_mutex_lock(&inode->lock);
		int r = inode->error;
		if (r == 0 && inode->staged)
			r = open_staged_locked(inode);
		else if (r == 0 && inode->local && (inode->local->busy || inode->local->kept))
			r = keep ? local_copy_locked(inode, inode->local->fd) : local_empty_locked(inode);
		else if (r == 0 && !inode->local && (!keep || !inode->object_size || !inode->etag[0]))
			r = local_empty_locked(inode);
		else if (r == 0 && !inode->local && inode->chunks &&
			 chunk_file_complete(inode->chunks))
			r = local_copy_locked(inode, chunk_file_fd(inode->chunks));
		if (r == 0 && inode->local)
			return 0;
		pthread_mutex_unlock(&inode->lock);
		if (r < 0)
			return r;
		if (!pool_may_wait())
			return -EAGAIN;
		r = wait_here(fetch_all, inode);
		if (r < 0)
			return r;
	}
}

/* I2: there is something to publish now. */
static void changed_locked(struct inode *inode)
{
	inode->mtime_ns = now_ns();
	if (inode->staged)
		return;
	inode->changed++;
	inode->copy_pending = inode->mtime_pending = false;
	inode_save_locked(inode);
	if (inode->path)
		pending_add(inode->fs, inode->path, inode);
}

int writer_create(struct inode *inode)
{
	pthread_mutex_lock(&inode->lock);
	int r = inode->staged ? open_staged_locked(inode) : local_empty_locked(inode);
	if (r == 0) {
		inode->size_bytes = 0;
		inode->wrote = false;
		changed_locked(inode);
	}
	pthread_mutex_unlock(&inode->lock);
	return r;
}

static void withdraw(void *arg)
{
	struct inode *inode = arg;
	tree_withdraw(inode->fs, inode->id);
	inode_put(inode);
}

/* Part of it could not be written: none of it is published.  A file that was
 * never in the bucket goes; not here, since the kernel is told of it. */
static void spoiled_locked(struct inode *inode, int error)
{
	inode->error = error;
	if (!inode->staged && !inode->publish)
		writer_discard_locked(inode);
	inode_save_locked(inode);
	if (inode->staged || inode->publish)
		return;
	if (inode->path)
		pending_remove(inode->fs, inode->path, inode);
	if (inode->etag[0] || !inode->path)
		return;
	free(inode->path);
	inode->path = NULL;
	inode_ref(inode);
	if (pool_submit(inode->fs->workers, withdraw, inode) < 0)
		inode_put(inode);
}

ssize_t writer_write(struct inode *inode, const void *data, size_t size, off_t offset)
{
	int r = lock_writable(inode, true);
	if (r < 0)
		return r;
	ssize_t n = pwrite(inode->local->fd, data, size, offset);
	if (n < 0) {
		n = -errno;
		if (!inode->staged)
			spoiled_locked(inode, n);
	} else {
		if (offset + n > inode->size_bytes)
			inode->size_bytes = offset + n;
		inode->wrote = true;
		changed_locked(inode);
	}
	pthread_mutex_unlock(&inode->lock);
	return n;
}

int writer_truncate(struct inode *inode, off_t size)
{
	int r = lock_writable(inode, size > 0);
	if (r < 0)
		return r;
	if (ftruncate(inode->local->fd, size) < 0)
		r = -errno;
	if (r == 0) {
		inode->size_bytes = size;
		inode->wrote = size > 0;
		changed_locked(inode);
	}
	pthread_mutex_unlock(&inode->lock);
	return r;
}

int writer_set_mtime(struct inode *inode, int64_t mtime_ns)
{
	LOCK_SCOPE(&inode->lock);
	if (inode->staged) {
		struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
					     { mtime_ns / 1000000000, mtime_ns % 1000000000 } };
		return inode->local && futimens(inode->local->fd, times) < 0 ? -errno : 0;
	}
	if (!inode->local) { /* an object gets its new time from a copy to itself */
		inode->copy_pending = true;
		inode->mtime_pending = true;
	}
	inode->mtime_ns = mtime_ns;
	inode->changed++;
	inode_save_locked(inode);
	return inode->path ? pending_add(inode->fs, inode->path, inode) : 0;
}

int writer_open_staged(struct inode *inode)
{
	LOCK_SCOPE(&inode->lock);
	return inode->staged ? open_staged_locked(inode) : 0;
}

int writer_sync_staged(struct inode *inode)
{
	pthread_mutex_lock(&inode->lock);
	struct local *local = local_ref(inode->local);
	pthread_mutex_unlock(&inode->lock);
	int r = local && fdatasync(local->fd) < 0 ? -errno : 0;
	local_put(local);
	return r;
}

/* What was kept before is still owed; only what came after goes. */
static bool back_to_kept_locked(struct inode *inode, struct local *old)
{
	struct stat st;
	int fd;
	if ((old && old->number == inode->kept_number) ||
	    spool_open_file(inode->fs->spool, inode->kept_number, &fd) < 0)
		return false;
	inode->local = local_new(fd, inode->kept_number);
	if (!inode->local || fstat(fd, &st) < 0) {
		close(fd);
		return false;
	}
	inode->local->kept = true;
	inode->size_bytes = st.st_size;
	inode->kept = inode->changed;
	inode_save_locked(inode);
	if (old && old->number)
		spool_remove(inode->fs->spool, old->number);
	local_put(old);
	return true;
}

void writer_discard_locked(struct inode *inode)
{
	struct local *old = inode->local;
	inode->local = NULL;
	if (inode->kept_number && back_to_kept_locked(inode, old))
		return;
	inode->size_bytes = inode->object_size;
	inode->copy_pending = inode->mtime_pending = false;
	inode->published = inode->changed;
	inode_save_locked(inode); /* before the bytes go */
	if (old && old->number)
		spool_remove(inode->fs->spool, old->number);
	local_put(old);
}
