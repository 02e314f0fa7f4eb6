/* SPDX-License-Identifier: GPL-3.0-or-later */
/* chunk - see chunk.h */
#include "cache/chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <uthash.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/db.h"
#include "cache/files.h"

#define CHUNKS_VERSION 1
#define NAME_MAX_BYTES 65 /* hex of SHA-256 */

static const char schema[] =
	"CREATE TABLE chunks (name TEXT PRIMARY KEY, size INTEGER NOT NULL, bytes INTEGER NOT NULL,"
	" used INTEGER NOT NULL, map BLOB) WITHOUT ROWID;"
	"CREATE INDEX by_use ON chunks (used);";

struct chunk_store {
	pthread_mutex_t lock;
	int dir_fd;
	uint64_t size_max, reserve;
	uint64_t used;		 /* guarded by lock, as is the rest */
	uint64_t clock;		 /* the order of use */
	struct chunk_file *open;
	sqlite3 *db;
	sqlite3_stmt *load, *save, *drop, *oldest, *sum;
};

struct chunk_file {
	struct chunk_store *store;
	char name[NAME_MAX_BYTES];
	int fd;
	uint64_t size;
	uint64_t chunks; /* how many there are */
	/* guarded by store.lock */
	unsigned refs;
	uint64_t present; /* how many are here */
	unsigned char *map;
	bool dropped, changed;
	UT_hash_handle hh;
};

#define QUERIES(s)                                                                               \
	(const struct db_query[]){                                                               \
		{ &(s)->load, "SELECT size, map FROM chunks WHERE name = ?" },                   \
		{ &(s)->save, "INSERT OR REPLACE INTO chunks (name, size, bytes, used, map)"      \
			      " VALUES (?, ?, ?, ?, ?)" },                                       \
		{ &(s)->drop, "DELETE FROM chunks WHERE name = ?" },                             \
		{ &(s)->oldest, "SELECT name, bytes FROM chunks ORDER BY used LIMIT 64" },       \
		{ &(s)->sum, "SELECT ifnull(sum(bytes), 0), ifnull(max(used), 0) FROM chunks" }, \
	}
#define QUERY_COUNT 5

/* ---- store ---- */

static int load_sums(struct chunk_store *s)
{
	_cleanup_reset_ sqlite3_stmt *sum = s->sum;
	int r = db_row(sum);
	if (r < 0)
		return r;
	s->used = sqlite3_column_int64(sum, 0);
	s->clock = sqlite3_column_int64(sum, 1);
	return 0;
}

static int open_db(struct chunk_store *s, int cache_fd)
{
	int r = db_open(cache_fd, "chunks.db", schema, CHUNKS_VERSION, false, &s->db);
	if (r == 0)
		r = db_exec(s->db, "PRAGMA synchronous = OFF");
	if (r == 0)
		r = db_prepare(s->db, QUERIES(s), QUERY_COUNT);
	return r == 0 ? load_sums(s) : r;
}

/* A file without a row is left of a crash. */
static int drop_unknown(void *arg, int dir_fd, const char *name)
{
	struct chunk_store *s = arg;
	_cleanup_reset_ sqlite3_stmt *load = s->load;
	sqlite3_bind_text(load, 1, name, -1, SQLITE_STATIC);
	if (db_row(load) != 1)
		unlinkat(dir_fd, name, 0);
	return 0;
}

