/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * test-meta-listing - what a listing may change, and what beats it.
 *
 * began_ms of the listings here is now, and rows were checked a minute before,
 * unless the test is about just that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/meta.h"
#include "scratch.h"

struct fixture {
	struct scratch *scratch;
	struct meta *meta;
	uint64_t dir;
	uint64_t began;
	int64_t began_ms;
};

static uint64_t put_row(struct fixture *f, uint64_t parent, const char *name,
			enum meta_kind kind, const char *etag, unsigned flags, uint64_t seq)
{
	struct meta_entry e = { .parent = parent, .kind = kind, .flags = flags, .seq = seq };

	e.checked_ms = meta_now_ms() - 60000;
	snprintf(e.name, sizeof(e.name), "%s", name);
	snprintf(e.etag, sizeof(e.etag), "%s", etag);
	assert_int_equal(meta_insert(f->meta, &e), 0);
	return e.id;
}

static uint64_t put_file(struct fixture *f, const char *name, const char *etag)
{
	return put_row(f, f->dir, name, META_FILE, etag, 0, 0);
}

static uint64_t put_dir(struct fixture *f, const char *name)
{
	return put_row(f, f->dir, name, META_DIR, "", 0, 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	void *scratch;

	if (!f || scratch_setup(&scratch))
		return -1;
	f->scratch = scratch;
	*state = f;
	int r = meta_open(f->scratch->places, false, &f->meta);
	f->dir = put_row(f, META_ROOT_ID, "dir", META_DIR, "", 0, 0);
	return r;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	void *scratch = f->scratch;

	meta_close(f->meta);
	free(f);
	return scratch_teardown(&scratch);
}

static uint64_t next(struct fixture *f)
{
	return places_next_id(f->scratch->places);
}

static void begin(struct fixture *f)
{
	f->began = meta_listing_begin(f->meta);
	f->began_ms = meta_now_ms();
	assert_true(f->began);
}

/* "name=etag" is a file, "name/" a directory. */
static int page_of(struct fixture *f, uint64_t dir, const char *const *words, size_t count)
{
	struct meta_listed listed[16] = { 0 };
	char texts[16][300];

	for (size_t i = 0; i < count; i++) {
		snprintf(texts[i], sizeof(texts[i]), "%s", words[i]);
		size_t name = strcspn(texts[i], "=/");
		bool file = texts[i][name] == '=';
		texts[i][name] = '\0';
		listed[i] = (struct meta_listed){
			.name = texts[i],
			.kind = file ? META_FILE : META_DIR,
			.size_bytes = file ? 100 : 0,
			.mtime_ns = file ? 1000 : 0,
			.etag = file ? texts[i] + name + 1 : NULL,
		};
	}
	return meta_listing_page(f->meta, dir, f->began, f->began_ms, listed, count);
}

#define PAGE(f, ...)                                                                         \
	assert_int_equal(page_of(f, (f)->dir, (const char *const[]){ __VA_ARGS__ },          \
				 sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *)), \
			 0)

static void end(struct fixture *f)
{
	assert_int_equal(meta_listing_end(f->meta, f->dir, f->began, f->began_ms), 0);
}

static struct meta_entry find(struct fixture *f, const char *name)
{
	struct meta_entry e;

	assert_int_equal(meta_find(f->meta, f->dir, name, &e), 0);
	return e;
}

static struct meta_entry get(struct fixture *f, uint64_t id)
{
	struct meta_entry e;

	assert_int_equal(meta_get(f->meta, id, &e), 0);
	return e;
}

static void assert_is(struct fixture *f, const char *name, uint64_t id, enum meta_kind kind)
{
	struct meta_entry e = find(f, name);

	assert_int_equal(e.id, id);
	assert_int_equal(e.kind, kind);
}

static void assert_kind(struct fixture *f, const char *name, enum meta_kind kind)
{
	assert_int_equal(find(f, name).kind, kind);
}

