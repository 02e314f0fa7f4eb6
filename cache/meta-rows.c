/* SPDX-License-Identifier: GPL-3.0-or-later */
/* meta-rows - see meta-rows.h. */
#include "cache/meta-rows.h"

#include <errno.h>
#include <string.h>

#include "cache/cachedb.h"

int rows_result(struct meta *meta, int result)
{
	if (result == -EUCLEAN)
		cachedb_note_damage(meta->places);
	return result;
}

int rows_begin(struct meta *meta)
{
	int r = rows_save_mark(meta);

	return rows_result(meta, r ? r : db_run(meta->begin));
}

int rows_end(struct meta *meta, int result)
{
	if (!result)
		result = db_run(meta->commit);
	/* Some errors have rolled back by themselves. */
	if (result && !sqlite3_get_autocommit(meta->db))
		db_run(meta->rollback);
	return rows_result(meta, result);
}

int rows_save_mark(struct meta *meta)
{
	uint64_t mark = places_id_mark(meta->places);

	if (mark == meta->saved_mark)
		return 0;
	sqlite3_bind_int64(meta->mark, 1, (int64_t)mark);
	int r = db_run(meta->mark);
	/* A transaction may yet be rolled back, and the mark with it. */
	if (!r && sqlite3_get_autocommit(meta->db))
		meta->saved_mark = mark;
	return r;
}

int rows_new_id(struct meta *meta, uint64_t *ret_id)
{
	uint64_t id = places_next_id(meta->places);

	if (!id)
		return -EIO;
	int r = rows_save_mark(meta);
	if (!r)
		*ret_id = id;
	return r;
}

static void read_text(sqlite3_stmt *statement, int column, char *ret_text, size_t room)
{
	const void *data = sqlite3_column_blob(statement, column);
	size_t length = (size_t)sqlite3_column_bytes(statement, column);

	if (length >= room)
		length = room - 1;
	if (length)
		memcpy(ret_text, data, length);
	ret_text[length] = '\0';
}

/* Columns as in COLUMNS of meta.c. */
void rows_read(sqlite3_stmt *statement, struct meta_row *ret_row)
{
	struct meta_entry *entry = &ret_row->entry;

	entry->id = (uint64_t)sqlite3_column_int64(statement, 0);
	entry->parent = (uint64_t)sqlite3_column_int64(statement, 1);
	entry->kind = (enum meta_kind)sqlite3_column_int(statement, 2);
	entry->flags = (unsigned)sqlite3_column_int(statement, 3);
	entry->size_bytes = sqlite3_column_int64(statement, 4);
	entry->mtime_ns = sqlite3_column_int64(statement, 5);
	entry->checked_ms = sqlite3_column_int64(statement, 6);
	entry->seq = (uint64_t)sqlite3_column_int64(statement, 7);
	ret_row->seen = (uint64_t)sqlite3_column_int64(statement, 8);
	entry->listed_seq = (uint64_t)sqlite3_column_int64(statement, 9);
	entry->listed_ms = sqlite3_column_int64(statement, 10);
	read_text(statement, 11, entry->etag, sizeof(entry->etag));
	read_text(statement, 12, entry->name, sizeof(entry->name));
}

int rows_get(struct meta *meta, uint64_t id, struct meta_row *ret_row)
{
	_cleanup_reset_ sqlite3_stmt *get = meta->get;

	sqlite3_bind_int64(get, 1, (int64_t)id);
	int r = db_row(get);
	if (r <= 0)
		return r ? r : -ENOENT;
	rows_read(get, ret_row);
	return 0;
}

int rows_find(struct meta *meta, uint64_t parent, const char *name,
	      struct meta_row *ret_row)
{
	_cleanup_reset_ sqlite3_stmt *find = meta->find;

	sqlite3_bind_int64(find, 1, (int64_t)parent);
	sqlite3_bind_blob(find, 2, name, (int)strlen(name), SQLITE_STATIC);
	int r = db_row(find);
	if (r <= 0)
		return r ? r : -ENODATA;
	rows_read(find, ret_row);
	return 0;
}

