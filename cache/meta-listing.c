/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * meta-listing - what a listing of the bucket says, merged with what is known.
 *
 * A page changes a row only if nobody knows better.  Better than the listing:
 * our own change after it began (seq; M3), a listing that began later (seen,
 * or the directory's listed_seq), somebody who asked for that very name after
 * it began (checked_ms), and what is ours and unpublished (META_LOCAL).
 *
 * A name may be listed as a file and as a directory, in any order and on
 * different pages, and the directory wins.  A directory that is known keeps its
 * id and what hangs below it: the file's claim to its name waits in `claims`
 * until the end, and is heard only if no page named the directory.
 *
 * The end takes the lock for SCAN_ROWS rows at a time.  What changes in between
 * is newer than the listing, and so left alone.
 */
#include "cache/meta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cache/meta-rows.h"

#define SCAN_ROWS 500

struct listing {
	struct meta *meta;
	uint64_t dir;
	uint64_t began_seq;
	int64_t began_ms;
	int64_t now_ms;
};

static struct listing listing_of(struct meta *meta, uint64_t dir, uint64_t began_seq,
				 int64_t began_ms)
{
	return (struct listing){ meta, dir, began_seq, began_ms, meta_now_ms() };
}

static bool knows_better(const struct listing *l, const struct meta_row *row)
{
	const struct meta_entry *entry = &row->entry;

	if (entry->seq > l->began_seq || row->seen > l->began_seq)
		return true;
	/* A time ahead of now is a clock that was set back, no knowledge. */
	return entry->checked_ms > l->began_ms && entry->checked_ms <= l->now_ms;
}

static int insert_listed(const struct listing *l, const struct meta_listed *listed)
{
	struct meta_row row = { .seen = l->began_seq };
	struct meta_entry *entry = &row.entry;

	entry->parent = l->dir;
	entry->kind = listed->kind;
	entry->size_bytes = listed->size_bytes;
	entry->mtime_ns = listed->mtime_ns;
	entry->checked_ms = l->began_ms;
	memcpy(entry->name, listed->name, strlen(listed->name) + 1);
	if (listed->etag)
		memcpy(entry->etag, listed->etag, strlen(listed->etag) + 1);
	int r = rows_new_id(l->meta, &entry->id);

	return r ? r : rows_insert(l->meta, &row);
}

static int replace_listed(const struct listing *l, const struct meta_entry *old,
			  const struct meta_listed *listed)
{
	int r = rows_vacate(l->meta, old);

	return r ? r : insert_listed(l, listed);
}

static int touch(const struct listing *l, const struct meta_entry *entry)
{
	sqlite3_stmt *statement = l->meta->touch;

	sqlite3_bind_int64(statement, 1, (int64_t)entry->id);
	sqlite3_bind_int64(statement, 2, (int64_t)l->began_seq);
	sqlite3_bind_int64(statement, 3, l->began_ms);
	return db_run(statement);
}

/* The same version still: the times may have changed, the id stays (M4). */
static int touch_file(const struct listing *l, const struct meta_entry *entry,
		      const struct meta_listed *listed)
{
	sqlite3_stmt *statement = l->meta->touch_file;
	bool own = entry->flags & META_MTIME_OWN;

	sqlite3_bind_int64(statement, 1, (int64_t)entry->id);
	sqlite3_bind_int64(statement, 2, (int64_t)l->began_seq);
	sqlite3_bind_int64(statement, 3, l->began_ms);
	sqlite3_bind_int64(statement, 4, listed->size_bytes);
	sqlite3_bind_int64(statement, 5, own ? entry->mtime_ns : listed->mtime_ns);
	return db_run(statement);
}

static int add_claim(const struct listing *l, const struct meta_listed *listed)
{
	sqlite3_stmt *claim = l->meta->claim;

	sqlite3_bind_int64(claim, 1, (int64_t)l->dir);
	sqlite3_bind_int64(claim, 2, (int64_t)l->began_seq);
	sqlite3_bind_blob(claim, 3, listed->name, (int)strlen(listed->name), SQLITE_STATIC);
	sqlite3_bind_int64(claim, 4, listed->size_bytes);
	sqlite3_bind_int64(claim, 5, listed->mtime_ns);
	sqlite3_bind_blob(claim, 6, listed->etag, (int)strlen(listed->etag), SQLITE_STATIC);
	return db_run(claim);
}

/* 1: deletes below it, or other changes, have not reached what was listed. */
static int changed_below(const struct listing *l, uint64_t dir)
{
	_cleanup_reset_ sqlite3_stmt *statement = l->meta->changed_below;

	sqlite3_bind_int64(statement, 1, (int64_t)dir);
	sqlite3_bind_int64(statement, 2, (int64_t)l->began_seq);
	return db_row(statement);
}

/* A directory of ours is in the bucket now, and not by our doing (that is
 * meta_rooted): what else is in it is not known.  Unless what was listed is
 * what we are deleting. */
static int merge_local_dir(const struct listing *l, const struct meta_entry *entry)
{
	struct meta_entry changed = *entry;

	int r = changed_below(l, entry->id);
	if (r)
		return r < 0 ? r : 0;
	changed.flags &= ~(unsigned)META_LOCAL;
	changed.listed_seq = 0;
	changed.listed_ms = 0;
	r = rows_update(l->meta, &changed);
	return r ? r : touch(l, &changed);
}

static int merge_dir(const struct listing *l, const struct meta_entry *entry,
		     const struct meta_listed *listed)
{
	bool local = entry->flags & META_LOCAL;

	if (entry->kind == META_DIR)
		return local ? merge_local_dir(l, entry) : touch(l, entry);
	return local ? 0 : replace_listed(l, entry, listed);
}

static int merge_file(const struct listing *l, const struct meta_row *row,
		      const struct meta_listed *listed)
{
	const struct meta_entry *entry = &row->entry;

	if (entry->flags & META_LOCAL)
		return 0;
	if (entry->kind == META_DIR)
		return row->seen == l->began_seq ? 0 : add_claim(l, listed);
	if (entry->kind == META_FILE && !strcmp(entry->etag, listed->etag))
		return touch_file(l, entry, listed);
	return replace_listed(l, entry, listed);
}

static int merge(const struct listing *l, const struct meta_listed *listed)
{
	struct meta_row row;

	int r = rows_find(l->meta, l->dir, listed->name, &row);
	if (r == -ENODATA)
		return insert_listed(l, listed);
	if (r || knows_better(l, &row))
		return r;
	return listed->kind == META_DIR ? merge_dir(l, &row.entry, listed)
					: merge_file(l, &row, listed);
}

static int check_listed(const struct meta_listed *listed)
{
	size_t name_length = strlen(listed->name);

	if (name_length > META_NAME_MAX)
		return -ENAMETOOLONG;
	if (!name_length || memchr(listed->name, '/', name_length))
		return -EINVAL;
	if (listed->kind == META_FILE)
		return listed->etag && strlen(listed->etag) < META_ETAG_MAX ? 0 : -EINVAL;
	return listed->kind == META_DIR ? 0 : -EINVAL;
}

/* Whether there is anything to merge into: 1, 0 (a later listing was complete
 * already) or a negative errno. */
static int check_dir(const struct listing *l, struct meta_entry *ret_dir)
{
	struct meta_row row;

	int r = rows_get(l->meta, l->dir, &row);
	if (r)
		return r;
	if (row.entry.kind != META_DIR)
		return -ENOTDIR;
	if (!rows_attached(&row.entry))
		return -ENOENT;
	*ret_dir = row.entry;
	return row.entry.listed_seq <= l->began_seq;
}

static int merge_page(const struct listing *l, const struct meta_listed *listed,
		      size_t count)
{
	struct meta_entry dir;

	int r = check_dir(l, &dir);
	if (r <= 0)
		return r;
	if (count && (dir.flags & META_LOCAL)) {
		r = rows_root(l->meta, l->dir);
		if (r)
			return r;
	}
	r = 0;
	for (size_t i = 0; i < count && !r; i++)
		r = merge(l, &listed[i]);
	return r;
}

uint64_t meta_listing_begin(struct meta *meta)
{
	return places_next_id(meta->places);
}

int meta_listing_page(struct meta *meta, uint64_t dir, uint64_t began_seq, int64_t began_ms,
		      const struct meta_listed *listed, size_t count)
{
	const struct listing l = listing_of(meta, dir, began_seq, began_ms);

	for (size_t i = 0; i < count; i++) {
		int r = check_listed(&listed[i]);
		if (r)
			return r;
	}
	LOCK_SCOPE(&meta->lock);
	int r = rows_begin(meta);
	return r ? r : rows_end(meta, merge_page(&l, listed, count));
}

/* Something below a directory that the listing cannot know: it exists. */
static int newer_below(const struct listing *l, uint64_t dir)
{
	_cleanup_reset_ sqlite3_stmt *statement = l->meta->newer_below;

	sqlite3_bind_int64(statement, 1, (int64_t)dir);
	sqlite3_bind_int64(statement, 2, (int64_t)l->began_seq);
	sqlite3_bind_int64(statement, 3, l->began_ms);
	sqlite3_bind_int64(statement, 4, l->now_ms);
	return db_row(statement);
}

/* 1: the row goes; 0: it stays. */
static int is_gone(const struct listing *l, const struct meta_row *row)
{
	if (row->seen == l->began_seq || (row->entry.flags & (META_LOCAL | META_KEPT)) ||
	    knows_better(l, row))
		return 0;
	if (row->entry.kind != META_DIR)
		return 1;
	int r = newer_below(l, row->entry.id);

	return r < 0 ? r : !r;
}

struct claim {
	struct meta_listed listed;
	char name[META_NAME_MAX + 1];
	char etag[META_ETAG_MAX];
};

static void copy_column(sqlite3_stmt *statement, int column, char *ret_text, size_t room)
{
	const void *data = sqlite3_column_blob(statement, column);
	size_t length = (size_t)sqlite3_column_bytes(statement, column);

	if (length >= room)
		length = room - 1;
	if (length)
		memcpy(ret_text, data, length);
	ret_text[length] = '\0';
}

/* The next claim after `after`: 1, 0 or a negative errno. */
static int next_claim(const struct listing *l, const char *after, struct claim *ret_claim)
{
	_cleanup_reset_ sqlite3_stmt *claims = l->meta->claims;

	sqlite3_bind_int64(claims, 1, (int64_t)l->dir);
	sqlite3_bind_int64(claims, 2, (int64_t)l->began_seq);
	sqlite3_bind_blob(claims, 3, after, (int)strlen(after), SQLITE_STATIC);
	int r = db_row(claims);
	if (r <= 0)
		return r;
	copy_column(claims, 0, ret_claim->name, sizeof(ret_claim->name));
	copy_column(claims, 3, ret_claim->etag, sizeof(ret_claim->etag));
	ret_claim->listed = (struct meta_listed){
		.name = ret_claim->name,
		.kind = META_FILE,
		.size_bytes = sqlite3_column_int64(claims, 1),
		.mtime_ns = sqlite3_column_int64(claims, 2),
		.etag = ret_claim->etag,
	};
	return 1;
}

static int hear_claim(const struct listing *l, const struct claim *claim)
{
	struct meta_row row;

	int r = rows_find(l->meta, l->dir, claim->name, &row);
	if (r == -ENODATA)
		return insert_listed(l, &claim->listed);
	if (!r)
		r = is_gone(l, &row);
	return r <= 0 ? r : replace_listed(l, &row.entry, &claim->listed);
}

static int hear_claims(const struct listing *l)
{
	struct claim claim;
	char after[META_NAME_MAX + 1] = "";
	int r;

	while ((r = next_claim(l, after, &claim)) > 0) {
		r = hear_claim(l, &claim);
		if (r)
			return r;
		memcpy(after, claim.name, sizeof(after));
	}
	return r;
}

/* Reads the next rows to *ret_after, and keeps the ids of those that may go. */
static int scan(const struct listing *l, uint64_t *after, uint64_t *ret_ids,
		unsigned *ret_count, bool *ret_last)
{
	_cleanup_reset_ sqlite3_stmt *statement = l->meta->scan;
	unsigned read = 0, count = 0;
	struct meta_row row;
	int r;

	sqlite3_bind_int64(statement, 1, (int64_t)l->dir);
	sqlite3_bind_int64(statement, 2, (int64_t)*after);
	sqlite3_bind_int64(statement, 3, SCAN_ROWS);
	while ((r = db_row(statement)) > 0) {
		rows_read(statement, &row);
		*after = row.entry.id;
		read++;
		if (row.seen != l->began_seq)
			ret_ids[count++] = row.entry.id;
	}
	*ret_count = count;
	*ret_last = read < SCAN_ROWS;
	return r;
}

static int make_absent(const struct listing *l, uint64_t id)
{
	struct meta_row row;

	int r = rows_get(l->meta, id, &row);
	if (!r)
		r = is_gone(l, &row);
	if (r <= 0)
		return r;
	r = rows_vacate(l->meta, &row.entry);
	if (!r)
		r = rows_insert_absent(l->meta, l->dir, row.entry.name, 0, l->began_seq,
				       l->began_ms);
	return r;
}

static int sweep_some(const struct listing *l, uint64_t *after, bool *ret_last)
{
	uint64_t ids[SCAN_ROWS];
	unsigned count;

	int r = scan(l, after, ids, &count, ret_last);
	for (unsigned i = 0; i < count && !r; i++)
		r = make_absent(l, ids[i]);
	return r;
}

static int finish(const struct listing *l)
{
	sqlite3_stmt *refresh = l->meta->refresh_absent, *note = l->meta->note_listed;
	sqlite3_stmt *drop = l->meta->claims_drop;

	sqlite3_bind_int64(refresh, 1, (int64_t)l->dir);
	sqlite3_bind_int64(refresh, 2, (int64_t)l->began_seq);
	sqlite3_bind_int64(refresh, 3, l->began_ms);
	int r = db_run(refresh);
	if (r)
		return r;
	sqlite3_bind_int64(drop, 1, (int64_t)l->dir);
	sqlite3_bind_int64(drop, 2, (int64_t)l->began_seq);
	r = db_run(drop);
	if (r)
		return r;
	sqlite3_bind_int64(note, 1, (int64_t)l->dir);
	sqlite3_bind_int64(note, 2, (int64_t)l->began_seq);
	sqlite3_bind_int64(note, 3, l->began_ms);
	return db_run(note);
}

/* One transaction of the end.  *step: claims, then rows, then the note. */
enum end_step { END_CLAIMS, END_ROWS, END_NOTE, END_DONE };

static int end_some(const struct listing *l, enum end_step *step, uint64_t *after)
{
	struct meta_entry dir;
	bool last = true;

	int r = check_dir(l, &dir);
	if (r <= 0) {
		*step = END_DONE;
		return r;
	}
	if (*step == END_CLAIMS)
		r = hear_claims(l);
	else if (*step == END_ROWS)
		r = sweep_some(l, after, &last);
	else
		r = finish(l);
	if (!r && last)
		(*step)++;
	return r;
}

int meta_listing_end(struct meta *meta, uint64_t dir, uint64_t began_seq, int64_t began_ms)
{
	const struct listing l = listing_of(meta, dir, began_seq, began_ms);
	enum end_step step = END_CLAIMS;
	uint64_t after = 0;
	int r = 0;

	while (step != END_DONE && !r) {
		LOCK_SCOPE(&meta->lock);
		r = rows_begin(meta);
		if (!r)
			r = rows_end(meta, end_some(&l, &step, &after));
	}
	return r;
}