static void test_a_first_listing(void **state)
{
	struct fixture *f = *state;
	struct meta_entry e;

	begin(f);
	PAGE(f, "a=1", "b/");
	PAGE(f, "c=2");
	assert_int_equal(get(f, f->dir).listed_seq, 0); /* not before the end */
	end(f);
	e = find(f, "a");
	assert_true(e.kind == META_FILE && e.size_bytes == 100 && e.mtime_ns == 1000);
	assert_true(e.checked_ms == f->began_ms && e.seq == 0 && e.flags == 0);
	assert_string_equal(e.etag, "1");
	assert_kind(f, "b", META_DIR);
	assert_kind(f, "c", META_FILE);
	e = get(f, f->dir);
	assert_true(e.listed_seq == f->began && e.listed_ms == f->began_ms);
}

/* M4 */
static void test_same_and_other_content(void **state)
{
	struct fixture *f = *state;
	uint64_t same = put_file(f, "same", "1"), other = put_file(f, "other", "1");
	uint64_t own = put_row(f, f->dir, "own", META_FILE, "1", META_MTIME_OWN, 0);
	uint64_t dir = put_row(f, f->dir, "sub", META_DIR, "", META_MARKER, 0);
	struct meta_entry e;

	begin(f);
	PAGE(f, "same=1", "other=2", "own=1", "sub/");
	end(f);
	e = find(f, "same");
	assert_true(e.id == same && e.mtime_ns == 1000 && e.checked_ms == f->began_ms);
	e = find(f, "own");
	assert_true(e.id == own && e.mtime_ns == 0 && e.flags == META_MTIME_OWN && e.size_bytes == 100);
	e = find(f, "other");
	assert_true(e.id > other && !strcmp(e.etag, "2"));
	e = get(f, other);
	assert_true(e.parent == 0 && !strcmp(e.etag, "1"));
	e = find(f, "sub");
	assert_true(e.id == dir && e.flags == META_MARKER && e.checked_ms == f->began_ms);
}

static void test_vanished(void **state)
{
	struct fixture *f = *state;
	uint64_t file = put_file(f, "file", "1"), dir = put_dir(f, "sub");
	uint64_t below = put_row(f, dir, "below", META_FILE, "1", 0, 0);
	uint64_t absent = put_row(f, f->dir, "absent", META_ABSENT, "", 0, 0);
	_cleanup_buf_ struct buf path = { 0 };
	bool has;

	begin(f);
	end(f);
	assert_kind(f, "file", META_ABSENT);
	assert_kind(f, "sub", META_ABSENT);
	assert_int_equal(get(f, file).parent, 0);
	assert_int_equal(get(f, dir).parent, 0);
	assert_int_equal(meta_path(f->meta, below, &path), -ESTALE);
	assert_true(find(f, "file").checked_ms == f->began_ms);
	assert_true(find(f, "absent").checked_ms == f->began_ms);
	assert_int_equal(find(f, "absent").id, absent);
	assert_int_equal(meta_has_children(f->meta, f->dir, &has), 0);
	assert_false(has);
	/* And back: it is another. */
	begin(f);
	PAGE(f, "file=1", "sub/");
	end(f);
	assert_true(find(f, "file").id > file);
	assert_true(find(f, "sub").id > dir);
}

static void test_not_ended(void **state)
{
	struct fixture *f = *state;
	uint64_t file = put_file(f, "file", "1");

	begin(f);
	PAGE(f, "a=1");
	assert_is(f, "file", file, META_FILE);
	begin(f);
	PAGE(f, "file=1");
	end(f);
	assert_is(f, "file", file, META_FILE);
	assert_kind(f, "a", META_ABSENT);
}

static void test_many_vanish(void **state)
{
	struct fixture *f = *state;
	struct meta_entry entries[16];
	unsigned count;
	char name[32];

	for (int i = 0; i < 1700; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		put_file(f, name, "1");
	}
	begin(f);
	PAGE(f, "n3=1", "n1699=1", "new=1");
	end(f);
	assert_int_equal(meta_children(f->meta, f->dir, 0, 16, entries, &count), 0);
	assert_int_equal(count, 3);
	assert_kind(f, "n1500", META_ABSENT);
}

