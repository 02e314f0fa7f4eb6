/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * chunk - the store, and files that are open; see chunk.h and chunk-store.h.
 * Eviction and adoption are in chunk-evict.c.
 */
#include "cache/chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/chunk-store.h"
#include "cache/files.h"

#define SWEEP_AT_OPEN 20000
/* How much may be marked between looks at the disk. */
#define CHECK_BYTES (16u << 20)

void chunk_name(const char *key, const char *etag, uint64_t size_bytes,
		char ret_name[CHUNK_NAME_MAX])
{
	unsigned char sum[EVP_MAX_MD_SIZE] = { 0 };
	char size[24];
	EVP_MD_CTX *hash = EVP_MD_CTX_new();

	snprintf(size, sizeof(size), "%" PRIu64, size_bytes);
	/* With their NULs, so that no two triples run into the same bytes. */
	if (!hash || !EVP_DigestInit_ex(hash, EVP_sha256(), NULL) ||
	    !EVP_DigestUpdate(hash, key, strlen(key) + 1) ||
	    !EVP_DigestUpdate(hash, etag, strlen(etag) + 1) ||
	    !EVP_DigestUpdate(hash, size, strlen(size)) ||
	    !EVP_DigestFinal_ex(hash, sum, NULL))
		*ret_name = '\0';
	else
		for (int i = 0; i < 32; i++)
			snprintf(ret_name + 2 * i, 3, "%02x", sum[i]);
	EVP_MD_CTX_free(hash);
}

static struct chunk_file *file_free(struct chunk_file *file)
{
	if (!file)
		return NULL;
	if (file->fd >= 0)
		close(file->fd);
	chunk_map_free(&file->map);
	pthread_mutex_destroy(&file->lock);
	free(file);
	return NULL;
}

static struct chunk_file *find_locked(struct chunk_store *store, const char *name)
{
	struct chunk_file *file;

	HASH_FIND_STR(store->files, name, file);
	return file;
}

#undef uthash_nonfatal_oom
#define uthash_nonfatal_oom(file) ((file)->hashed = false)

static int add_busy_locked(struct chunk_store *store, const char *name,
			   struct chunk_file **ret_file)
{
	struct chunk_file *file = calloc(1, sizeof(*file));

	if (!file)
		return -ENOMEM;
	file->store = store;
	file->fd = -1;
	file->refs = 1;
	file->busy = true;
	file->hashed = true;
	pthread_mutex_init(&file->lock, NULL);
	snprintf(file->name, sizeof(file->name), "%s", name);
	HASH_ADD_STR(store->files, name, file);
	if (!file->hashed) {
		file_free(file);
		return -ENOMEM;
	}
	*ret_file = file;
	return 0;
}

int chunk_claim(struct chunk_store *store, const char *name, bool wait,
		struct chunk_file **ret_file)
{
	LOCK_SCOPE(&store->lock);
	struct chunk_file *there;

	while ((there = find_locked(store, name)) && there->busy && wait)
		pthread_cond_wait(&store->settled, &store->lock);
	return there ? -EEXIST : add_busy_locked(store, name, ret_file);
}

static void unhash_locked(struct chunk_file *file)
{
	if (file->hashed)
		HASH_DEL(file->store->files, file);
	file->hashed = false;
	file->busy = false;
	pthread_cond_broadcast(&file->store->settled);
}

struct chunk_file *chunk_release(struct chunk_file *file)
{
	if (!file)
		return NULL;
	pthread_mutex_lock(&file->store->lock);
	unhash_locked(file);
	pthread_mutex_unlock(&file->store->lock);
	return file_free(file);
}

void chunk_forget_row(struct chunk_store *store, const char *name)
{
	uint64_t bytes = 0;

	chunk_table_drop(&store->table, name, NULL, &bytes);
	store->used -= (int64_t)bytes;
}

/* ---- the store ---- */

