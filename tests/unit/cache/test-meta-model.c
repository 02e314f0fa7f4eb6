/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * test-meta-model - M1 to M5 under random changes and random listings.
 *
 * One directory with few names.  In each round a listing of a random bucket, in
 * random order over several pages, is interleaved with changes of our own.  What
 * must come out is reckoned from three things only: what was known before, what
 * the pages said in all, and which names we changed meanwhile.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/meta.h"
#include "scratch.h"

#define NAMES 8
#define ROUNDS 400
#define ETAGS 3

struct known {
	bool any; /* a row is there */
	struct meta_entry entry;
};

struct model {
	struct scratch *scratch;
	struct meta *meta;
	unsigned seed;
	uint64_t dir;
	struct known before[NAMES];
	struct known ours[NAMES]; /* any: changed by us since the listing began */
	enum meta_kind said[NAMES];
	char etag[NAMES][8]; /* of what was said last as a file */
};

static unsigned roll(struct model *m, unsigned sides)
{
	return (unsigned)rand_r(&m->seed) % sides;
}

static const char *name_of(unsigned i)
{
	static const char *const names[NAMES] = { "a", "b", "c", "dd", "\xff", "e e", "f.f", "gggg" };

	return names[i];
}

static struct known look(struct model *m, unsigned i)
{
	struct known k = { 0 };
	int r = meta_find(m->meta, m->dir, name_of(i), &k.entry);

	assert_true(r == 0 || r == -ENODATA);
	k.any = r == 0;
	return k;
}

static uint64_t next(struct model *m)
{
	return places_next_id(m->scratch->places);
}

/* ---- changes of our own ---- */

static void put(struct model *m, unsigned i, enum meta_kind kind, unsigned flags)
{
	struct meta_entry e = { .parent = m->dir, .kind = kind, .flags = flags, .seq = next(m) };
	uint64_t newest = next(m);

	snprintf(e.name, sizeof(e.name), "%s", name_of(i));
	if (kind == META_FILE)
		snprintf(e.etag, sizeof(e.etag), "%u", roll(m, ETAGS));
	assert_int_equal(meta_insert(m->meta, &e), 0);
	assert_true(e.id > newest); /* M1 */
}

static void change(struct model *m, unsigned i)
{
	struct known now = look(m, i);

	if (!now.any)
		return;
	snprintf(now.entry.etag, sizeof(now.entry.etag), "own%u", roll(m, 1000));
	now.entry.seq = next(m);
	if (now.entry.kind == META_FILE)
		now.entry.flags &= ~(unsigned)META_LOCAL;
	assert_int_equal(meta_update(m->meta, &now.entry), 0);
	assert_int_equal(look(m, i).entry.id, now.entry.id); /* M4 */
}

static void move(struct model *m, unsigned from, unsigned to)
{
	struct known source = look(m, from), target = look(m, to);
	struct meta_entry e;

	int r = meta_move(m->meta, source.any ? source.entry.id : 987654321, m->dir, name_of(to),
			  next(m), meta_now_ms());
	if (!source.any || source.entry.kind == META_ABSENT) {
		assert_int_equal(r, -ENOENT);
		return;
	}
	assert_int_equal(r, 0);
	assert_int_equal(look(m, to).entry.id, source.entry.id);
	if (from == to)
		return;
	assert_int_equal(look(m, from).entry.kind, META_ABSENT);
	if (target.any && target.entry.kind != META_ABSENT) {
		assert_int_equal(meta_get(m->meta, target.entry.id, &e), 0);
		assert_int_equal(e.parent, 0);
	}
	m->ours[from] = look(m, from);
}

static void remove_name(struct model *m, unsigned i)
{
	struct known now = look(m, i);
	bool there = now.any && now.entry.kind != META_ABSENT;

	assert_int_equal(meta_remove(m->meta, now.any ? now.entry.id : 987654321, next(m), 5),
			 there ? 0 : -ENOENT);
	if (there)
		assert_int_equal(look(m, i).entry.kind, META_ABSENT);
}

static void change_something(struct model *m)
{
	unsigned i = roll(m, NAMES);
	struct known before = look(m, i);

	switch (roll(m, 6)) {
	case 0:
		put(m, i, META_FILE, roll(m, 2) ? META_LOCAL : 0);
		break;
	case 1:
		put(m, i, META_DIR, roll(m, 2) ? META_LOCAL : 0);
		break;
	case 2:
		put(m, i, META_ABSENT, 0);
		break;
	case 3:
		change(m, i);
		break;
	case 4:
		move(m, roll(m, NAMES), i);
		break;
	default:
		remove_name(m, i);
	}
	struct known now = look(m, i);
	if (now.any && (!before.any || now.entry.seq != before.entry.seq))
		m->ours[i] = now;
}

/* ---- the listing ---- */