int chunk_store_open(struct places *places, uint64_t cache_size_bytes,
		     uint64_t cache_reserve_bytes, struct chunk_store **ret_store)
{
	struct chunk_store *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	int cache_fd = places_cache_fd(places);
	s->dir_fd = -1;
	s->size_max = cache_size_bytes;
	s->reserve = cache_reserve_bytes;
	pthread_mutex_init(&s->lock, NULL);
	int r = files_open_dir(cache_fd, "chunks", &s->dir_fd);
	if (r == 0)
		r = open_db(s, cache_fd);
	if (r == -EUCLEAN || r == -EPROTO) {
		log_warning("the cache's chunks.db is damaged: begun anew");
		db_finalize(QUERIES(s), QUERY_COUNT);
		s->db = db_close(s->db);
		unlinkat(cache_fd, "chunks.db", 0);
		unlinkat(cache_fd, "chunks.db-wal", 0);
		unlinkat(cache_fd, "chunks.db-shm", 0);
		r = open_db(s, cache_fd);
	}
	if (r == 0)
		r = files_each_name(s->dir_fd, drop_unknown, s);
	if (r < 0) {
		chunk_store_close(s);
		return r;
	}
	*ret_store = s;
	return 0;
}

static void file_free(struct chunk_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->map);
	free(f);
}

/* The bytes that the present chunks take; the last may be short. */
static uint64_t bytes_locked(const struct chunk_file *f)
{
	uint64_t bytes = f->present * CHUNK_SIZE;
	return bytes < f->size ? bytes : f->size;
}

static int save_locked(struct chunk_file *f)
{
	struct chunk_store *s = f->store;
	sqlite3_bind_text(s->save, 1, f->name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s->save, 2, f->size);
	sqlite3_bind_int64(s->save, 3, bytes_locked(f));
	sqlite3_bind_int64(s->save, 4, ++s->clock);
	sqlite3_bind_blob(s->save, 5, f->map, (f->chunks + 7) / 8, SQLITE_STATIC);
	f->changed = false;
	return db_run(s->save);
}

static void forget_locked(struct chunk_store *s, const char *name, uint64_t bytes)
{
	unlinkat(s->dir_fd, name, 0);
	sqlite3_bind_text(s->drop, 1, name, -1, SQLITE_STATIC);
	db_run(s->drop);
	s->used -= bytes < s->used ? bytes : s->used;
}

struct chunk_store *chunk_store_close(struct chunk_store *s)
{
	if (!s)
		return NULL;
	struct chunk_file *f, *next;
	HASH_ITER(hh, s->open, f, next) {
		HASH_DEL(s->open, f);
		if (!f->dropped)
			save_locked(f);
		file_free(f);
	}
	db_finalize(QUERIES(s), QUERY_COUNT);
	db_close(s->db);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return NULL;
}

uint64_t chunk_store_used(struct chunk_store *s)
{
	LOCK_SCOPE(&s->lock);
	return s->used;
}

static bool too_much_locked(struct chunk_store *s)
{
	struct statvfs v;
	if (s->size_max && s->used > s->size_max)
		return true;
	return s->reserve && fstatvfs(s->dir_fd, &v) == 0 &&
	       (uint64_t)v.f_bavail * v.f_frsize < s->reserve;
}

struct victim {
	char name[NAME_MAX_BYTES];
	uint64_t bytes;
};

static unsigned oldest_locked(struct chunk_store *s, struct victim *victims)
{
	_cleanup_reset_ sqlite3_stmt *oldest = s->oldest;
	unsigned n = 0;
	while (n < 64 && db_row(oldest) == 1) {
		struct chunk_file *f;
		const char *name = (const char *)sqlite3_column_text(oldest, 0);
		HASH_FIND_STR(s->open, name, f);
		if (f) /* C2 */
			continue;
		snprintf(victims[n].name, NAME_MAX_BYTES, "%s", name);
		victims[n++].bytes = sqlite3_column_int64(oldest, 1);
	}
	return n;
}

static void trim_locked(struct chunk_store *s)
{
	struct victim victims[64];
	while (too_much_locked(s)) {
		unsigned n = oldest_locked(s, victims), gone = 0;
		for (; gone < n && too_much_locked(s); gone++)
			forget_locked(s, victims[gone].name, victims[gone].bytes);
		if (!gone)
			return;
	}
}

