/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-meta - entries: put, found, moved, removed; what a mount keeps. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/meta.h"
#include "scratch.h"

struct fixture {
	struct scratch *scratch;
	struct meta *meta;
};

static struct meta *meta_of(void **state)
{
	return ((struct fixture *)*state)->meta;
}

static struct scratch *fixture_scratch(void **state)
{
	return ((struct fixture *)*state)->scratch;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	void *scratch;

	if (!f || scratch_setup(&scratch))
		return -1;
	f->scratch = scratch;
	*state = f;
	return meta_open(f->scratch->places, false, &f->meta);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	void *scratch = f->scratch;

	meta_close(f->meta);
	free(f);
	return scratch_teardown(&scratch);
}

static void reopen(void **state, bool places_too)
{
	struct fixture *f = *state;

	f->meta = meta_close(f->meta);
	if (places_too) {
		scratch_close(f->scratch);
		scratch_open(f->scratch);
	}
	assert_int_equal(meta_open(f->scratch->places, false, &f->meta), 0);
}

static uint64_t next(void **state)
{
	return places_next_id(fixture_scratch(state)->places);
}

static struct meta_entry make(uint64_t parent, const char *name, enum meta_kind kind)
{
	struct meta_entry e = { .parent = parent, .kind = kind, .checked_ms = meta_now_ms() };

	snprintf(e.name, sizeof(e.name), "%s", name);
	if (kind == META_FILE)
		strcpy(e.etag, "etag");
	return e;
}

static uint64_t put(struct meta *meta, uint64_t parent, const char *name, enum meta_kind kind)
{
	struct meta_entry e = make(parent, name, kind);

	assert_int_equal(meta_insert(meta, &e), 0);
	assert_true(e.id > META_ROOT_ID);
	return e.id;
}

static void assert_path(struct meta *meta, uint64_t id, const char *expected)
{
	_cleanup_buf_ struct buf path = { 0 };

	assert_int_equal(meta_path(meta, id, &path), 0);
	assert_string_equal(path.data, expected);
}

static void test_root(void **state)
{
	struct meta *meta = meta_of(state);
	struct meta_entry root;

	assert_int_equal(meta_get(meta, META_ROOT_ID, &root), 0);
	assert_int_equal(root.kind, META_DIR);
	assert_string_equal(root.name, "");
	assert_path(meta, META_ROOT_ID, "");
	assert_int_equal(meta_remove(meta, META_ROOT_ID, 5, 5), -EBUSY);
	assert_int_equal(meta_move(meta, META_ROOT_ID, META_ROOT_ID, "x", 5, 5), -EBUSY);
	reopen(state, true);
	assert_int_equal(meta_get(meta_of(state), META_ROOT_ID, &root), 0);
	assert_null(meta_close(NULL));
}

static void test_fields(void **state)
{
	struct meta *meta = meta_of(state);
	struct meta_entry e = make(META_ROOT_ID, "a", META_FILE), got;

	e.flags = META_MTIME_OWN;
	e.size_bytes = INT64_MAX;
	e.mtime_ns = -1;
	e.seq = next(state);
	e.listed_seq = 5;
	e.listed_ms = 6;
	memset(e.etag, 'e', sizeof(e.etag) - 1);
	e.etag[sizeof(e.etag) - 1] = '\0';
	assert_int_equal(meta_insert(meta, &e), 0);
	assert_int_equal(meta_get(meta, e.id, &got), 0);
	assert_int_equal(got.id, e.id);
	assert_int_equal(got.parent, META_ROOT_ID);
	assert_int_equal(got.kind, META_FILE);
	assert_int_equal(got.flags, META_MTIME_OWN);
	assert_true(got.size_bytes == INT64_MAX && got.mtime_ns == -1);
	assert_true(got.checked_ms == e.checked_ms && got.seq == e.seq);
	assert_true(got.listed_seq == 5 && got.listed_ms == 6);
	assert_string_equal(got.etag, e.etag);
	assert_string_equal(got.name, "a");

	got.size_bytes = 7;
	strcpy(got.etag, "other");
	strcpy(got.name, "ignored");
	assert_int_equal(meta_update(meta, &got), 0);
	assert_int_equal(meta_find(meta, META_ROOT_ID, "a", &got), 0);
	assert_int_equal(got.size_bytes, 7);
	assert_string_equal(got.etag, "other");
	got.id = 999999999;
	assert_int_equal(meta_update(meta, &got), -ENOENT);
}