/* M3, in every order of our change and the listing's steps. */
static void test_our_changes_win(void **state)
{
	static const char *const names[] = { "before-begin", "after-begin", "after-page" };
	struct fixture *f = *state;
	uint64_t file = 0;

	for (int when = 0; when < 3; when++) {
		char made[32], removed[32], changed[32];
		snprintf(made, sizeof(made), "made-%s", names[when]);
		snprintf(removed, sizeof(removed), "removed-%s", names[when]);
		snprintf(changed, sizeof(changed), "changed-%s", names[when]);
		uint64_t old = put_file(f, removed, "1");
		uint64_t id = put_file(f, changed, "1");

		for (int step = 0; step < 3; step++) {
			if (step == 1)
				begin(f);
			if (step == 2) {
				const char *words[3];
				char w[3][48];
				int n = 0;
				/* The bucket as it was before our changes, if they are later. */
				snprintf(w[0], sizeof(w[0]), "%s=1", removed);
				snprintf(w[1], sizeof(w[1]), "%s=1", changed);
				snprintf(w[2], sizeof(w[2]), "%s=9", changed);
				if (when == 0)
					words[n++] = w[2];
				else {
					words[n++] = w[0];
					words[n++] = w[1];
				}
				assert_int_equal(page_of(f, f->dir, words, n), 0);
			}
			if (step != when)
				continue;
			file = put_row(f, f->dir, made, META_FILE, "1", 0, next(f));
			/* What the page may have replaced. */
			old = find(f, removed).id;
			id = find(f, changed).id;
			assert_int_equal(meta_remove(f->meta, old, next(f), meta_now_ms()), 0);
			struct meta_entry e = get(f, id);
			strcpy(e.etag, "ours");
			e.seq = next(f);
			assert_int_equal(meta_update(f->meta, &e), 0);
		}
		end(f);
		assert_kind(f, removed, META_ABSENT);
		if (when == 0) { /* the listing is newer: it is believed */
			assert_kind(f, made, META_ABSENT);
			assert_string_equal(find(f, changed).etag, "9");
		} else {
			assert_is(f, made, file, META_FILE);
			assert_is(f, changed, id, META_FILE);
			assert_string_equal(find(f, changed).etag, "ours");
		}
	}
}

static void test_moves_win(void **state)
{
	struct fixture *f = *state;
	uint64_t id = put_file(f, "from", "1");

	begin(f);
	assert_int_equal(meta_move(f->meta, id, f->dir, "to", next(f), meta_now_ms()), 0);
	PAGE(f, "from=1");
	end(f);
	assert_kind(f, "from", META_ABSENT);
	assert_is(f, "to", id, META_FILE);
	/* The next knows. */
	begin(f);
	PAGE(f, "to=1");
	end(f);
	assert_is(f, "to", id, META_FILE);
}

/* M5 */
static void test_local(void **state)
{
	struct fixture *f = *state;
	uint64_t file = put_row(f, f->dir, "file", META_FILE, "", META_LOCAL, 0);
	uint64_t over = put_row(f, f->dir, "over", META_FILE, "", META_LOCAL, 0);
	uint64_t over_dir = put_row(f, f->dir, "over-dir", META_FILE, "", META_LOCAL, 0);
	uint64_t under = put_row(f, f->dir, "under", META_DIR, "", META_LOCAL, 0);
	uint64_t dir = put_row(f, f->dir, "sub", META_DIR, "", META_LOCAL, 0);
	uint64_t deleting = put_row(f, f->dir, "deleting", META_ABSENT, "", META_LOCAL, 0);

	begin(f);
	PAGE(f, "over=1", "over-dir/", "under=1", "deleting=1");
	end(f);
	assert_is(f, "file", file, META_FILE);
	assert_is(f, "over", over, META_FILE);
	assert_is(f, "over-dir", over_dir, META_FILE);
	assert_is(f, "under", under, META_DIR);
	assert_is(f, "sub", dir, META_DIR);
	assert_is(f, "deleting", deleting, META_ABSENT);
	assert_int_equal(find(f, "over").flags, META_LOCAL);
	assert_int_equal(find(f, "over").size_bytes, 0);
}