int chunk_store_open(struct places *places, uint64_t cache_size_bytes,
		     uint64_t cache_reserve_bytes, struct chunk_store **ret_store)
{
	struct chunk_store *store = calloc(1, sizeof(*store));
	uint64_t bytes = 0;
	int sweep_fd = -1;

	if (!store)
		return -ENOMEM;
	store->dir_fd = -1;
	store->cache_size_bytes = cache_size_bytes;
	store->cache_reserve_bytes = cache_reserve_bytes;
	pthread_mutex_init(&store->lock, NULL);
	pthread_mutex_init(&store->evict_lock, NULL);
	pthread_cond_init(&store->settled, NULL);
	int r = chunk_table_open(&store->table, places, &bytes);
	if (!r)
		r = files_open_dir(places_cache_fd(places), "chunks", &store->dir_fd);
	if (!r)
		r = files_open_dir(places_cache_fd(places), "chunks", &sweep_fd);
	if (!r && !(store->sweep = fdopendir(sweep_fd))) {
		r = -errno;
		close(sweep_fd);
	}
	if (r) {
		chunk_store_close(store);
		return r;
	}
	store->used = (int64_t)bytes;
	chunk_sweep(store, SWEEP_AT_OPEN);
	chunk_make_room(store, 0, true);
	*ret_store = store;
	return 0;
}

/* What is cached of it is there for the next who opens it, or nothing is. */
static void settle(struct chunk_file *file)
{
	struct chunk_store *store = file->store;

	if (!file->map.present && file->map.chunks)
		unlinkat(store->dir_fd, file->name, 0);
	else if (file->changed)
		chunk_table_save(&store->table, file->name, &file->map, &file->dropped);
	else
		chunk_table_stamp(&store->table, file->name, &file->dropped);
}

struct chunk_store *chunk_store_close(struct chunk_store *store)
{
	struct chunk_file *file, *next;

	if (!store)
		return NULL;
	HASH_ITER(hh, store->files, file, next) {
		settle(file);
		HASH_DEL(store->files, file);
		file_free(file);
	}
	if (store->sweep)
		closedir(store->sweep);
	if (store->dir_fd >= 0)
		close(store->dir_fd);
	chunk_table_close(&store->table);
	pthread_cond_destroy(&store->settled);
	pthread_mutex_destroy(&store->evict_lock);
	pthread_mutex_destroy(&store->lock);
	free(store);
	return NULL;
}

uint64_t chunk_store_used(struct chunk_store *store)
{
	int64_t used = store->used;

	return used > 0 ? (uint64_t)used : 0;
}

void chunk_store_trim(struct chunk_store *store)
{
	chunk_make_room(store, 0, true);
}

/* ---- files ---- */

static int make_empty(struct chunk_file *file)
{
	/* The row first: bytes without it mean nothing. */
	chunk_forget_row(file->store, file->name);
	file->changed = true;
	if (ftruncate(file->fd, 0) < 0 || ftruncate(file->fd, (off_t)file->map.size_bytes) < 0) {
		int error = -errno;
		unlinkat(file->store->dir_fd, file->name, 0);
		return error;
	}
	return 0;
}

