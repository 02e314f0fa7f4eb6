/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-chunk - the map, files over mounts, eviction, adoption. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/chunk.h"
#include "cache/meta.h"
#include "scratch.h"

#define C ((uint64_t)CHUNK_SIZE)

static struct chunk_store *open_store(struct scratch *s, uint64_t size)
{
	struct chunk_store *store = NULL;

	assert_int_equal(chunk_store_open(s->places, size, 0, &store), 0);
	return store;
}

static struct chunk_file *open_file(struct chunk_store *store, const char *key, uint64_t size)
{
	struct chunk_file *file = NULL;

	assert_int_equal(chunk_file_open(store, key, "etag", size, &file), 0);
	return file;
}

static void fill(struct chunk_file *file, uint64_t offset, uint64_t length, char with)
{
	char *data = malloc(length + 1);

	memset(data, with, length);
	assert_int_equal(chunk_file_write(file, data, length, offset), 0);
	chunk_file_mark(file, offset, length);
	free(data);
}

/* A complete file, closed. */
static void cache_whole(struct chunk_store *store, const char *key, uint64_t size)
{
	struct chunk_file *file = open_file(store, key, size);

	fill(file, 0, size, *key);
	assert_true(chunk_file_complete(file));
	assert_null(chunk_file_close(file));
}

static bool is_whole(struct chunk_store *store, const char *key, uint64_t size)
{
	struct chunk_file *file = open_file(store, key, size);
	bool whole = chunk_file_complete(file);

	chunk_file_close(file);
	return whole;
}

static void assert_missing(struct chunk_file *file, uint64_t from, uint64_t offset,
			   uint64_t length)
{
	uint64_t got_offset = 0, got_length = 0;

	assert_true(chunk_file_missing(file, from, &got_offset, &got_length));
	assert_int_equal(got_offset, offset);
	assert_int_equal(got_length, length);
}

static void test_map(void **state)
{
	struct chunk_store *store = open_store(scratch_of(state), 0);
	uint64_t size = 20 * C + 100, offset, length;
	struct chunk_file *file = open_file(store, "k", size);

	assert_missing(file, 0, 0, size);
	assert_missing(file, 5 * C + 17, 5 * C, size - 5 * C);
	assert_false(chunk_file_has(file, 0, 1));
	assert_true(chunk_file_has(file, 0, 0));
	assert_true(chunk_file_has(file, size, 100));
	assert_true(chunk_file_has(file, UINT64_MAX, 100));

	/* Partly covered chunks do not count, at either end. */
	chunk_file_mark(file, 1, C - 1);
	chunk_file_mark(file, 2 * C, C - 1);
	assert_missing(file, 0, 0, size);
	chunk_file_mark(file, 3 * C - 1, 2 * C + 2);
	assert_true(chunk_file_has(file, 3 * C, 2 * C));
	assert_false(chunk_file_has(file, 3 * C - 1, 2));
	assert_false(chunk_file_has(file, 5 * C - 1, 2));
	assert_missing(file, 0, 0, 3 * C);
	assert_missing(file, 3 * C, 5 * C, size - 5 * C);

	/* The last is short. */
	chunk_file_mark(file, 20 * C, 99);
	assert_false(chunk_file_has(file, 20 * C, 1));
	chunk_file_mark(file, 20 * C + 1, 99);
	assert_false(chunk_file_has(file, 20 * C, 1));
	chunk_file_mark(file, 20 * C, 100);
	assert_true(chunk_file_has(file, 20 * C, 1));
	assert_true(chunk_file_has(file, 20 * C, 5000));
	assert_missing(file, 4 * C, 5 * C, 15 * C);
	assert_int_equal(chunk_store_used(store), 2 * C + 100);

	chunk_file_mark(file, size, 100);
	chunk_file_mark(file, 5 * C, UINT64_MAX);
	assert_true(chunk_file_has(file, 3 * C, size));
	assert_false(chunk_file_complete(file));
	chunk_file_mark(file, 0, 3 * C);
	assert_true(chunk_file_complete(file));
	assert_false(chunk_file_missing(file, 0, &offset, &length));
	assert_false(chunk_file_missing(file, size + 1, &offset, &length));
	assert_int_equal(chunk_store_used(store), size);
	chunk_file_mark(file, 0, size);
	assert_int_equal(chunk_store_used(store), size);
	chunk_file_close(file);
	assert_null(chunk_file_close(NULL));
	assert_null(chunk_store_close(store));
	assert_null(chunk_store_close(NULL));
}