/* A directory that was emptied here, until the next mount. */
static void test_kept(void **state)
{
	struct fixture *f = *state;
	uint64_t kept = put_row(f, f->dir, "kept", META_DIR, "", META_KEPT, 0);
	uint64_t claimed = put_row(f, f->dir, "claimed", META_DIR, "", META_KEPT, 0);

	begin(f);
	PAGE(f, "claimed=1");
	end(f);
	assert_is(f, "kept", kept, META_DIR);
	assert_is(f, "claimed", claimed, META_DIR);
	begin(f);
	PAGE(f, "kept/");
	end(f);
	assert_int_equal(find(f, "kept").flags, META_KEPT);
	meta_close(f->meta);
	assert_int_equal(meta_open(f->scratch->places, false, &f->meta), 0);
	assert_int_equal(find(f, "kept").flags, 0);
	begin(f);
	end(f);
	assert_kind(f, "kept", META_ABSENT);
}

static void test_local_directory_is_listed(void **state)
{
	struct fixture *f = *state;
	uint64_t theirs = put_row(f, f->dir, "theirs", META_DIR, "", META_LOCAL, 0);
	uint64_t deleting = put_row(f, f->dir, "deleting", META_DIR, "", META_LOCAL, 0);
	struct meta_entry e = get(f, theirs);

	e.listed_seq = next(f);
	e.listed_ms = 5;
	assert_int_equal(meta_update(f->meta, &e), 0);
	uint64_t last = put_row(f, deleting, "last", META_FILE, "1", 0, 0);
	begin(f);
	assert_int_equal(meta_remove(f->meta, last, INT64_MAX, 5), 0);
	PAGE(f, "theirs/", "deleting/");
	end(f);
	/* Others have put something there: what, is not known. */
	e = find(f, "theirs");
	assert_true(e.id == theirs && e.flags == 0 && e.listed_seq == 0);
	/* What was listed is what we are deleting. */
	e = find(f, "deleting");
	assert_true(e.id == deleting && e.flags == META_LOCAL);
}

static void test_listing_a_local_directory(void **state)
{
	struct fixture *f = *state;
	uint64_t a = put_row(f, f->dir, "a", META_DIR, "", META_LOCAL, 0);

	f->dir = put_row(f, a, "b", META_DIR, "", META_LOCAL, 0);
	begin(f);
	end(f);
	assert_int_equal(get(f, a).flags, META_LOCAL);
	begin(f);
	PAGE(f, "x=1");
	end(f);
	assert_int_equal(get(f, a).flags, 0);
	assert_int_equal(get(f, f->dir).flags, 0);
}

/* A file and a directory of one name: the directory, in whatever order. */
static void test_directory_beats_file(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 3; round++) { /* unknown, known once, known twice */
		begin(f);
		PAGE(f, "one=1", "one/", "two/", "two=1");
		PAGE(f, "three=1", "four/");
		PAGE(f, "three/", "four=1");
		end(f);
		assert_kind(f, "one", META_DIR);
		assert_kind(f, "two", META_DIR);
		assert_kind(f, "three", META_DIR);
		assert_kind(f, "four", META_DIR);
	}
	/* A directory that is known keeps its id over that. */
	uint64_t three = find(f, "three").id, one = find(f, "one").id;
	begin(f);
	PAGE(f, "three=1", "one=1", "one/");
	PAGE(f, "three/");
	end(f);
	assert_is(f, "three", three, META_DIR);
	assert_is(f, "one", one, META_DIR);
	/* Now it is a file only. */
	begin(f);
	PAGE(f, "three=1", "one=1");
	assert_is(f, "three", three, META_DIR);
	end(f);
	assert_kind(f, "three", META_FILE);
	assert_string_equal(find(f, "three").etag, "1");
	assert_int_equal(get(f, three).parent, 0);
	assert_kind(f, "one", META_FILE);
}

