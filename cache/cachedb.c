/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cachedb - see cachedb.h. */
#include "cache/cachedb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/db.h"
#include "cache/places.h"

#define NAME "cache.db"
#define DAMAGED "cache.db.damaged"
#define SUSPECT "cache.db.suspect"
#define VERSION 2

/*
 * entries.seen is the number of the listing that last spoke of the row.
 * claims are files that a listing named where we know a directory: they wait
 * for its end, since the directory may be named later and wins.
 * known.mark is above every number in the database (see places_id_mark).
 *
 * The indexes are partial, and queries must repeat their conditions.  Detached,
 * absent and local rows have small ones of their own, so that meta_open finds
 * them without reading a million others.
 */
static const char schema[] =
	"CREATE TABLE entries("
	" id INTEGER PRIMARY KEY,"
	" parent INTEGER NOT NULL,"
	" kind INTEGER NOT NULL,"
	" flags INTEGER NOT NULL DEFAULT 0,"
	" size INTEGER NOT NULL DEFAULT 0,"
	" mtime_ns INTEGER NOT NULL DEFAULT 0,"
	" checked_ms INTEGER NOT NULL DEFAULT 0,"
	" seq INTEGER NOT NULL DEFAULT 0,"
	" seen INTEGER NOT NULL DEFAULT 0,"
	" listed_seq INTEGER NOT NULL DEFAULT 0,"
	" listed_ms INTEGER NOT NULL DEFAULT 0,"
	" etag BLOB NOT NULL DEFAULT x'',"
	" name BLOB NOT NULL);"
	"CREATE UNIQUE INDEX entries_name ON entries(parent, name) WHERE parent != 0;"
	"CREATE INDEX entries_child ON entries(parent, id) WHERE parent != 0 AND kind != 0;"
	"CREATE INDEX entries_detached ON entries(id) WHERE parent = 0;"
	"CREATE INDEX entries_absent ON entries(parent) WHERE kind = 0;"
	"CREATE INDEX entries_local ON entries(parent) WHERE (flags & 1) != 0;"
	"CREATE INDEX entries_kept ON entries(id) WHERE (flags & 8) != 0;"
	"CREATE TABLE claims("
	" dir INTEGER NOT NULL,"
	" began INTEGER NOT NULL,"
	" name BLOB NOT NULL,"
	" size INTEGER NOT NULL,"
	" mtime_ns INTEGER NOT NULL,"
	" etag BLOB NOT NULL,"
	" PRIMARY KEY(dir, began, name)) WITHOUT ROWID;"
	"CREATE TABLE known(mark INTEGER NOT NULL);"
	"INSERT INTO known VALUES(0);"
	"INSERT INTO entries(id, parent, kind, name) VALUES(1, 0, 2, x'');"
	CACHEDB_SCHEMA_CHUNKS;

int cachedb_open(struct places *places, sqlite3 **ret_db)
{
	return db_open(places_cache_fd(places), NAME, schema, VERSION, false, ret_db);
}

static int rename_if_there(int fd, const char *from, const char *to)
{
	return renameat(fd, from, fd, to) < 0 && errno != ENOENT ? -errno : 0;
}

int cachedb_set_aside(struct places *places)
{
	int fd = places_cache_fd(places);

	/* The WAL first: alone it is ignored, while with the wrong database
	 * it would be replayed into it. */
	int r = rename_if_there(fd, NAME "-wal", DAMAGED "-wal");
	if (!r)
		r = rename_if_there(fd, NAME, DAMAGED);
	unlinkat(fd, NAME "-shm", 0);
	unlinkat(fd, DAMAGED "-shm", 0);
	if (!r)
		unlinkat(fd, SUSPECT, 0);
	return r;
}

static int drop(struct places *places)
{
	static const char *const names[] = { NAME "-wal", NAME "-shm", NAME };
	int fd = places_cache_fd(places);

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (unlinkat(fd, names[i], 0) < 0 && errno != ENOENT)
			return -errno;
	return 0;
}

int cachedb_open_or_renew(struct places *places, sqlite3 **ret_db)
{
	int r;

	if (places_unclean_boot(places)) {
		log_warning("cache: the machine went down while it was in use; beginning with an empty cache");
		r = drop(places);
		if (!r)
			r = places_boot_noted(places);
		if (r)
			return r;
	}
	if (faccessat(places_cache_fd(places), SUSPECT, F_OK, 0) == 0) {
		r = cachedb_set_aside(places);
		if (r)
			return r;
	}
	r = cachedb_open(places, ret_db);
	if (r != -EUCLEAN && r != -EPROTO)
		return r;
	log_warning("cache: " NAME " is %s; set aside as " DAMAGED ", beginning with an empty cache",
		    r == -EUCLEAN ? "damaged" : "of another version");
	r = cachedb_set_aside(places);
	return r ? r : cachedb_open(places, ret_db);
}

void cachedb_note_damage(struct places *places)
{
	_cleanup_close_ int fd = openat(places_cache_fd(places), SUSPECT,
					O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0)
		log_warning("cache: " NAME " is damaged; the next mount begins with an empty cache");
}