/* Against one bool a chunk. */
static void test_map_at_random(void **state)
{
	struct chunk_store *store = open_store(scratch_of(state), 0);
	unsigned seed = 1;

	for (int round = 0; round < 30; round++) {
		uint64_t chunks = 1 + rand_r(&seed) % 40, size = chunks * C - rand_r(&seed) % C;
		bool here[41] = { false };
		char key[16];
		snprintf(key, sizeof(key), "r%d", round);
		struct chunk_file *file = open_file(store, key, size);
		for (int step = 0; step < 40; step++) {
			uint64_t from = rand_r(&seed) % size, length = rand_r(&seed) % (4 * C);
			chunk_file_mark(file, from, length);
			for (uint64_t i = 0; i < chunks; i++) {
				uint64_t end = (i + 1) * C < size ? (i + 1) * C : size;
				here[i] |= from <= i * C && from + length >= end;
			}
			uint64_t at = rand_r(&seed) % size, first = at / C, got = 0, got_length = 0;
			while (first < chunks && here[first])
				first++;
			uint64_t last = first;
			while (last < chunks && !here[last])
				last++;
			bool missing = chunk_file_missing(file, at, &got, &got_length);
			assert_int_equal(missing, first < chunks);
			if (missing) {
				assert_int_equal(got, first * C);
				assert_int_equal(got + got_length, last * C < size ? last * C : size);
			}
			assert_int_equal(chunk_file_has(file, at, 1), here[at / C]);
		}
		chunk_file_close(file);
	}
	chunk_store_close(store);
}

static void test_empty_object(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 0);
	struct chunk_file *file = open_file(store, "empty", 0);
	uint64_t offset, length;

	assert_true(chunk_file_complete(file));
	assert_true(chunk_file_has(file, 0, 10));
	assert_false(chunk_file_missing(file, 0, &offset, &length));
	chunk_file_mark(file, 0, 0);
	chunk_file_mark(file, 0, 100);
	chunk_file_close(file);
	chunk_store_close(store);
	store = open_store(s, 0);
	assert_true(is_whole(store, "empty", 0));
	assert_int_equal(chunk_store_used(store), 0);
	chunk_store_close(store);
}

static void test_one_object_a_version(void **state)
{
	struct chunk_store *store = open_store(scratch_of(state), 0);
	struct chunk_file *a = open_file(store, "a", C), *again = open_file(store, "a", C);
	struct chunk_file *other = NULL;
	struct stat st;

	assert_ptr_equal(a, again);
	fill(a, 0, C, 'x');
	chunk_file_close(a);
	assert_true(chunk_file_complete(again));
	assert_int_equal(chunk_file_open(store, "a", "other", C, &other), 0);
	assert_ptr_not_equal(a, other);
	assert_false(chunk_file_complete(other));
	assert_int_equal(fstat(chunk_file_fd(other), &st), 0);
	assert_int_equal(st.st_size, C);
	chunk_file_close(other);
	chunk_file_close(again);
	assert_true(is_whole(store, "a", C));
	chunk_store_close(store);
}

static void test_over_mounts(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 0);
	char data[16];

	cache_whole(store, "whole", 3 * C + 5);
	struct chunk_file *file = open_file(store, "part", 10 * C);
	fill(file, 2 * C, 3 * C, 'p');
	chunk_file_close(file);
	file = open_file(store, "nothing", 10 * C);
	chunk_file_close(file);
	file = open_file(store, "left open", 2 * C);
	fill(file, C, C, 'o');
	chunk_store_close(store);
	assert_int_equal(scratch_count(s->cache, "chunks"), 3);

	scratch_close(s);
	scratch_open(s);
	store = open_store(s, 0);
	assert_int_equal(chunk_store_used(store), 3 * C + 5 + 3 * C + C);
	assert_true(is_whole(store, "whole", 3 * C + 5));
	file = open_file(store, "part", 10 * C);
	assert_missing(file, 0, 0, 2 * C);
	assert_missing(file, 2 * C, 5 * C, 5 * C);
	assert_int_equal(pread(chunk_file_fd(file), data, 4, 2 * C), 4);
	assert_memory_equal(data, "pppp", 4);
	chunk_file_close(file);
	file = open_file(store, "left open", 2 * C);
	assert_missing(file, 0, 0, C);
	chunk_file_close(file);
	chunk_store_close(store);
}

