/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * chunk-evict - room in the cache, and files that come into it whole.
 *
 * How much must go is reckoned once, before: a filesystem may take its time to
 * give back what was unlinked, and asking it after each file would empty the
 * cache meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/chunk-store.h"
#include "cache/files.h"

#define ASIDE "tmp." /* a copy that is being made */
#define SWEEP_AT_ONCE 500

/* A little more than asked, so as not to be back for the next chunk. */
static uint64_t with_slack(uint64_t over, uint64_t of)
{
	return over ? over + of / 64 : 0;
}

static uint64_t to_free(struct chunk_store *store, uint64_t want_bytes)
{
	uint64_t used = chunk_store_used(store), size = store->cache_size_bytes;
	uint64_t reserve = store->cache_reserve_bytes;
	uint64_t by_size = 0, by_disk = 0;
	struct statvfs disk;

	if (size && used > size)
		by_size = with_slack(used - size, size);
	if (reserve && fstatvfs(store->dir_fd, &disk) == 0) {
		uint64_t available = (uint64_t)disk.f_bavail * disk.f_frsize;
		if (available < reserve)
			by_disk = with_slack(reserve - available, reserve);
	}
	uint64_t most = by_size > by_disk ? by_size : by_disk;
	return most > want_bytes ? most : want_bytes;
}

/* The bytes that are gone; 0: it is in use. */
static uint64_t evict(struct chunk_store *store, const struct chunk_row *row)
{
	struct chunk_file *file;

	if (chunk_claim(store, row->name, false, &file))
		return 0;
	/* The row first: a file without one is dropped some day, while a row
	 * without its file would promise what is not there. */
	chunk_forget_row(store, row->name);
	unlinkat(store->dir_fd, row->name, 0);
	chunk_release(file);
	log_debug("chunk: evicted %s", row->name);
	return row->bytes;
}

static void evict_some(struct chunk_store *store, uint64_t bytes)
{
	struct chunk_row row = { 0 };

	while (bytes && chunk_table_oldest(&store->table, &row) == 0) {
		uint64_t gone = evict(store, &row);
		bytes -= gone < bytes ? gone : bytes;
	}
}

static void sweep_file(struct chunk_store *store, const char *name)
{
	bool aside = !strncmp(name, ASIDE, strlen(ASIDE));
	const char *version = aside ? name + strlen(ASIDE) : name;
	struct chunk_file *file = NULL;

	/* Too long for one of ours: nobody can be at it. */
	if (strlen(version) < CHUNK_NAME_MAX && chunk_claim(store, version, false, &file))
		return;
	if (aside || chunk_table_has(&store->table, name) == 0)
		unlinkat(store->dir_fd, name, 0);
	chunk_release(file);
}

static void sweep_files_locked(struct chunk_store *store, unsigned budget)
{
	struct dirent *entry = NULL;

	while (store->sweep && budget-- && (entry = readdir(store->sweep)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			sweep_file(store, entry->d_name);
	if (store->sweep && !entry) {
		closedir(store->sweep);
		store->sweep = NULL;
	}
}

static void sweep_row(struct chunk_store *store, const struct chunk_row *row)
{
	struct chunk_file *file;

	if (faccessat(store->dir_fd, row->name, F_OK, 0) == 0 || errno != ENOENT)
		return;
	if (chunk_claim(store, row->name, false, &file))
		return;
	chunk_forget_row(store, row->name);
	chunk_release(file);
}

static void sweep_locked(struct chunk_store *store, unsigned budget)
{
	sweep_files_locked(store, budget);
	for (; !store->rows_swept && budget; budget--)
		if (chunk_table_next(&store->table, &store->sweep_row) == 0)
			sweep_row(store, &store->sweep_row);
		else
			store->rows_swept = true;
}

void chunk_sweep(struct chunk_store *store, unsigned budget)
{
	LOCK_SCOPE(&store->evict_lock);

	sweep_locked(store, budget);
}

void chunk_make_room(struct chunk_store *store, uint64_t want_bytes, bool patient)
{
	if (patient)
		pthread_mutex_lock(&store->evict_lock);
	else if (pthread_mutex_trylock(&store->evict_lock))
		return;
	sweep_locked(store, SWEEP_AT_ONCE);
	evict_some(store, to_free(store, want_bytes));
	pthread_mutex_unlock(&store->evict_lock);
}

/* ---- adoption ---- */

static int copy_aside(struct chunk_store *store, const char *aside, int from_fd)
{
	_cleanup_close_ int to_fd =
		openat(store->dir_fd, aside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to_fd < 0)
		return -errno;
	return files_copy(from_fd, to_fd);
}

static int copy_in(struct chunk_store *store, const char *name, uint64_t size_bytes,
		   int from_dir_fd, const char *from_name)
{
	char aside[sizeof(ASIDE) + CHUNK_NAME_MAX];
	_cleanup_close_ int from_fd =
		openat(from_dir_fd, from_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (from_fd < 0)
		return -errno;
	snprintf(aside, sizeof(aside), ASIDE "%s", name);
	int r = copy_aside(store, aside, from_fd);
	if (r == -ENOSPC || r == -EDQUOT) {
		chunk_make_room(store, size_bytes, true);
		r = copy_aside(store, aside, from_fd);
	}
	if (!r && renameat(store->dir_fd, aside, store->dir_fd, name) < 0)
		r = -errno;
	if (r)
		unlinkat(store->dir_fd, aside, 0);
	return r == -EDQUOT ? -ENOSPC : r;
}

/* That the version is not here whole; what is here of it goes. */
static int make_way(struct chunk_store *store, const char *name, struct chunk_map *map)
{
	struct stat st;

	if (chunk_table_load(&store->table, name, map) == 0 && chunk_map_complete(map) &&
	    fstatat(store->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (uint64_t)st.st_size == map->size_bytes)
		return -EEXIST;
	chunk_forget_row(store, name);
	return 0;
}

static int take_in(struct chunk_file *file, uint64_t size_bytes, int from_dir_fd,
		   const char *from_name, bool may_rename)
{
	struct chunk_store *store = file->store;

	int r = chunk_map_init(&file->map, size_bytes);
	if (!r)
		r = make_way(store, file->name, &file->map);
	if (r)
		return r;
	if (!may_rename || renameat(from_dir_fd, from_name, store->dir_fd, file->name) < 0)
		r = copy_in(store, file->name, size_bytes, from_dir_fd, from_name);
	if (r)
		return r;
	chunk_map_fill(&file->map);
	store->used += (int64_t)size_bytes;
	chunk_table_save(&store->table, file->name, &file->map, &file->dropped);
	return 0;
}

int chunk_store_adopt(struct chunk_store *store, const char *key, const char *etag,
		      uint64_t size_bytes, int from_dir_fd, const char *from_name,
		      bool may_rename)
{
	char name[CHUNK_NAME_MAX];
	struct chunk_file *file;
	struct stat st;

	if (fstatat(from_dir_fd, from_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size_bytes)
		return -EINVAL;
	chunk_name(key, etag, size_bytes, name);
	if (!*name)
		return -ENOMEM;
	int r = chunk_claim(store, name, true, &file);
	if (r)
		return r;
	r = take_in(file, size_bytes, from_dir_fd, from_name, may_rename);
	chunk_release(file);
	if (!r)
		chunk_make_room(store, 0, false);
	return r;
}
