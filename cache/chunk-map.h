/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * chunk-map - which chunks of a file are present.
 *
 * Bit i, counted from the lowest of each byte, stands for the bytes from
 * i * CHUNK_SIZE; the last chunk may be short.  A file of size 0 has no chunks
 * and is complete.
 *
 * Internal to chunk.  Threads: the caller's lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chunk_map {
	uint64_t size_bytes;
	uint64_t chunks;	/* how many there are */
	uint64_t present;	/* how many are here */
	uint64_t present_bytes; /* of the file, in them */
	unsigned char *bits;	/* owned; bits past the last chunk are 0 */
};

int chunk_map_init(struct chunk_map *map, uint64_t size_bytes);
void chunk_map_free(struct chunk_map *map);
size_t chunk_map_length(const struct chunk_map *map); /* of bits, in bytes */

/* What was saved; false, and nothing taken, if it cannot be of this file. */
bool chunk_map_load(struct chunk_map *map, const void *bits, size_t length);
void chunk_map_clear(struct chunk_map *map);
void chunk_map_fill(struct chunk_map *map);
/* The chunks that lie wholly within; returns the bytes that are new. */
uint64_t chunk_map_mark(struct chunk_map *map, uint64_t offset, uint64_t length);

bool chunk_map_has(const struct chunk_map *map, uint64_t offset, size_t length);
bool chunk_map_complete(const struct chunk_map *map);
bool chunk_map_missing(const struct chunk_map *map, uint64_t offset, uint64_t *ret_offset,
		       uint64_t *ret_length);