/* C5: no row for what the process had not saved; none left behind. */
static void test_a_crash(void **state)
{
	struct scratch *s = scratch_of(state);
	int status;

	pid_t child = fork();
	if (child == 0) {
		struct chunk_store *store = open_store(s, 0);
		cache_whole(store, "closed", C);
		struct chunk_file *file = open_file(store, "complete", C);
		fill(file, 0, C, 'c');
		file = open_file(store, "part", 4 * C);
		fill(file, 0, C, 'p');
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	struct chunk_store *store = open_store(s, 0);
	assert_int_equal(scratch_count(s->cache, "chunks"), 2);
	assert_int_equal(chunk_store_used(store), 2 * C);
	assert_true(is_whole(store, "closed", C));
	assert_true(is_whole(store, "complete", C));
	chunk_store_close(store);
}

static void test_lost_files(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 0);
	char path[256];

	cache_whole(store, "a", C);
	cache_whole(store, "b", C);
	chunk_store_close(store);
	snprintf(path, sizeof(path), "%s/chunks", s->cache);
	scratch_remove_tree(path);
	store = open_store(s, 0);
	assert_int_equal(chunk_store_used(store), 0);
	assert_false(is_whole(store, "a", C));
	chunk_store_close(store);
}

static void test_strange_files(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 0);
	char name[300];

	cache_whole(store, "a", C);
	scratch_write(s->cache, "chunks/stray", "x", 1);
	scratch_write(s->cache, "chunks/tmp.stray", "x", 1);
	snprintf(name, sizeof(name), "chunks/%0200d", 7);
	scratch_write(s->cache, name, "x", 1);
	chunk_store_close(store);
	store = open_store(s, 0);
	assert_int_equal(scratch_count(s->cache, "chunks"), 1);
	assert_true(is_whole(store, "a", C));
	chunk_store_close(store);
}

static void test_truncated_file(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 0);

	cache_whole(store, "a", 3 * C);
	struct chunk_file *file = open_file(store, "a", 3 * C);
	assert_int_equal(ftruncate(chunk_file_fd(file), 100), 0);
	chunk_file_close(file);
	assert_false(is_whole(store, "a", 3 * C));
	assert_int_equal(chunk_store_used(store), 0);
	chunk_store_close(store);
}

static void test_evicts_oldest(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 10 * C);

	for (char i = '0'; i < '9'; i++)
		cache_whole(store, (char[]){ i, '\0' }, C);
	assert_true(is_whole(store, "0", C)); /* used: now the newest */
	struct chunk_file *pinned = open_file(store, "1", C);
	cache_whole(store, "big", 4 * C);
	assert_true(chunk_store_used(store) <= 10 * C);
	assert_true(is_whole(store, "big", 4 * C));
	assert_true(is_whole(store, "0", C));
	assert_true(is_whole(store, "8", C));
	assert_false(is_whole(store, "2", C));
	assert_true(chunk_file_complete(pinned)); /* C2 */
	chunk_file_close(pinned);
	assert_true(is_whole(store, "1", C));

	/* In use, more than all may stay. */
	pinned = open_file(store, "huge", 20 * C);
	fill(pinned, 0, 20 * C, 'h');
	assert_true(chunk_file_complete(pinned));
	assert_int_equal(chunk_store_used(store), 20 * C);
	assert_int_equal(scratch_count(s->cache, "chunks"), 1);
	chunk_file_close(pinned);
	chunk_store_trim(store);
	assert_int_equal(chunk_store_used(store), 0);
	assert_int_equal(scratch_count(s->cache, "chunks"), 0);
	chunk_store_close(store);
}

static void test_smaller_cache_at_next_mount(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 0);

	cache_whole(store, "a", 4 * C);
	cache_whole(store, "b", 4 * C);
	chunk_store_close(store);
	store = open_store(s, 5 * C);
	assert_int_equal(chunk_store_used(store), 4 * C);
	assert_true(is_whole(store, "b", 4 * C));
	chunk_store_close(store);
}

static void test_reserve(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 0);

	cache_whole(store, "a", C);
	chunk_store_close(store);
	/* More than any disk has: all that is not in use goes. */
	assert_int_equal(chunk_store_open(s->places, 0, UINT64_MAX / 4, &store), 0);
	assert_int_equal(chunk_store_used(store), 0);
	chunk_store_close(store);
}