static void say(struct model *m, uint64_t began, int64_t began_ms)
{
	struct meta_listed listed[4] = { 0 };
	unsigned count = roll(m, 5);
	char etags[4][8];

	for (unsigned k = 0; k < count; k++) {
		unsigned i = roll(m, NAMES);
		bool dir = roll(m, 3) == 0;
		/* An object has one ETag in one listing. */
		snprintf(etags[k], sizeof(etags[k]), "%s", m->etag[i]);
		listed[k] = (struct meta_listed){
			.name = name_of(i),
			.kind = dir ? META_DIR : META_FILE,
			.etag = dir ? NULL : etags[k],
		};
		if (m->said[i] != META_DIR)
			m->said[i] = listed[k].kind;
	}
	assert_int_equal(meta_listing_page(m->meta, m->dir, began, began_ms, listed, count), 0);
}

static void assert_same(const struct known *a, const struct known *b)
{
	assert_int_equal(a->any, b->any);
	if (!a->any)
		return;
	assert_int_equal(a->entry.id, b->entry.id);
	assert_int_equal(a->entry.kind, b->entry.kind);
	assert_int_equal(a->entry.seq, b->entry.seq);
	assert_string_equal(a->entry.etag, b->entry.etag);
}

static void check_heard(struct model *m, unsigned i, const struct known *now)
{
	const struct known *before = &m->before[i];
	bool same_kind = before->any && before->entry.kind == m->said[i];

	if (m->said[i] == META_ABSENT) {
		assert_true(!now->any || now->entry.kind == META_ABSENT);
		return;
	}
	assert_true(now->any);
	assert_int_equal(now->entry.kind, m->said[i]);
	if (m->said[i] == META_FILE)
		assert_string_equal(now->entry.etag, m->etag[i]);
	if (same_kind && (m->said[i] == META_DIR || !strcmp(before->entry.etag, m->etag[i])))
		assert_int_equal(now->entry.id, before->entry.id);
	else /* M4; a file may make way for the directory within one listing */
		assert_true(!before->any || now->entry.id > before->entry.id);
}

static void check_name(struct model *m, unsigned i)
{
	struct known now = look(m, i);
	const struct known *before = &m->before[i];

	if (m->ours[i].any) /* M3 */
		assert_same(&now, &m->ours[i]);
	else if (before->any && (before->entry.flags & META_LOCAL) &&
		 (before->entry.kind != META_DIR || m->said[i] != META_DIR)) /* M5 */
		assert_same(&now, before);
	else
		check_heard(m, i, &now);
}

/* M2, and that children are what can be found. */
static void check_children(struct model *m)
{
	struct meta_entry entries[NAMES + 1];
	unsigned count, expected = 0;

	for (unsigned i = 0; i < NAMES; i++) {
		struct known now = look(m, i);
		expected += now.any && now.entry.kind != META_ABSENT;
	}
	assert_int_equal(meta_children(m->meta, m->dir, 0, NAMES + 1, entries, &count), 0);
	assert_int_equal(count, expected);
	for (unsigned i = 1; i < count; i++)
		assert_true(entries[i].id > entries[i - 1].id);
}

static void round_of(struct model *m)
{
	struct meta_entry dir;

	for (unsigned i = roll(m, 4); i; i--)
		change_something(m);
	uint64_t began = meta_listing_begin(m->meta);
	int64_t began_ms = meta_now_ms() + 1000; /* only numbers decide here */
	for (unsigned i = 0; i < NAMES; i++) {
		m->before[i] = look(m, i);
		m->ours[i].any = false;
		m->said[i] = META_ABSENT;
		snprintf(m->etag[i], sizeof(m->etag[i]), "%u", roll(m, ETAGS));
	}
	for (unsigned pages = roll(m, 4); pages; pages--) {
		say(m, began, began_ms);
		while (roll(m, 2))
			change_something(m);
	}
	assert_int_equal(meta_listing_end(m->meta, m->dir, began, began_ms), 0);
	for (unsigned i = 0; i < NAMES; i++)
		check_name(m, i);
	check_children(m);
	assert_int_equal(meta_get(m->meta, m->dir, &dir), 0);
	assert_int_equal(dir.listed_seq, began);
}

static void test_at_random(void **state)
{
	struct model m = { .scratch = scratch_of(state) };
	const char *seed = getenv("TARDIGRADEFS_SEED");

	m.seed = seed ? (unsigned)atoi(seed) : 1;
	assert_int_equal(meta_open(m.scratch->places, false, &m.meta), 0);
	struct meta_entry e = { .parent = META_ROOT_ID, .kind = META_DIR, .name = "dir" };
	assert_int_equal(meta_insert(m.meta, &e), 0);
	m.dir = e.id;
	for (int i = 0; i < ROUNDS; i++) {
		round_of(&m);
		if (i % 50 == 49) {
			m.meta = meta_close(m.meta);
			assert_int_equal(meta_open(m.scratch->places, false, &m.meta), 0);
			check_children(&m);
		}
	}
	meta_close(m.meta);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_at_random, scratch_setup, scratch_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
