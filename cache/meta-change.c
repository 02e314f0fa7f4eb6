/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * meta-change - entries made, changed, removed and moved from here; see meta.h.
 *
 * Each call is one transaction: a reader finds the old name or the new one.
 */
#include "cache/meta.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "cache/meta-rows.h"

static int check_name(const char *name)
{
	size_t length = strlen(name);

	if (length > META_NAME_MAX)
		return -ENAMETOOLONG;
	return !length || memchr(name, '/', length) ? -EINVAL : 0;
}

/* Takes what is at a name off it, if anything is. */
static int vacate_name(struct meta *meta, uint64_t parent, const char *name)
{
	struct meta_row there;

	int r = rows_find(meta, parent, name, &there);
	if (r)
		return r == -ENODATA ? 0 : r;
	return rows_vacate(meta, &there.entry);
}

static int insert_in_place(struct meta *meta, const struct meta_row *row)
{
	int r = rows_begin(meta);
	if (r)
		return r;
	r = vacate_name(meta, row->entry.parent, row->entry.name);
	if (!r)
		r = rows_insert(meta, row);
	return rows_end(meta, r);
}

int meta_insert(struct meta *meta, struct meta_entry *entry)
{
	struct meta_row row = { .entry = *entry };

	int r = check_name(entry->name);
	if (r || !entry->parent)
		return r ? r : -EINVAL;
	LOCK_SCOPE(&meta->lock);
	r = entry->id ? rows_save_mark(meta) : rows_new_id(meta, &row.entry.id);
	/* Mostly nothing is there: one statement, half the time. */
	if (!r)
		r = rows_insert(meta, &row);
	if (r == -EEXIST)
		r = insert_in_place(meta, &row);
	if (!r)
		entry->id = row.entry.id;
	return rows_result(meta, r);
}

int meta_update(struct meta *meta, const struct meta_entry *entry)
{
	LOCK_SCOPE(&meta->lock);

	int r = rows_save_mark(meta);
	return rows_result(meta, r ? r : rows_update(meta, entry));
}

/* An entry that has a name: what can be removed or moved. */
static int get_named(struct meta *meta, uint64_t id, struct meta_entry *ret_entry)
{
	struct meta_row row;

	if (id == META_ROOT_ID)
		return -EBUSY;
	int r = rows_get(meta, id, &row);
	if (r)
		return r;
	if (!row.entry.parent || row.entry.kind == META_ABSENT)
		return -ENOENT;
	*ret_entry = row.entry;
	return 0;
}

static int remove_row(struct meta *meta, uint64_t id, uint64_t seq, int64_t now_ms)
{
	struct meta_entry entry;

	int r = get_named(meta, id, &entry);
	if (!r)
		r = rows_vacate(meta, &entry);
	if (!r)
		r = rows_insert_absent(meta, entry.parent, entry.name, seq, 0, now_ms);
	return r;
}

int meta_remove(struct meta *meta, uint64_t id, uint64_t seq, int64_t now_ms)
{
	LOCK_SCOPE(&meta->lock);

	int r = rows_begin(meta);
	return r ? r : rows_end(meta, remove_row(meta, id, seq, now_ms));
}

/* That `dir` is a directory, and is neither `id` nor below it. */
static int check_new_parent(struct meta *meta, uint64_t dir, uint64_t id)
{
	struct meta_row row;

	int r = rows_get(meta, dir, &row);
	if (!r && row.entry.kind != META_DIR)
		return -ENOTDIR;
	while (!r && dir != META_ROOT_ID) {
		if (dir == id)
			return -EINVAL;
		r = rows_parent(meta, dir, &dir);
		if (!r && !dir)
			return -ENOENT;
	}
	return r;
}

static int set_place(struct meta *meta, uint64_t id, uint64_t parent, const char *name,
		     uint64_t seq, int64_t now_ms)
{
	sqlite3_stmt *move = meta->move;

	sqlite3_bind_int64(move, 1, (int64_t)id);
	sqlite3_bind_int64(move, 2, (int64_t)parent);
	sqlite3_bind_blob(move, 3, name, (int)strlen(name), SQLITE_STATIC);
	sqlite3_bind_int64(move, 4, (int64_t)seq);
	sqlite3_bind_int64(move, 5, now_ms);
	return db_run(move);
}

static int move_row(struct meta *meta, uint64_t id, uint64_t new_parent,
		    const char *new_name, uint64_t seq, int64_t now_ms)
{
	struct meta_entry old;

	int r = get_named(meta, id, &old);
	if (!r)
		r = check_new_parent(meta, new_parent, id);
	if (r)
		return r;
	if (old.parent == new_parent && !strcmp(old.name, new_name))
		return set_place(meta, id, new_parent, new_name, seq, now_ms);
	r = vacate_name(meta, new_parent, new_name);
	if (!r)
		r = set_place(meta, id, new_parent, new_name, seq, now_ms);
	if (!r)
		r = rows_insert_absent(meta, old.parent, old.name, seq, 0, now_ms);
	return r;
}

int meta_move(struct meta *meta, uint64_t id, uint64_t new_parent, const char *new_name,
	      uint64_t seq, int64_t now_ms)
{
	int r = check_name(new_name);
	if (r)
		return r;
	LOCK_SCOPE(&meta->lock);
	r = rows_begin(meta);
	return r ? r : rows_end(meta, move_row(meta, id, new_parent, new_name, seq, now_ms));
}

int meta_rooted(struct meta *meta, uint64_t dir)
{
	struct meta_row row;
	LOCK_SCOPE(&meta->lock);

	/* Mostly there is nothing to do: no transaction for that. */
	int r = rows_get(meta, dir, &row);
	if (r || !(row.entry.flags & META_LOCAL))
		return rows_result(meta, r);
	r = rows_begin(meta);
	return r ? r : rows_end(meta, rows_root(meta, dir));
}