static void test_dropping(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 0);
	struct chunk_file *bad = open_file(store, "a", 2 * C), *also = open_file(store, "a", 2 * C);

	fill(bad, 0, 2 * C, 'x');
	chunk_file_drop(bad);
	assert_int_equal(chunk_store_used(store), 0);
	assert_int_equal(scratch_count(s->cache, "chunks"), 0);
	assert_false(chunk_file_has(also, 0, 1));

	struct chunk_file *good = open_file(store, "a", 2 * C);
	assert_ptr_not_equal(good, bad);
	assert_false(chunk_file_complete(good));
	/* The old one goes on without a trace. */
	chunk_file_drop(also);
	fill(bad, 0, 2 * C, 'y');
	assert_true(chunk_file_complete(also));
	assert_false(chunk_file_complete(good));
	assert_int_equal(chunk_store_used(store), 0);
	fill(good, 0, C, 'g');
	chunk_file_close(bad);
	chunk_file_close(also);
	chunk_file_close(good);
	chunk_store_close(store);

	store = open_store(s, 0);
	good = open_file(store, "a", 2 * C);
	assert_missing(good, 0, C, C);
	chunk_file_close(good);
	chunk_store_close(store);
}

static int adopt(struct chunk_store *store, struct scratch *s, const char *key, uint64_t size,
		 const char *name, bool may_rename)
{
	return chunk_store_adopt(store, key, "etag", size, places_state_fd(s->places), name,
				 may_rename);
}

static void test_adopting(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 0);
	char data[1000], got[1000];

	memset(data, 'd', sizeof(data));
	scratch_write(s->state, "f", data, sizeof(data));
	assert_int_equal(adopt(store, s, "a", 999, "f", true), -EINVAL);
	assert_int_equal(adopt(store, s, "a", 1000, "none", true), -ENOENT);
	assert_int_equal(adopt(store, s, "copy", 1000, "f", false), 0);
	assert_true(scratch_exists(s->state, "f"));
	assert_int_equal(adopt(store, s, "a", 1000, "f", true), 0);
	assert_false(scratch_exists(s->state, "f"));
	assert_int_equal(chunk_store_used(store), 2000);

	scratch_write(s->state, "f", data, sizeof(data));
	assert_int_equal(adopt(store, s, "a", 1000, "f", true), -EEXIST);
	struct chunk_file *file = open_file(store, "open", 1000);
	assert_int_equal(adopt(store, s, "open", 1000, "f", true), -EEXIST);
	chunk_file_close(file);
	/* What is there in part gives way. */
	file = open_file(store, "part", 2 * C);
	fill(file, 0, C, 'p');
	chunk_file_close(file);
	char *big = calloc(2, C);
	scratch_write(s->state, "g", big, 2 * C);
	free(big);
	assert_int_equal(adopt(store, s, "part", 2 * C, "g", true), 0);
	assert_int_equal(chunk_store_used(store), 2000 + 2 * C);
	chunk_store_close(store);

	store = open_store(s, 0);
	assert_int_equal(chunk_store_used(store), 2000 + 2 * C);
	file = open_file(store, "a", 1000);
	assert_true(chunk_file_complete(file));
	assert_int_equal(pread(chunk_file_fd(file), got, 1000, 0), 1000);
	assert_memory_equal(got, data, 1000);
	chunk_file_close(file);
	assert_true(is_whole(store, "copy", 1000));
	assert_true(is_whole(store, "part", 2 * C));
	chunk_store_close(store);
}

static void test_adopting_evicts(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 4 * C);
	char *big = calloc(3, C);

	cache_whole(store, "old", 2 * C);
	scratch_write(s->state, "g", big, 3 * C);
	free(big);
	assert_int_equal(adopt(store, s, "new", 3 * C, "g", true), 0);
	assert_true(is_whole(store, "new", 3 * C));
	assert_int_equal(chunk_store_used(store), 3 * C);
	chunk_store_close(store);
}