void chunk_store_trim(struct chunk_store *s)
{
	LOCK_SCOPE(&s->lock);
	trim_locked(s);
}

/* ---- files ---- */

static void name_version(const char *key, const char *etag, char name[NAME_MAX_BYTES])
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
	EVP_DigestUpdate(ctx, key, strlen(key) + 1);
	EVP_DigestUpdate(ctx, etag, strlen(etag));
	EVP_DigestFinal_ex(ctx, sum, NULL);
	EVP_MD_CTX_free(ctx);
	for (int i = 0; i < 32; i++)
		snprintf(name + 2 * i, 3, "%02x", sum[i]);
}

static bool bit(const struct chunk_file *f, uint64_t i)
{
	return f->map[i / 8] & (1 << i % 8);
}

/* The map of an earlier mount. */
static void load_map_locked(struct chunk_file *f)
{
	_cleanup_reset_ sqlite3_stmt *load = f->store->load;
	struct stat st;
	sqlite3_bind_text(load, 1, f->name, -1, SQLITE_STATIC);
	if (db_row(load) != 1 || (uint64_t)sqlite3_column_int64(load, 0) != f->size ||
	    (uint64_t)sqlite3_column_bytes(load, 1) != (f->chunks + 7) / 8 ||
	    fstat(f->fd, &st) < 0 || (uint64_t)st.st_size != f->size)
		return;
	if (f->chunks)
		memcpy(f->map, sqlite3_column_blob(load, 1), (f->chunks + 7) / 8);
	for (uint64_t i = 0; i < f->chunks; i++)
		f->present += bit(f, i);
}