/* Claims of a listing that was not ended are not heard by another. */
static void test_claims_die(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = put_dir(f, "x");

	begin(f);
	PAGE(f, "x=1");
	begin(f);
	PAGE(f, "x/");
	end(f);
	assert_is(f, "x", dir, META_DIR);
	begin(f);
	PAGE(f, "x=2");
	end(f);
	assert_string_equal(find(f, "x").etag, "2");
}

/* Two listings of one directory at once. */
static void test_two_at_once(void **state)
{
	struct fixture *f = *state;
	uint64_t both = put_file(f, "both", "1"), old = put_file(f, "old", "1");
	struct fixture late;

	begin(f); /* the older */
	late = *f;
	begin(&late);
	PAGE(&late, "both=1", "new=2", "changed=2");
	PAGE(f, "both=1", "old=1", "changed=1", "mine=1");
	assert_is(f, "both", both, META_FILE);
	assert_string_equal(find(f, "changed").etag, "2");
	end(&late);
	assert_kind(f, "old", META_ABSENT);
	assert_kind(f, "mine", META_ABSENT);
	assert_kind(f, "new", META_FILE);
	/* The older comes late: it is not heard any more. */
	PAGE(f, "old=1", "later=1");
	end(f);
	assert_kind(f, "old", META_ABSENT);
	assert_kind(f, "new", META_FILE);
	assert_int_equal(get(f, old).parent, 0);
	assert_int_equal(get(f, f->dir).listed_seq, late.began);
	struct meta_entry e;
	assert_int_equal(meta_find(f->meta, f->dir, "later", &e), -ENODATA);
}

static void test_two_at_once_older_ends_first(void **state)
{
	struct fixture *f = *state;
	struct fixture late;
	uint64_t gone = put_file(f, "gone", "1");

	begin(f);
	late = *f;
	begin(&late);
	PAGE(&late, "new=2");
	PAGE(f, "gone=1");
	end(f);
	/* The older does not know "new", but the later said so. */
	assert_kind(f, "new", META_FILE);
	assert_is(f, "gone", gone, META_FILE);
	end(&late);
	assert_kind(f, "new", META_FILE);
	assert_kind(f, "gone", META_ABSENT);
}

/* M6: somebody asked for the very name after the listing had begun. */
static void test_checked_later(void **state)
{
	struct fixture *f = *state;
	uint64_t sub = put_dir(f, "sub");

	begin(f);
	f->began_ms -= 10000;
	struct meta_entry e = { .parent = f->dir, .kind = META_FILE, .checked_ms = f->began_ms + 1 };
	strcpy(e.name, "asked");
	strcpy(e.etag, "2");
	assert_int_equal(meta_insert(f->meta, &e), 0);
	uint64_t asked = e.id;
	e = (struct meta_entry){ .parent = sub, .kind = META_FILE, .checked_ms = f->began_ms + 1 };
	strcpy(e.name, "below");
	assert_int_equal(meta_insert(f->meta, &e), 0);
	/* A time in the future is no knowledge. */
	e = (struct meta_entry){ .parent = f->dir, .kind = META_FILE };
	e.checked_ms = meta_now_ms() + 1000000;
	strcpy(e.name, "future");
	assert_int_equal(meta_insert(f->meta, &e), 0);
	PAGE(f, "asked=1");
	end(f);
	assert_is(f, "asked", asked, META_FILE);
	assert_string_equal(find(f, "asked").etag, "2");
	assert_is(f, "sub", sub, META_DIR);
	assert_kind(f, "future", META_ABSENT);
}