static void test_unknown(void **state)
{
	struct meta *meta = meta_of(state);
	struct meta_entry e = { .id = 4711 };
	_cleanup_buf_ struct buf path = { 0 };

	assert_int_equal(meta_get(meta, 999, &e), -ENOENT);
	assert_int_equal(meta_find(meta, META_ROOT_ID, "none", &e), -ENODATA);
	assert_int_equal(meta_find(meta, 0, "none", &e), -ENODATA);
	assert_int_equal(e.id, 4711);
	assert_int_equal(meta_path(meta, 999, &path), -ENOENT);
	assert_int_equal(meta_remove(meta, 999, 5, 5), -ENOENT);
	assert_int_equal(meta_move(meta, 999, META_ROOT_ID, "x", 5, 5), -ENOENT);
}

static void test_names_are_bytes(void **state)
{
	struct meta *meta = meta_of(state);
	char longest[META_NAME_MAX + 2];
	struct meta_entry e;

	uint64_t lower = put(meta, META_ROOT_ID, "n\xc3\xa4me", META_FILE);
	uint64_t bad = put(meta, META_ROOT_ID, "\xff\xfe\x01\n", META_FILE);
	uint64_t upper = put(meta, META_ROOT_ID, "N\xc3\xa4ME", META_FILE);
	put(meta, META_ROOT_ID, "%s'\"; DROP TABLE entries; --", META_FILE);
	assert_int_equal(meta_find(meta, META_ROOT_ID, "\xff\xfe\x01\n", &e), 0);
	assert_int_equal(e.id, bad);
	assert_string_equal(e.name, "\xff\xfe\x01\n");
	assert_int_equal(meta_find(meta, META_ROOT_ID, "n\xc3\xa4me", &e), 0);
	assert_int_equal(e.id, lower);
	assert_true(lower != upper);

	memset(longest, 'x', sizeof(longest));
	longest[META_NAME_MAX] = '\0';
	put(meta, META_ROOT_ID, longest, META_FILE);
	assert_int_equal(meta_find(meta, META_ROOT_ID, longest, &e), 0);
	assert_string_equal(e.name, longest);
	longest[META_NAME_MAX] = 'x';
	longest[META_NAME_MAX + 1] = '\0';
	assert_int_equal(meta_move(meta, lower, META_ROOT_ID, longest, 5, 5), -ENAMETOOLONG);

	e = make(META_ROOT_ID, "", META_FILE);
	assert_int_equal(meta_insert(meta, &e), -EINVAL);
	e = make(META_ROOT_ID, "a/b", META_FILE);
	assert_int_equal(meta_insert(meta, &e), -EINVAL);
	e = make(0, "a", META_FILE);
	assert_int_equal(meta_insert(meta, &e), -EINVAL);
	assert_int_equal(e.id, 0);
}

/* M2 */
static void test_replacing(void **state)
{
	struct meta *meta = meta_of(state);
	struct meta_entry e;
	_cleanup_buf_ struct buf path = { 0 };

	uint64_t first = put(meta, META_ROOT_ID, "a", META_FILE);
	uint64_t second = put(meta, META_ROOT_ID, "a", META_FILE);
	assert_true(second > first);
	assert_int_equal(meta_find(meta, META_ROOT_ID, "a", &e), 0);
	assert_int_equal(e.id, second);
	assert_int_equal(meta_get(meta, first, &e), 0);
	assert_int_equal(e.parent, 0);
	assert_int_equal(meta_path(meta, first, &path), -ESTALE);
	/* A detached one can still be changed: somebody has it open. */
	e.size_bytes = 3;
	assert_int_equal(meta_update(meta, &e), 0);

	uint64_t absent = put(meta, META_ROOT_ID, "b", META_ABSENT);
	put(meta, META_ROOT_ID, "b", META_FILE);
	assert_int_equal(meta_get(meta, absent, &e), -ENOENT);

	/* An id that is taken, once by itself: nothing changes. */
	e = make(META_ROOT_ID, "a", META_FILE);
	e.id = first;
	assert_int_equal(meta_insert(meta, &e), -EEXIST);
	assert_int_equal(meta_find(meta, META_ROOT_ID, "a", &e), 0);
	assert_int_equal(e.id, second);
}

