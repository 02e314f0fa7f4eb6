/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * chunk - pieces of objects, kept on local disk.
 *
 * One sparse file per object version under cache_dir/chunks/, and a map of the
 * chunks present, kept in memory while the file is open and in cache.db at
 * other times.  A chunk is one aligned CHUNK_SIZE piece (the last may be
 * short).  The version (key, ETag and size) names the file, so a chunk is
 * never stale, only unwanted.
 *
 * Invariants
 *   C1  A chunk is marked only after its bytes were written.
 *   C2  A file that is open (struct chunk_file) is not evicted.
 *   C3  Eviction unlinks whole files, least recently used first, until the sum
 *	 is within cache_size and cache_reserve bytes of the disk are free.
 *   C4  One thread at a time opens, closes, adopts or evicts a given version.
 *   C5  A row names only bytes that were marked.  After a crash of the process
 *	 a file without a row, or a row without a file, is dropped; after a
 *	 crash of the machine all of them (see cachedb.h).
 *
 * A file has its full size from the start, with holes, so a descriptor of a
 * complete one is as good as the object.
 *
 * Threads: call from any.  The store's lock, each file's lock and the table's
 * lock are leaves; none but the table's is held across I/O.  Evicting has a lock
 * of its own, outside of them.  meta_open comes before chunk_store_open.
 * Not here: fetching.  A miss is the core's business.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cache/places.h"

#define CHUNK_SIZE (256u << 10)

struct chunk_store;
struct chunk_file;

/* cache_size_bytes 0: no limit but the reserve. */
int chunk_store_open(struct places *places, uint64_t cache_size_bytes,
		     uint64_t cache_reserve_bytes, struct chunk_store **ret_store);
/* Saves all maps.  Files that are still open are closed, and gone. */
struct chunk_store *chunk_store_close(struct chunk_store *store);
uint64_t chunk_store_used(struct chunk_store *store);
/* Evicts what C3 asks for.  Writing does so by itself now and then; call it
 * when others have filled the disk. */
void chunk_store_trim(struct chunk_store *store);

/* The file of one version, made empty if it is not cached.  Opening the same
 * version twice gives the same object, counted. */
int chunk_file_open(struct chunk_store *store, const char *key, const char *etag,
		    uint64_t size_bytes, struct chunk_file **ret_file);
struct chunk_file *chunk_file_close(struct chunk_file *file);
int chunk_file_fd(const struct chunk_file *file); /* borrowed; for pread */

/* What lies beyond the end is there. */
bool chunk_file_has(struct chunk_file *file, uint64_t offset, size_t length);
bool chunk_file_complete(struct chunk_file *file);
/* The first run of missing chunks at or after offset (the chunk that holds
 * offset included): its aligned begin, and its length (up to the next present
 * chunk or the end).  false: none. */
bool chunk_file_missing(struct chunk_file *file, uint64_t offset, uint64_t *ret_offset,
			uint64_t *ret_length);

/* pwrite without marking; -ENOSPC tries eviction first. */
int chunk_file_write(struct chunk_file *file, const void *data, size_t length,
		     uint64_t offset);
/* Marks the chunks that lie wholly within the range (or up to the end). */
void chunk_file_mark(struct chunk_file *file, uint64_t offset, uint64_t length);
/* Forgets the bytes: unlinked now, and nothing is kept at close.  Who has it
 * open may go on with an empty map; who opens it anew gets another file. */
void chunk_file_drop(struct chunk_file *file);

/* A complete local file becomes the cached version: by rename where it can,
 * else by reflink or copy (the source stays; the caller removes it).
 * from_dir_fd/from_name borrowed.  A version already open, or cached whole:
 * -EEXIST.  A file of another size: -EINVAL. */
int chunk_store_adopt(struct chunk_store *store, const char *key, const char *etag,
		      uint64_t size_bytes, int from_dir_fd, const char *from_name,
		      bool may_rename);