static int load(struct chunk_file *file, uint64_t size_bytes)
{
	struct chunk_store *store = file->store;
	struct stat st;

	if (size_bytes > INT64_MAX)
		return -EFBIG;
	int r = chunk_map_init(&file->map, size_bytes);
	if (r)
		return r;
	file->counted = true;
	file->fd = openat(store->dir_fd, file->name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file->fd < 0 || fstat(file->fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size == size_bytes &&
	    chunk_table_load(&store->table, file->name, &file->map) == 0)
		return 0;
	chunk_map_clear(&file->map);
	return make_empty(file);
}

/* One that is open, counted; or a busy one for the caller to load. */
static int find_or_add(struct chunk_store *store, const char *name,
		       struct chunk_file **ret_file)
{
	LOCK_SCOPE(&store->lock);
	struct chunk_file *file;

	while ((file = find_locked(store, name)) && file->busy)
		pthread_cond_wait(&store->settled, &store->lock);
	if (!file)
		return add_busy_locked(store, name, ret_file);
	file->refs++;
	*ret_file = file;
	return 1;
}

int chunk_file_open(struct chunk_store *store, const char *key, const char *etag,
		    uint64_t size_bytes, struct chunk_file **ret_file)
{
	char name[CHUNK_NAME_MAX];
	struct chunk_file *file;

	chunk_name(key, etag, size_bytes, name);
	if (!*name)
		return -ENOMEM;
	int r = find_or_add(store, name, &file);
	if (r < 0)
		return r;
	if (r == 0) {
		r = load(file, size_bytes);
		if (r) {
			chunk_release(file);
			return r;
		}
		pthread_mutex_lock(&store->lock);
		file->busy = false;
		pthread_cond_broadcast(&store->settled);
		pthread_mutex_unlock(&store->lock);
	}
	*ret_file = file;
	return 0;
}

struct chunk_file *chunk_file_close(struct chunk_file *file)
{
	if (!file)
		return NULL;
	struct chunk_store *store = file->store;

	pthread_mutex_lock(&store->lock);
	bool last = --file->refs == 0;
	bool keep = file->hashed;
	if (last)
		file->busy = true;
	pthread_mutex_unlock(&store->lock);
	if (last && keep)
		settle(file);
	if (last)
		chunk_release(file);
	return NULL;
}

int chunk_file_fd(const struct chunk_file *file)
{
	return file->fd;
}

bool chunk_file_has(struct chunk_file *file, uint64_t offset, size_t length)
{
	LOCK_SCOPE(&file->lock);

	return chunk_map_has(&file->map, offset, length);
}

bool chunk_file_complete(struct chunk_file *file)
{
	LOCK_SCOPE(&file->lock);

	return chunk_map_complete(&file->map);
}

bool chunk_file_missing(struct chunk_file *file, uint64_t offset, uint64_t *ret_offset,
			uint64_t *ret_length)
{
	LOCK_SCOPE(&file->lock);

	return chunk_map_missing(&file->map, offset, ret_offset, ret_length);
}

int chunk_file_write(struct chunk_file *file, const void *data, size_t length,
		     uint64_t offset)
{
	int r = files_write_all(file->fd, data, length, (off_t)offset);

	if (r != -ENOSPC && r != -EDQUOT)
		return r;
	chunk_make_room(file->store, length > CHECK_BYTES ? length : CHECK_BYTES, true);
	r = files_write_all(file->fd, data, length, (off_t)offset);
	return r == -EDQUOT ? -ENOSPC : r;
}

/* Bytes more are in the cache: give way before the disk is full. */
static void count(struct chunk_store *store, uint64_t bytes)
{
	uint64_t unchecked = atomic_fetch_add(&store->unchecked, bytes) + bytes;
	int64_t counted = atomic_fetch_add(&store->used, (int64_t)bytes) + (int64_t)bytes;
	uint64_t used = counted > 0 ? chunk_store_used(store) : 0;
	bool over = store->cache_size_bytes && used > store->cache_size_bytes;

	if (!over && unchecked < CHECK_BYTES)
		return;
	store->unchecked = 0;
	chunk_make_room(store, 0, false);
}

void chunk_file_mark(struct chunk_file *file, uint64_t offset, uint64_t length)
{
	pthread_mutex_lock(&file->lock);
	uint64_t bytes = chunk_map_mark(&file->map, offset, length);
	/* Complete, its map has no bits to save, and so may be copied. */
	const struct chunk_map map = file->map;
	bool counted = file->counted, complete = chunk_map_complete(&map);
	if (bytes)
		file->changed = !complete;
	pthread_mutex_unlock(&file->lock);

	if (!bytes || !counted)
		return;
	if (complete)
		chunk_table_save(&file->store->table, file->name, &map, &file->dropped);
	count(file->store, bytes);
}

static bool begin_drop(struct chunk_file *file)
{
	LOCK_SCOPE(&file->store->lock);

	/* The second to drop it could unlink the file of who opened it anew. */
	if (!file->hashed || file->dropping)
		return false;
	file->dropping = true;
	return true;
}

void chunk_file_drop(struct chunk_file *file)
{
	struct chunk_store *store = file->store;
	uint64_t row_bytes;

	if (!begin_drop(file))
		return;
	chunk_table_drop(&store->table, file->name, &file->dropped, &row_bytes);
	unlinkat(store->dir_fd, file->name, 0);

	pthread_mutex_lock(&file->lock);
	store->used -= (int64_t)file->map.present_bytes;
	file->counted = false;
	chunk_map_clear(&file->map);
	pthread_mutex_unlock(&file->lock);

	pthread_mutex_lock(&store->lock);
	unhash_locked(file);
	pthread_mutex_unlock(&store->lock);
}