static void test_paths(void **state)
{
	struct meta *meta = meta_of(state);
	_cleanup_buf_ struct buf path = { 0 };

	uint64_t a = put(meta, META_ROOT_ID, "a", META_DIR);
	uint64_t b = put(meta, a, "b", META_DIR);
	uint64_t c = put(meta, b, "c", META_FILE);
	assert_path(meta, a, "a");
	assert_path(meta, c, "a/b/c");
	assert_int_equal(buf_add_str(&path, "before/"), 0);
	assert_int_equal(meta_path(meta, c, &path), 0);
	assert_string_equal(path.data, "before/a/b/c");
	assert_int_equal(meta_move(meta, b, META_ROOT_ID, "z", next(state), 5), 0);
	assert_path(meta, c, "z/c");
	assert_int_equal(meta_remove(meta, b, next(state), 5), 0);
	assert_int_equal(meta_path(meta, c, &path), -ESTALE);
	assert_string_equal(path.data, "before/a/b/c");
}

static void test_removing(void **state)
{
	struct meta *meta = meta_of(state);
	uint64_t id = put(meta, META_ROOT_ID, "a", META_FILE), seq = next(state);
	struct meta_entry e;
	bool has = true;

	assert_int_equal(meta_remove(meta, id, seq, 1234), 0);
	assert_int_equal(meta_get(meta, id, &e), 0);
	assert_int_equal(e.parent, 0);
	assert_int_equal(meta_find(meta, META_ROOT_ID, "a", &e), 0);
	assert_int_equal(e.kind, META_ABSENT);
	assert_true(e.seq == seq && e.checked_ms == 1234 && e.id > id);
	assert_int_equal(meta_remove(meta, id, seq, 1234), -ENOENT);
	assert_int_equal(meta_remove(meta, e.id, seq, 1234), -ENOENT);
	assert_int_equal(meta_move(meta, id, META_ROOT_ID, "b", seq, 1234), -ENOENT);
	assert_int_equal(meta_has_children(meta, META_ROOT_ID, &has), 0);
	assert_false(has);
}

static void test_moving(void **state)
{
	struct meta *meta = meta_of(state);
	uint64_t d = put(meta, META_ROOT_ID, "d", META_DIR);
	uint64_t a = put(meta, META_ROOT_ID, "a", META_FILE);
	uint64_t b = put(meta, d, "b", META_FILE);
	uint64_t seq = next(state);
	struct meta_entry e;

	assert_int_equal(meta_move(meta, a, d, "b", seq, 77), 0);
	assert_int_equal(meta_find(meta, d, "b", &e), 0);
	assert_true(e.id == a && e.seq == seq);
	assert_int_equal(meta_get(meta, b, &e), 0);
	assert_int_equal(e.parent, 0);
	assert_int_equal(meta_find(meta, META_ROOT_ID, "a", &e), 0);
	assert_true(e.kind == META_ABSENT && e.seq == seq && e.checked_ms == 77);

	/* Onto itself; back onto the tombstone. */
	assert_int_equal(meta_move(meta, a, d, "b", next(state), 78), 0);
	assert_int_equal(meta_find(meta, d, "b", &e), 0);
	assert_int_equal(e.id, a);
	assert_int_equal(meta_move(meta, a, META_ROOT_ID, "a", next(state), 79), 0);
	assert_path(meta, a, "a");

	/* Nowhere. */
	uint64_t below = put(meta, d, "below", META_DIR);
	assert_int_equal(meta_move(meta, d, below, "x", next(state), 80), -EINVAL);
	assert_int_equal(meta_move(meta, d, d, "x", next(state), 80), -EINVAL);
	assert_int_equal(meta_move(meta, d, a, "x", next(state), 80), -ENOTDIR);
	assert_int_equal(meta_move(meta, a, 999999, "x", next(state), 80), -ENOENT);
	assert_int_equal(meta_remove(meta, d, next(state), 81), 0);
	assert_int_equal(meta_move(meta, a, below, "x", next(state), 80), -ENOENT);
	assert_path(meta, a, "a");
}