/* A directory stays for what is newer below it, at any depth. */
static void test_newer_below(void **state)
{
	struct fixture *f = *state;
	uint64_t a = put_dir(f, "a"), b = put_dir(f, "b"), c = put_dir(f, "c");
	uint64_t deep = put_row(f, a, "deep", META_DIR, "", 0, 0);

	put_row(f, b, "local", META_FILE, "", META_LOCAL, 0);
	put_row(f, c, "old", META_FILE, "1", 0, 0);
	begin(f);
	put_row(f, deep, "new", META_FILE, "1", 0, next(f));
	PAGE(f, "c=1");
	end(f);
	assert_is(f, "a", a, META_DIR);
	assert_is(f, "b", b, META_DIR);
	assert_kind(f, "c", META_FILE);
	begin(f);
	PAGE(f, "a=1", "b=1");
	end(f);
	assert_is(f, "b", b, META_DIR); /* still local */
	assert_kind(f, "a", META_FILE);
}

/* Something is in the bucket since the listing began. */
static void test_rooted_wins(void **state)
{
	struct fixture *f = *state;
	uint64_t sub = put_row(f, f->dir, "sub", META_DIR, "", META_LOCAL, next(f));

	begin(f);
	assert_int_equal(meta_rooted(f->meta, sub), 0);
	end(f);
	assert_is(f, "sub", sub, META_DIR);
	begin(f);
	end(f);
	assert_kind(f, "sub", META_ABSENT);
}

static void test_wrong_calls(void **state)
{
	struct fixture *f = *state;
	uint64_t file = put_file(f, "file", "1");
	char name[300], etag[100];
	struct meta_listed listed = { .name = name, .kind = META_FILE, .etag = "1" };
	struct meta_entry e;

	begin(f);
	assert_int_equal(page_of(f, 99999, NULL, 0), -ENOENT);
	assert_int_equal(page_of(f, file, NULL, 0), -ENOTDIR);
	assert_int_equal(meta_listing_end(f->meta, 99999, f->began, f->began_ms), -ENOENT);
	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	assert_int_equal(meta_listing_page(f->meta, f->dir, f->began, f->began_ms, &listed, 1),
			 -ENAMETOOLONG);
	strcpy(name, "a/b");
	assert_int_equal(meta_listing_page(f->meta, f->dir, f->began, f->began_ms, &listed, 1), -EINVAL);
	/* All of a page or nothing. */
	struct meta_listed two[2] = { { .name = "good", .kind = META_FILE, .etag = "1" },
				      { .name = "bad", .kind = META_FILE, .etag = etag } };
	memset(etag, 'e', sizeof(etag));
	etag[99] = '\0';
	assert_int_equal(meta_listing_page(f->meta, f->dir, f->began, f->began_ms, two, 2), -EINVAL);
	assert_int_equal(meta_find(f->meta, f->dir, "good", &e), -ENODATA);

	uint64_t dir = f->dir;
	assert_int_equal(meta_remove(f->meta, dir, next(f), 5), 0);
	assert_int_equal(page_of(f, dir, NULL, 0), -ENOENT);
	assert_int_equal(meta_listing_end(f->meta, dir, f->began, f->began_ms), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_first_listing),
		TEST(test_same_and_other_content),
		TEST(test_vanished),
		TEST(test_not_ended),
		TEST(test_many_vanish),
		TEST(test_our_changes_win),
		TEST(test_moves_win),
		TEST(test_local),
		TEST(test_kept),
		TEST(test_local_directory_is_listed),
		TEST(test_listing_a_local_directory),
		TEST(test_directory_beats_file),
		TEST(test_claims_die),
		TEST(test_two_at_once),
		TEST(test_two_at_once_older_ends_first),
		TEST(test_checked_later),
		TEST(test_newer_below),
		TEST(test_rooted_wins),
		TEST(test_wrong_calls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