static int open_new_locked(struct chunk_store *s, const char *name, uint64_t size,
			   struct chunk_file **ret_file)
{
	struct chunk_file *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->store = s;
	f->size = size;
	f->chunks = (size + CHUNK_SIZE - 1) / CHUNK_SIZE;
	f->refs = 1;
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->map = calloc(f->chunks / 8 + 1, 1);
	f->fd = openat(s->dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = !f->map ? -ENOMEM : f->fd < 0 ? -errno : 0;
	if (r == 0) {
		load_map_locked(f);
		if (!f->present && ftruncate(f->fd, size) < 0)
			r = -errno;
	}
	if (r < 0) {
		file_free(f);
		return r;
	}
	HASH_ADD_STR(s->open, name, f);
	*ret_file = f;
	return 0;
}

int chunk_file_open(struct chunk_store *s, const char *key, const char *etag,
		    uint64_t size_bytes, struct chunk_file **ret_file)
{
	char name[NAME_MAX_BYTES];
	struct chunk_file *f;
	name_version(key, etag, name);
	LOCK_SCOPE(&s->lock);
	HASH_FIND_STR(s->open, name, f);
	if (f && f->size == size_bytes) {
		f->refs++;
		*ret_file = f;
		return 0;
	}
	return f ? -EIO : open_new_locked(s, name, size_bytes, ret_file);
}

struct chunk_file *chunk_file_close(struct chunk_file *f)
{
	if (!f)
		return NULL;
	struct chunk_store *s = f->store;
	pthread_mutex_lock(&s->lock);
	bool last = --f->refs == 0;
	if (last && !f->dropped) {
		HASH_DEL(s->open, f);
		save_locked(f);
	}
	pthread_mutex_unlock(&s->lock);
	if (last)
		file_free(f);
	return NULL;
}

int chunk_file_fd(const struct chunk_file *f)
{
	return f->fd;
}

bool chunk_file_has(struct chunk_file *f, uint64_t offset, size_t length)
{
	LOCK_SCOPE(&f->store->lock);
	if (offset >= f->size)
		return true;
	if (length > f->size - offset)
		length = f->size - offset;
	if (f->present == f->chunks)
		return true;
	for (uint64_t i = offset / CHUNK_SIZE; i * CHUNK_SIZE < offset + length; i++)
		if (!bit(f, i))
			return false;
	return true;
}

bool chunk_file_complete(struct chunk_file *f)
{
	LOCK_SCOPE(&f->store->lock);
	return f->present == f->chunks;
}

bool chunk_file_missing(struct chunk_file *f, uint64_t offset, uint64_t *ret_offset,
			uint64_t *ret_length)
{
	LOCK_SCOPE(&f->store->lock);
	uint64_t i = offset / CHUNK_SIZE;
	while (i < f->chunks && bit(f, i))
		i++;
	if (i >= f->chunks)
		return false;
	uint64_t end = i;
	while (end < f->chunks && !bit(f, end))
		end++;
	uint64_t end_bytes = end * CHUNK_SIZE < f->size ? end * CHUNK_SIZE : f->size;
	*ret_offset = i * CHUNK_SIZE;
	*ret_length = end_bytes - i * CHUNK_SIZE;
	return true;
}

int chunk_file_write(struct chunk_file *f, const void *data, size_t length, uint64_t offset)
{
	int r = files_write_all(f->fd, data, length, offset);
	if (r != -ENOSPC)
		return r;
	chunk_store_trim(f->store);
	return files_write_all(f->fd, data, length, offset);
}

void chunk_file_mark(struct chunk_file *f, uint64_t offset, uint64_t length)
{
	struct chunk_store *s = f->store;
	LOCK_SCOPE(&s->lock);
	uint64_t end = offset + length;
	uint64_t before = bytes_locked(f);
	uint64_t last = end >= f->size ? f->chunks : end / CHUNK_SIZE;
	for (uint64_t i = (offset + CHUNK_SIZE - 1) / CHUNK_SIZE; i < last; i++) {
		f->present += !bit(f, i);
		f->map[i / 8] |= 1 << i % 8;
		f->changed = true;
	}
	if (f->dropped)
		return;
	s->used += bytes_locked(f) - before;
	if (f->changed && f->present == f->chunks)
		save_locked(f);
	if (s->size_max && s->used > s->size_max)
		trim_locked(s);
}

void chunk_file_drop(struct chunk_file *f)
{
	struct chunk_store *s = f->store;
	LOCK_SCOPE(&s->lock);
	if (f->dropped)
		return;
	f->dropped = true;
	HASH_DEL(s->open, f);
	forget_locked(s, f->name, bytes_locked(f));
}

/* The content into chunks/name. */
static int take_over(struct chunk_store *s, const char *name, int from_dir_fd,
		     const char *from_name, bool may_rename)
{
	if (may_rename && renameat(from_dir_fd, from_name, s->dir_fd, name) == 0)
		return 0;
	_cleanup_close_ int from = openat(from_dir_fd, from_name, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int to =
		openat(s->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (from < 0 || to < 0)
		return -errno;
	int r = files_copy(from, to);
	if (r < 0)
		unlinkat(s->dir_fd, name, 0);
	return r;
}

int chunk_store_adopt(struct chunk_store *s, const char *key, const char *etag,
		      uint64_t size_bytes, int from_dir_fd, const char *from_name,
		      bool may_rename)
{
	char name[NAME_MAX_BYTES];
	struct chunk_file *f;
	struct stat st;
	name_version(key, etag, name);
	LOCK_SCOPE(&s->lock);
	HASH_FIND_STR(s->open, name, f);
	if (f || fstatat(s->dir_fd, name, &st, 0) == 0)
		return -EEXIST;
	int r = take_over(s, name, from_dir_fd, from_name, may_rename);
	if (r == 0)
		r = open_new_locked(s, name, size_bytes, &f);
	if (r < 0)
		return r;
	f->present = f->chunks;
	memset(f->map, 0xff, f->chunks / 8 + 1);
	HASH_DEL(s->open, f);
	r = save_locked(f);
	s->used += size_bytes;
	file_free(f);
	trim_locked(s);
	return r;
}