static void test_children(void **state)
{
	struct meta *meta = meta_of(state);
	uint64_t d = put(meta, META_ROOT_ID, "d", META_DIR), last = 0;
	struct meta_entry entries[7];
	unsigned count = 99, total = 0;
	bool has;
	char name[16];

	assert_int_equal(meta_has_children(meta, d, &has), 0);
	assert_false(has);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "f%d", 20 - i);
		put(meta, d, name, i % 5 ? META_FILE : META_DIR);
	}
	put(meta, d, "absent", META_ABSENT);
	put(meta, META_ROOT_ID, "elsewhere", META_FILE);
	do {
		assert_int_equal(meta_children(meta, d, last, 7, entries, &count), 0);
		for (unsigned i = 0; i < count; i++) {
			assert_true(entries[i].id > last);
			assert_int_equal(entries[i].parent, d);
			last = entries[i].id;
		}
		total += count;
	} while (count);
	assert_int_equal(total, 20);
	assert_int_equal(meta_children(meta, d, UINT64_MAX, 7, entries, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(meta_has_children(meta, d, &has), 0);
	assert_true(has);
}

static uint64_t put_flags(void **state, uint64_t parent, const char *name, enum meta_kind kind,
			  unsigned flags)
{
	struct meta_entry e = make(parent, name, kind);

	e.flags = flags;
	e.seq = next(state);
	assert_int_equal(meta_insert(meta_of(state), &e), 0);
	return e.id;
}

static void test_rooted(void **state)
{
	struct meta *meta = meta_of(state);
	uint64_t a = put_flags(state, META_ROOT_ID, "a", META_DIR, META_LOCAL);
	uint64_t b = put_flags(state, a, "b", META_DIR, 0);
	uint64_t c = put_flags(state, b, "c", META_DIR, META_LOCAL | META_MARKER);
	uint64_t d = put_flags(state, c, "d", META_DIR, META_LOCAL);
	uint64_t before = next(state);
	struct meta_entry e;

	assert_int_equal(meta_rooted(meta, d), 0);
	assert_int_equal(meta_get(meta, d, &e), 0);
	assert_true(e.flags == 0 && e.seq > before);
	assert_int_equal(meta_get(meta, c, &e), 0);
	assert_int_equal(e.flags, META_MARKER);
	assert_int_equal(meta_get(meta, a, &e), 0);
	assert_int_equal(e.flags, META_LOCAL); /* up to the first without */
	assert_int_equal(meta_rooted(meta, META_ROOT_ID), 0);
	assert_int_equal(meta_rooted(meta, 987654), -ENOENT);
}

/* What meta_open drops, and what it keeps. */
static void test_reopening(void **state)
{
	uint64_t d = put_flags(state, META_ROOT_ID, "d", META_DIR, 0);
	uint64_t f = put_flags(state, d, "f", META_FILE, META_MTIME_OWN);
	uint64_t local = put_flags(state, META_ROOT_ID, "local", META_DIR, META_LOCAL);
	uint64_t below = put_flags(state, local, "below", META_FILE, 0);
	uint64_t gone = put_flags(state, d, "gone", META_FILE, 0);
	uint64_t calm = put_flags(state, META_ROOT_ID, "calm", META_DIR, 0);
	uint64_t ids[] = { META_ROOT_ID, d, calm };
	struct meta_entry e, old;

	for (int i = 0; i < 3; i++) {
		uint64_t began = meta_listing_begin(meta_of(state));
		assert_int_equal(meta_get(meta_of(state), ids[i], &e), 0);
		e.listed_seq = began;
		e.listed_ms = meta_now_ms();
		assert_int_equal(meta_update(meta_of(state), &e), 0);
	}
	assert_int_equal(meta_remove(meta_of(state), gone, next(state), 5), 0);
	assert_int_equal(meta_get(meta_of(state), f, &old), 0);
	uint64_t last = next(state);
	reopen(state, true);

	struct meta *meta = meta_of(state);
	assert_int_equal(meta_get(meta, f, &e), 0);
	assert_true(e.parent == d && e.kind == META_FILE && e.flags == META_MTIME_OWN);
	assert_true(e.checked_ms == old.checked_ms && e.seq == old.seq);
	assert_string_equal(e.name, "f");
	assert_string_equal(e.etag, "etag");
	assert_int_equal(meta_get(meta, gone, &e), -ENOENT);
	assert_int_equal(meta_get(meta, local, &e), -ENOENT);
	assert_int_equal(meta_get(meta, below, &e), -ENOENT);
	assert_int_equal(meta_find(meta, d, "gone", &e), -ENODATA);
	/* The bucket may have what we had not finished to change. */
	assert_int_equal(meta_get(meta, META_ROOT_ID, &e), 0);
	assert_int_equal(e.listed_seq, 0);
	assert_int_equal(meta_get(meta, d, &e), 0);
	assert_int_equal(e.listed_seq, 0);
	assert_int_equal(meta_get(meta, calm, &e), 0);
	assert_true(e.listed_seq > 0);
	assert_true(put(meta, d, "gone", META_FILE) > last);
}

/* M1: also where the state directory was lost. */
static void test_ids_outlive_the_state(void **state)
{
	struct scratch *s = fixture_scratch(state);
	uint64_t id = put(meta_of(state), META_ROOT_ID, "a", META_FILE), seq;
	struct meta_entry e;
	struct fixture *f = *state;

	for (int i = 0; i < 5000; i++)
		next(state);
	seq = meta_listing_begin(f->meta);
	assert_int_equal(meta_listing_end(f->meta, META_ROOT_ID, seq, meta_now_ms() - 5000), 0);
	f->meta = meta_close(f->meta);
	scratch_close(s);
	scratch_remove_tree(s->state);
	scratch_open(s);
	assert_int_equal(meta_open(s->places, false, &f->meta), 0);
	assert_true(next(state) > seq);
	assert_int_equal(meta_get(f->meta, META_ROOT_ID, &e), 0);
	assert_int_equal(e.listed_seq, seq);
	assert_true(put(f->meta, META_ROOT_ID, "b", META_FILE) > id);
}

static void test_survives_a_kill(void **state)
{
	struct fixture *f = *state;
	struct meta_entry e;
	int status;

	f->meta = meta_close(f->meta);
	pid_t child = fork();
	if (child == 0) {
		if (meta_open(f->scratch->places, false, &f->meta))
			_exit(1);
		put(f->meta, META_ROOT_ID, "a", META_FILE);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(meta_open(f->scratch->places, false, &f->meta), 0);
	assert_int_equal(meta_find(f->meta, META_ROOT_ID, "a", &e), 0);
}

static void test_damage_is_set_aside(void **state)
{
	struct fixture *f = *state;
	struct scratch *s = f->scratch;
	char junk[8192];
	struct meta_entry e;

	put(f->meta, META_ROOT_ID, "a", META_FILE);
	f->meta = meta_close(f->meta);
	memset(junk, 0x5a, sizeof(junk));
	scratch_write(s->cache, "cache.db", junk, sizeof(junk));
	assert_int_equal(meta_open(s->places, false, &f->meta), 0);
	assert_true(scratch_exists(s->cache, "cache.db.damaged"));
	assert_int_equal(meta_find(f->meta, META_ROOT_ID, "a", &e), -ENODATA);
	put(f->meta, META_ROOT_ID, "a", META_FILE);
	reopen(state, true);
	assert_int_equal(meta_find(f->meta, META_ROOT_ID, "a", &e), 0);
}

/* The header is well, a page within is not: met in use at the latest, and gone
 * with the next mount. */
static void test_damage_within(void **state)
{
	struct fixture *f = *state;
	struct scratch *s = f->scratch;
	struct meta_entry e;
	char name[32], path[256], junk[4096];
	bool met = false;

	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "name-%d", i);
		put(f->meta, META_ROOT_ID, name, META_FILE);
	}
	f->meta = meta_close(f->meta);
	snprintf(path, sizeof(path), "%s/cache.db", s->cache);
	FILE *db = fopen(path, "r+");
	memset(junk, 0xa5, sizeof(junk));
	for (int page = 12; page < 100; page += 3) {
		fseek(db, page * 4096L, SEEK_SET);
		fwrite(junk, sizeof(junk), 1, db);
	}
	fclose(db);
	for (int mounts = 0; mounts < 2; mounts++) {
		assert_int_equal(meta_open(s->places, false, &f->meta), 0);
		for (int i = 0; i < 3000; i++) {
			snprintf(name, sizeof(name), "name-%d", i);
			int r = meta_find(f->meta, META_ROOT_ID, name, &e);
			if (!r)
				assert_string_equal(e.name, name);
			else if (r == -EUCLEAN)
				met = true;
			else
				assert_int_equal(r, -ENODATA);
		}
		if (mounts == 0)
			f->meta = meta_close(f->meta);
	}
	assert_true(met || scratch_exists(s->cache, "cache.db.damaged"));
	assert_true(scratch_exists(s->cache, "cache.db.damaged"));
	assert_false(scratch_exists(s->cache, "cache.db.suspect"));
	put(f->meta, META_ROOT_ID, "a", META_FILE);
}

