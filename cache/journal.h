/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * journal - changes that were begun here and are not finished in the bucket.
 *
 * state_dir/journal.db.  A row is written before its change begins and
 * removed when it is done; at start the core replays what is there, in order.
 *
 * Invariants
 *   J1  A row names everything that its replay needs.
 *   J2  Rows of one key are in the order of the changes.
 *   J3  A journal of a newer version is refused (-EPROTO), a damaged one is
 *	 -EUCLEAN; neither is touched.
 * Threads: call from any.  journal.lock is a leaf, held across SQLite.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct places;
struct journal;

enum journal_kind {
	JOURNAL_UPLOAD = 1, /* spool file `number` becomes `key` */
	JOURNAL_COPY = 2,   /* object `from_key` of `etag` becomes `key`, then goes */
	JOURNAL_MULTIPART = 3, /* multipart upload `upload_id` of `key` was begun */
};

struct journal_record {
	uint64_t row; /* set by journal_add; ordered */
	enum journal_kind kind;
	uint64_t number;	/* spool file; 0 none */
	uint64_t node;		/* whose change it is; means something in this mount only */
	int64_t mtime_ns;
	const char *key;	/* all borrowed; NULL where not used */
	const char *from_key;
	const char *etag;
	const char *upload_id;
};

int journal_open(struct places *places, struct journal **ret_journal);
struct journal *journal_close(struct journal *journal);

/* -EINVAL: no key.  sync: on disk before it returns; else with the next that is. */
int journal_add(struct journal *journal, struct journal_record *record, bool sync);
/* A row that is gone already is a success. */
int journal_done(struct journal *journal, uint64_t row);
/* In order of row.  fn may not call the journal; a non-zero return ends it. */
typedef int (*journal_fn)(void *arg, const struct journal_record *record);
int journal_each(struct journal *journal, journal_fn fn, void *arg);
