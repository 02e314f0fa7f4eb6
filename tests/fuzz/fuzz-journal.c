/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fuzz-journal - a journal from any bytes, and any records in a good one.
 *
 * The first byte says which: journal.db as it comes; a good one with some bytes
 * changed; its write-ahead log changed; or records that must come back as they
 * went in.  SQLite itself is not instrumented: what is looked for is what we do
 * with what it says.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/files.h"
#include "cache/journal.h"

#define FILE_MAX (256 << 10)
#define RECORDS_MAX 8

static struct places *places;
static struct buf good, good_wal; /* a journal with rows, and one's log */

static void read_file(const char *name, struct buf *to)
{
	_cleanup_close_ int fd = openat(places_state_fd(places), name, O_RDONLY | O_CLOEXEC);
	char step[4096];
	ssize_t n;
	buf_clear(to);
	while (fd >= 0 && (n = read(fd, step, sizeof(step))) > 0)
		REQUIRE(buf_add(to, step, n) == 0);
}

static void write_file(const char *name, const void *data, size_t size)
{
	_cleanup_close_ int fd = openat(places_state_fd(places), name,
					O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	REQUIRE(fd >= 0 && files_write_all(fd, data, size, 0) == 0);
}

static void remove_files(void)
{
	static const char *const names[] = { "journal.db", "journal.db-wal", "journal.db-shm",
					     "journal.db-journal" };
	for (unsigned i = 0; i < 4; i++)
		unlinkat(places_state_fd(places), names[i], 0);
}

static void make_good(void)
{
	struct journal *j;
	struct journal_record record = { .kind = JOURNAL_COPY, .number = 9, .mtime_ns = 1, .key = "to",
					 .from_key = "from", .etag = "etag", .upload_id = "id" };
	REQUIRE(journal_open(places, &j) == 0);
	for (int i = 0; i < 5; i++)
		REQUIRE(journal_add(j, &record, true) == 0);
	read_file("journal.db-wal", &good_wal);
	journal_close(j);
	read_file("journal.db", &good);
	REQUIRE(good.length && good_wal.length);
	remove_files();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	places = fuzz_places();
	make_good();
	return 0;
}

static int check_record(void *arg, const struct journal_record *record)
{
	unsigned *left = arg;
	REQUIRE(record->key);
	return --*left ? 0 : 1;
}

/* J3; and what is accepted can be used, or says that it cannot. */
static void check_open(void)
{
	_cleanup_buf_ struct buf before = { 0 }, after = { 0 };
	struct journal *j = NULL;
	read_file("journal.db", &before);
	int r = journal_open(places, &j);
	if (r) {
		REQUIRE(!j && (r == -EUCLEAN || r == -EPROTO || r == -EIO));
		read_file("journal.db", &after);
		REQUIRE(before.length == after.length);
		REQUIRE(!before.length || !memcmp(before.data, after.data, before.length));
		return;
	}
	unsigned left = 10000;
	struct journal_record record = { .kind = JOURNAL_UPLOAD, .key = "new" };
	r = journal_each(j, check_record, &left);
	REQUIRE(r == 0 || r == 1 || r == -EUCLEAN);
	r = journal_add(j, &record, false);
	/* EROFS: its header says that only a newer SQLite may write it. */
	REQUIRE(r == 0 || r == -EUCLEAN || r == -EEXIST || r == -EROFS);
	if (r == 0)
		REQUIRE(journal_done(j, record.row) == 0);
	journal_close(j);
}

/* Changes bytes: two of place, one of value. */
static void damage(struct buf *file, struct fuzz_input *in)
{
	while (in->left) {
		size_t at = fuzz_byte(in) << 8;
		at |= fuzz_byte(in);
		file->data[at % file->length] = fuzz_byte(in);
	}
}

static void open_damaged(const struct buf *from, const char *name, struct fuzz_input *in)
{
	_cleanup_buf_ struct buf file = { 0 };
	REQUIRE(buf_add(&file, from->data, from->length) == 0);
	damage(&file, in);
	if (from != &good)
		write_file("journal.db", good.data, good.length);
	write_file(name, file.data, file.length);
	check_open();
}

struct written {
	struct journal_record records[RECORDS_MAX];
	unsigned count, seen;
};

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static int compare(void *arg, const struct journal_record *record)
{
	struct written *w = arg;
	REQUIRE(w->seen < w->count);
	const struct journal_record *wanted = &w->records[w->seen++];
	REQUIRE(record->row == wanted->row && record->kind == wanted->kind);
	REQUIRE(record->number == wanted->number && record->mtime_ns == wanted->mtime_ns);
	REQUIRE(same(record->key, wanted->key) && same(record->from_key, wanted->from_key));
	REQUIRE(same(record->etag, wanted->etag) && same(record->upload_id, wanted->upload_id));
	return 0;
}

static char *maybe_text(struct fuzz_input *in)
{
	return fuzz_byte(in) % 2 ? fuzz_text(in) : NULL;
}

static void round_trip(struct fuzz_input *in)
{
	struct written w = { 0 };
	struct journal *j;
	REQUIRE(journal_open(places, &j) == 0);
	while (in->left && w.count < RECORDS_MAX) {
		struct journal_record *record = &w.records[w.count++];
		record->kind = 1 + fuzz_byte(in) % 3;
		record->number = fuzz_number(in);
		record->mtime_ns = fuzz_number(in);
		record->key = fuzz_text(in);
		record->from_key = maybe_text(in);
		record->etag = maybe_text(in);
		record->upload_id = maybe_text(in);
		REQUIRE(journal_add(j, record, w.count % 2) == 0);
	}
	journal_close(j);
	REQUIRE(journal_open(places, &j) == 0);
	REQUIRE(journal_each(j, compare, &w) == 0);
	REQUIRE(w.seen == w.count);
	journal_close(j);
	for (unsigned i = 0; i < w.count; i++) {
		free((char *)w.records[i].key);
		free((char *)w.records[i].from_key);
		free((char *)w.records[i].etag);
		free((char *)w.records[i].upload_id);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	unsigned way = fuzz_byte(&in) % 4;
	if (in.left > FILE_MAX)
		return 0;
	if (way == 0) {
		write_file("journal.db", in.at, in.left);
		check_open();
	} else if (way == 1) {
		open_damaged(&good, "journal.db", &in);
	} else if (way == 2) {
		open_damaged(&good_wal, "journal.db-wal", &in);
	} else {
		round_trip(&in);
	}
	remove_files();
	return 0;
}
