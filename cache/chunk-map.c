/* SPDX-License-Identifier: GPL-3.0-or-later */
/* chunk-map - see chunk-map.h. */
#include "cache/chunk-map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/chunk.h"

int chunk_map_init(struct chunk_map *map, uint64_t size_bytes)
{
	uint64_t chunks = size_bytes / CHUNK_SIZE + (size_bytes % CHUNK_SIZE != 0);
	unsigned char *bits = calloc(chunks / 8 + 1, 1);

	if (!bits)
		return -ENOMEM;
	*map = (struct chunk_map){ .size_bytes = size_bytes, .chunks = chunks, .bits = bits };
	return 0;
}

void chunk_map_free(struct chunk_map *map)
{
	free(map->bits);
	map->bits = NULL;
}

size_t chunk_map_length(const struct chunk_map *map)
{
	return (map->chunks + 7) / 8;
}

static bool is_present(const struct chunk_map *map, uint64_t chunk)
{
	return map->bits[chunk / 8] & (1u << chunk % 8);
}

static uint64_t bytes_in(const struct chunk_map *map, uint64_t chunk)
{
	uint64_t begin = chunk * CHUNK_SIZE;

	return map->size_bytes - begin < CHUNK_SIZE ? map->size_bytes - begin : CHUNK_SIZE;
}

static void set(struct chunk_map *map, uint64_t chunk)
{
	if (is_present(map, chunk))
		return;
	map->bits[chunk / 8] |= (unsigned char)(1u << chunk % 8);
	map->present++;
	map->present_bytes += bytes_in(map, chunk);
}

bool chunk_map_load(struct chunk_map *map, const void *bits, size_t length)
{
	const unsigned char *from = bits;

	if (length != chunk_map_length(map))
		return false;
	if (map->chunks % 8 && from[length - 1] >> map->chunks % 8)
		return false;
	chunk_map_clear(map);
	for (uint64_t i = 0; i < map->chunks; i++)
		if (from[i / 8] & (1u << i % 8))
			set(map, i);
	return true;
}

void chunk_map_clear(struct chunk_map *map)
{
	memset(map->bits, 0, chunk_map_length(map));
	map->present = 0;
	map->present_bytes = 0;
}

void chunk_map_fill(struct chunk_map *map)
{
	for (uint64_t i = 0; i < map->chunks; i++)
		set(map, i);
}

uint64_t chunk_map_mark(struct chunk_map *map, uint64_t offset, uint64_t length)
{
	uint64_t before = map->present_bytes;
	uint64_t room = offset < map->size_bytes ? map->size_bytes - offset : 0;
	uint64_t first = offset / CHUNK_SIZE + (offset % CHUNK_SIZE != 0);
	uint64_t end = length >= room ? map->chunks : (offset + length) / CHUNK_SIZE;

	for (uint64_t i = first; i < end; i++)
		set(map, i);
	return map->present_bytes - before;
}

bool chunk_map_has(const struct chunk_map *map, uint64_t offset, size_t length)
{
	if (offset >= map->size_bytes || !length || chunk_map_complete(map))
		return true;
	if (length > map->size_bytes - offset)
		length = map->size_bytes - offset;
	for (uint64_t i = offset / CHUNK_SIZE; i <= (offset + length - 1) / CHUNK_SIZE; i++)
		if (!is_present(map, i))
			return false;
	return true;
}

bool chunk_map_complete(const struct chunk_map *map)
{
	return map->present == map->chunks;
}

/* From `chunk` on, the first that is present or not; all chunks if none. */
static uint64_t find(const struct chunk_map *map, uint64_t chunk, bool present)
{
	const unsigned char skip = present ? 0 : 0xff;

	while (chunk < map->chunks && is_present(map, chunk) != present)
		chunk += chunk % 8 == 0 && map->bits[chunk / 8] == skip ? 8 : 1;
	return chunk < map->chunks ? chunk : map->chunks;
}

bool chunk_map_missing(const struct chunk_map *map, uint64_t offset, uint64_t *ret_offset,
		       uint64_t *ret_length)
{
	uint64_t first = find(map, offset / CHUNK_SIZE, false);
	uint64_t end = find(map, first, true);

	if (first >= map->chunks)
		return false;
	*ret_offset = first * CHUNK_SIZE;
	*ret_length = (end - first - 1) * CHUNK_SIZE + bytes_in(map, end - 1);
	return true;
}