int rows_parent(struct meta *meta, uint64_t id, uint64_t *ret_parent)
{
	_cleanup_reset_ sqlite3_stmt *up = meta->up;

	sqlite3_bind_int64(up, 1, (int64_t)id);
	int r = db_row(up);
	if (r <= 0)
		return r ? r : -ENOENT;
	*ret_parent = (uint64_t)sqlite3_column_int64(up, 0);
	return 0;
}

int rows_insert(struct meta *meta, const struct meta_row *row)
{
	const struct meta_entry *entry = &row->entry;
	sqlite3_stmt *insert = meta->insert;

	sqlite3_bind_int64(insert, 1, (int64_t)entry->id);
	sqlite3_bind_int64(insert, 2, (int64_t)entry->parent);
	sqlite3_bind_int(insert, 3, (int)entry->kind);
	sqlite3_bind_int(insert, 4, (int)entry->flags);
	sqlite3_bind_int64(insert, 5, entry->size_bytes);
	sqlite3_bind_int64(insert, 6, entry->mtime_ns);
	sqlite3_bind_int64(insert, 7, entry->checked_ms);
	sqlite3_bind_int64(insert, 8, (int64_t)entry->seq);
	sqlite3_bind_int64(insert, 9, (int64_t)row->seen);
	sqlite3_bind_int64(insert, 10, (int64_t)entry->listed_seq);
	sqlite3_bind_int64(insert, 11, entry->listed_ms);
	sqlite3_bind_blob(insert, 12, entry->etag, (int)strlen(entry->etag), SQLITE_STATIC);
	sqlite3_bind_blob(insert, 13, entry->name, (int)strlen(entry->name), SQLITE_STATIC);
	return db_run(insert);
}

/* Its parameters are numbered as those of insert. */
int rows_update(struct meta *meta, const struct meta_entry *entry)
{
	sqlite3_stmt *update = meta->update;

	sqlite3_bind_int64(update, 1, (int64_t)entry->id);
	sqlite3_bind_int(update, 3, (int)entry->kind);
	sqlite3_bind_int(update, 4, (int)entry->flags);
	sqlite3_bind_int64(update, 5, entry->size_bytes);
	sqlite3_bind_int64(update, 6, entry->mtime_ns);
	sqlite3_bind_int64(update, 7, entry->checked_ms);
	sqlite3_bind_int64(update, 8, (int64_t)entry->seq);
	sqlite3_bind_int64(update, 10, (int64_t)entry->listed_seq);
	sqlite3_bind_int64(update, 11, entry->listed_ms);
	sqlite3_bind_blob(update, 12, entry->etag, (int)strlen(entry->etag), SQLITE_STATIC);
	int r = db_run(update);

	return r ? r : sqlite3_changes(meta->db) ? 0 : -ENOENT;
}

int rows_vacate(struct meta *meta, const struct meta_entry *entry)
{
	sqlite3_stmt *statement = entry->kind == META_ABSENT ? meta->erase : meta->detach;

	sqlite3_bind_int64(statement, 1, (int64_t)entry->id);
	return db_run(statement);
}

int rows_insert_absent(struct meta *meta, uint64_t parent, const char *name, uint64_t seq,
		       uint64_t seen, int64_t checked_ms)
{
	struct meta_row row = { .seen = seen };

	row.entry.parent = parent;
	row.entry.kind = META_ABSENT;
	row.entry.seq = seq;
	row.entry.checked_ms = checked_ms;
	memcpy(row.entry.name, name, strlen(name) + 1);
	int r = rows_new_id(meta, &row.entry.id);

	return r ? r : rows_insert(meta, &row);
}

int rows_root(struct meta *meta, uint64_t dir)
{
	uint64_t seq = 0;

	while (dir) {
		struct meta_row row;
		int r = rows_get(meta, dir, &row);
		if (r || !(row.entry.flags & META_LOCAL))
			return r;
		/* A listing that began before this knows nothing of it. */
		if (!seq) {
			r = rows_new_id(meta, &seq);
			if (r)
				return r;
		}
		row.entry.flags &= ~(unsigned)META_LOCAL;
		row.entry.seq = seq;
		r = rows_update(meta, &row.entry);
		if (r)
			return r;
		dir = row.entry.parent;
	}
	return 0;
}