static void test_a_crash_of_the_machine(void **state)
{
	struct fixture *f = *state;
	struct scratch *s = f->scratch;
	struct meta_entry e;

	put(f->meta, META_ROOT_ID, "a", META_FILE);
	f->meta = meta_close(f->meta);
	scratch_close(s);
	scratch_write(s->cache, "boot", "another\n", 8);
	scratch_open(s);
	assert_int_equal(meta_open(s->places, false, &f->meta), 0);
	assert_int_equal(meta_find(f->meta, META_ROOT_ID, "a", &e), -ENODATA);
	assert_false(places_unclean_boot(s->places));
	put(f->meta, META_ROOT_ID, "a", META_FILE);
	reopen(state, true);
	assert_int_equal(meta_find(f->meta, META_ROOT_ID, "a", &e), 0);
}

/* ---- threads ---- */

struct worker {
	struct scratch *scratch;
	struct meta *meta;
	uint64_t dir;
	int number;
	pthread_t thread;
	bool failed;
};

static int make_and_move(struct worker *w, int i)
{
	char name[32], other[32];
	_cleanup_buf_ struct buf path = { 0 };

	snprintf(name, sizeof(name), "w%d-%d", w->number, i);
	snprintf(other, sizeof(other), "w%d-moved", w->number);
	struct meta_entry e = make(w->dir, name, META_FILE), found;
	e.flags = META_LOCAL; /* the listings of the others do not know it */
	int r = meta_insert(w->meta, &e);
	if (!r)
		r = meta_find(w->meta, w->dir, name, &found);
	if (!r && found.id != e.id)
		r = -EIO;
	if (!r)
		r = meta_path(w->meta, e.id, &path);
	if (!r)
		r = meta_move(w->meta, e.id, META_ROOT_ID, other, places_next_id(w->scratch->places),
			      meta_now_ms());
	if (!r && i % 3 == 0)
		r = meta_remove(w->meta, e.id, places_next_id(w->scratch->places), meta_now_ms());
	return r;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	static const struct meta_listed listed[] = { { .name = "x", .kind = META_FILE, .etag = "1" } };

	for (int i = 0; i < 200 && !w->failed; i++) {
		uint64_t began = meta_listing_begin(w->meta);
		int64_t began_ms = meta_now_ms();
		w->failed = make_and_move(w, i) ||
			    meta_listing_page(w->meta, w->dir, began, began_ms, listed, 1) ||
			    meta_listing_end(w->meta, w->dir, began, began_ms);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct worker workers[4];
	struct meta_entry e;
	uint64_t dir = put(meta_of(state), META_ROOT_ID, "dir", META_DIR);

	for (int i = 0; i < 4; i++) {
		workers[i] = (struct worker){ fixture_scratch(state), meta_of(state), dir, i };
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < 4; i++)
		assert_false(workers[i].failed);
	assert_int_equal(meta_find(meta_of(state), dir, "x", &e), 0);
	assert_int_equal(e.kind, META_FILE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_root),
		TEST(test_fields),
		TEST(test_unknown),
		TEST(test_names_are_bytes),
		TEST(test_replacing),
		TEST(test_paths),
		TEST(test_removing),
		TEST(test_moving),
		TEST(test_children),
		TEST(test_rooted),
		TEST(test_reopening),
		TEST(test_ids_outlive_the_state),
		TEST(test_survives_a_kill),
		TEST(test_damage_is_set_aside),
		TEST(test_damage_within),
		TEST(test_a_crash_of_the_machine),
		TEST(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