static void test_damaged_database(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 0);
	struct meta *meta = NULL;
	char junk[8192];

	cache_whole(store, "a", C);
	chunk_store_close(store);
	memset(junk, 0x5a, sizeof(junk));
	scratch_write(s->cache, "cache.db", junk, sizeof(junk));
	/* Without meta, which sets it aside: it works, and keeps nothing. */
	store = open_store(s, 0);
	assert_false(is_whole(store, "a", C));
	cache_whole(store, "a", C);
	assert_true(is_whole(store, "a", C));
	chunk_store_close(store);
	assert_int_equal(meta_open(s->places, false, &meta), 0);
	store = open_store(s, 0);
	assert_int_equal(scratch_count(s->cache, "chunks"), 0);
	cache_whole(store, "a", C);
	chunk_store_close(store);
	meta_close(meta);
	store = open_store(s, 0);
	assert_true(is_whole(store, "a", C));
	chunk_store_close(store);
}

static void test_a_crash_of_the_machine(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 0);
	struct meta *meta = NULL;

	cache_whole(store, "a", C);
	chunk_store_close(store);
	scratch_close(s);
	scratch_write(s->cache, "boot", "another\n", 8);
	scratch_open(s);
	assert_int_equal(meta_open(s->places, false, &meta), 0);
	store = open_store(s, 0);
	assert_int_equal(chunk_store_used(store), 0);
	assert_int_equal(scratch_count(s->cache, "chunks"), 0);
	chunk_store_close(store);
	meta_close(meta);
}

/* ---- threads ---- */

struct worker {
	struct scratch *scratch;
	struct chunk_store *store;
	unsigned seed;
	pthread_t thread;
	bool failed;
};

/* Every byte of a file says which file it is. */
static bool check_some(struct worker *w, struct chunk_file *file, char letter)
{
	char data[64];
	uint64_t at = rand_r(&w->seed) % (3 * C);
	uint64_t begin = at / C * C;

	if (chunk_file_has(file, at, 1)) {
		ssize_t n = pread(chunk_file_fd(file), data, 1, (off_t)at);
		/* A drop in between leaves the bytes; it only forgets them. */
		return n == 1 && data[0] == letter;
	}
	char *fresh = malloc(C);
	memset(fresh, letter, C);
	int r = chunk_file_write(file, fresh, C, begin);
	free(fresh);
	if (r)
		return false;
	chunk_file_mark(file, begin, C);
	return true;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < 400 && !w->failed; i++) {
		char key[2] = { (char)('a' + rand_r(&w->seed) % 6) };
		struct chunk_file *file = NULL;
		if (chunk_file_open(w->store, key, "etag", 3 * C, &file)) {
			w->failed = true;
			break;
		}
		w->failed = !check_some(w, file, *key);
		if (rand_r(&w->seed) % 20 == 0)
			chunk_file_drop(file);
		if (rand_r(&w->seed) % 20 == 0)
			chunk_store_trim(w->store);
		chunk_file_close(file);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct scratch *s = scratch_of(state);
	struct chunk_store *store = open_store(s, 10 * C);
	struct worker workers[4];
	uint64_t sum = 0;

	for (unsigned i = 0; i < 4; i++) {
		workers[i] = (struct worker){ s, store, i };
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < 4; i++)
		assert_false(workers[i].failed);
	/* The books balance, and every byte that is said to be there is right. */
	for (char letter = 'a'; letter < 'a' + 6; letter++) {
		char key[2] = { letter }, byte;
		struct chunk_file *file = open_file(store, key, 3 * C);
		for (uint64_t i = 0; i < 3; i++)
			if (chunk_file_has(file, i * C, C)) {
				sum += C;
				assert_int_equal(pread(chunk_file_fd(file), &byte, 1, i * C + 5), 1);
				assert_int_equal(byte, letter);
			}
		chunk_file_close(file);
	}
	assert_int_equal(chunk_store_used(store), sum);
	chunk_store_trim(store);
	assert_true(chunk_store_used(store) <= 10 * C);
	sum = chunk_store_used(store);
	chunk_store_close(store);
	store = open_store(s, 0);
	assert_int_equal(chunk_store_used(store), sum);
	chunk_store_close(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_map),
		TEST(test_map_at_random),
		TEST(test_empty_object),
		TEST(test_one_object_a_version),
		TEST(test_over_mounts),
		TEST(test_a_crash),
		TEST(test_lost_files),
		TEST(test_strange_files),
		TEST(test_truncated_file),
		TEST(test_evicts_oldest),
		TEST(test_smaller_cache_at_next_mount),
		TEST(test_reserve),
		TEST(test_dropping),
		TEST(test_adopting),
		TEST(test_adopting_evicts),
		TEST(test_damaged_database),
		TEST(test_a_crash_of_the_machine),
		TEST(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
