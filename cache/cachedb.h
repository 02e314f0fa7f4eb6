/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * cachedb - the one database of the cache directory, shared by meta and chunk.
 *
 * Each has a connection of its own.  Losing this file costs speed only, so one
 * that is damaged, of another version, or older than a crash of the machine is
 * set aside or dropped, and begun anew.  That pulls the file from under every
 * other connection (whose close would then remove the new file's WAL): so only
 * meta does it, and meta_open comes before chunk_store_open.
 *
 * Files:  cache.db (with -wal and -shm), cache.db.damaged (the last one set
 * aside), cache.db.suspect (damage was met while mounted; set aside at next open).
 *
 * Internal to cache/.  Threads: while opening, one.
 */
#pragma once

#include <sqlite3.h>

struct places;

/* For meta: always a database that can be used, but for errors of the disk. */
int cachedb_open_or_renew(struct places *places, sqlite3 **ret_db);
/* The file that is there goes to cache.db.damaged.  Nobody has it open. */
int cachedb_set_aside(struct places *places);
/* For the rest: what is there, or -EUCLEAN. */
int cachedb_open(struct places *places, sqlite3 **ret_db);
/* Damage was met in use: the next mount begins anew. */
void cachedb_note_damage(struct places *places);

#define CACHEDB_SCHEMA_CHUNKS                                                                \
	"CREATE TABLE chunks("                                                               \
	" name TEXT PRIMARY KEY NOT NULL,"                                                   \
	" size INTEGER NOT NULL,"                                                            \
	" bytes INTEGER NOT NULL," /* present */                                             \
	" stamp INTEGER NOT NULL," /* of the last use; larger is later */                    \
	" map BLOB"		   /* NULL: complete */                                      \
	") WITHOUT ROWID;"                                                                   \
	"CREATE INDEX chunks_stamp ON chunks(stamp, name);"
