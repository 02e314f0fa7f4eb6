/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * meta - what is known of the bucket's tree, in cache_dir/cache.db.
 *
 * A row is an entry: a file, a directory, or the knowledge that a name is
 * absent.  Its id is the inode number and FUSE node id.
 *
 * Invariants
 *   M1  Ids come from places_next_id: never reused.  A row is committed before
 *	 its id is returned.
 *   M2  At most one row has a given (parent, name).  Detached rows (unlinked,
 *	 replaced) have parent 0 and stay until the next meta_open.
 *   M3  A listing changes no row whose seq is above the listing's: our own
 *	 changes beat any listing that began before them.
 *   M4  Content that someone else wrote (another ETag) gets a new id.  Our own
 *	 writes keep theirs (meta_update).
 *   M5  A row with META_LOCAL or META_KEPT is not made absent by a listing.
 *   M6  Nor does a listing change what a listing that began later said, or what
 *	 was checked after it began.  A directory below which M3, M5 or this holds
 *	 for something stays.
 *
 * A change is in the bucket some time after it is here, and a listing may begin
 * in between.  Until then the row carries META_LOCAL (an ABSENT one too) or a
 * seq above all others; once it is done it gets a new seq (meta_update).
 *
 * The root has no name and parent 0, and is never detached.
 * A call on a database that turns out to be damaged is -EUCLEAN, and the next
 * mount begins with an empty one; so does one after a crash of the machine.
 *
 * Time is CLOCK_REALTIME in ms.  What an earlier mount knew is kept with its
 * times; whoever asks decides what is too old.
 * Threads: call from any.  meta.lock is held across SQLite calls; nothing is
 * taken inside it but places' lock.
 * Not here: asking the gateway, and what a path means.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "cache/places.h"

#define META_ROOT_ID 1 /* FUSE_ROOT_ID; parent of top-level entries; always there */
#define META_NAME_MAX 255
#define META_ETAG_MAX 80

enum meta_kind { META_ABSENT = 0, META_FILE = 1, META_DIR = 2 };

enum meta_flags {
	META_LOCAL = 1,	    /* made here, and nothing of it is in the bucket yet */
	META_MARKER = 2,    /* a directory that has a `dir/` object */
	META_MTIME_OWN = 4, /* mtime is the file's own, not the time of the PUT */
	META_KEPT = 8, /* a directory that stays, until the next meta_open, though
			* its last entry went: as on a disk */
};

struct meta_entry {
	uint64_t id;
	uint64_t parent; /* 0: detached */
	enum meta_kind kind;
	unsigned flags;
	int64_t size_bytes;
	int64_t mtime_ns;
	int64_t checked_ms;  /* when the bucket last said so, or we made it so; 0 never */
	uint64_t seq;	     /* of our last change; 0: never changed here */
	uint64_t listed_seq; /* directory: when its last complete listing began; 0 never */
	int64_t listed_ms;
	char etag[META_ETAG_MAX];
	char name[META_NAME_MAX + 1];
};

struct meta;

/* go_on: the mount goes on that another process had begun, so all stays.  Else
 * drops what cannot be true any more: detached and absent rows, and rows with
 * META_LOCAL, with all below them; directories in which we had made or removed
 * something so are no longer listed.  A damaged database is set aside as
 * cache.db.damaged and begun anew. */
int meta_open(struct places *places, bool go_on, struct meta **ret_meta);
struct meta *meta_close(struct meta *meta);

int meta_get(struct meta *meta, uint64_t id, struct meta_entry *ret_entry); /* -ENOENT */
/* -ENODATA: nothing known of this name.  An ABSENT row is a success. */
int meta_find(struct meta *meta, uint64_t parent, const char *name,
	      struct meta_entry *ret_entry);
/* Adds "a/b/c" ("" for the root).  -ENOENT: no such id.  -ESTALE: it, or a
 * directory above it, is detached. */
int meta_path(struct meta *meta, uint64_t id, struct buf *path);

/* Puts an entry at (parent, name), in place of what was there (which is
 * detached, but an ABSENT row is deleted).  id 0: a new one; set on success. */
int meta_insert(struct meta *meta, struct meta_entry *entry);
/* All fields but parent and name, by id.  -ENOENT: an ABSENT row whose name was
 * taken meanwhile, for one. */
int meta_update(struct meta *meta, const struct meta_entry *entry);
/* Detaches the entry and leaves an ABSENT row (seq, checked_ms) at its name.
 * -ENOENT: detached or absent already.  -EBUSY: the root. */
int meta_remove(struct meta *meta, uint64_t id, uint64_t seq, int64_t now_ms);
/* Moves, detaching what is at the target and leaving an ABSENT row behind; both
 * ends get `seq`.  -ENOTDIR, -EINVAL (below itself), and those of meta_remove. */
int meta_move(struct meta *meta, uint64_t id, uint64_t new_parent, const char *new_name,
	      uint64_t seq, int64_t now_ms);
/* Clears META_LOCAL of a directory and of its parents, up to the first
 * without: something below is in the bucket now. */
int meta_rooted(struct meta *meta, uint64_t dir);

/* Files and directories below `dir` with id > after, in order of id. */
int meta_children(struct meta *meta, uint64_t dir, uint64_t after, unsigned limit,
		  struct meta_entry *ret_entries, unsigned *ret_count);
/* What this mount has begun in the bucket and not done: ABSENT rows whose seq is
 * above all others, directories with META_LOCAL or META_KEPT; with id > after. */
int meta_unfinished(struct meta *meta, uint64_t after, unsigned limit,
		    struct meta_entry *ret_entries, unsigned *ret_count);
int meta_has_children(struct meta *meta, uint64_t dir, bool *ret_has);

/* One thing that a listing says of a name in a directory. */
struct meta_listed {
	const char *name; /* borrowed; one component, checked by the caller */
	enum meta_kind kind;
	int64_t size_bytes;
	int64_t mtime_ns;
	const char *etag; /* borrowed; NULL for a directory */
};

/*
 * A listing of one directory: begin (gives its seq), any number of pages, end.
 * end makes absent what no page named (M3, M5) and notes the directory as
 * listed.  A name that is both file and directory becomes the directory,
 * whatever the order.  Same ETag: the entry keeps id and, with META_MTIME_OWN,
 * its mtime.  A listing that fails is simply not ended.
 *
 * A directory with META_LOCAL that is listed as one loses the flag, and is not
 * listed any more (others have put something there), unless what was listed may
 * be what we are deleting.  If a later listing of the directory has ended, page
 * and end do nothing.  -ENOENT: the directory is detached or unknown.
 */
uint64_t meta_listing_begin(struct meta *meta);
int meta_listing_page(struct meta *meta, uint64_t dir, uint64_t began_seq, int64_t began_ms,
		      const struct meta_listed *listed, size_t count);
int meta_listing_end(struct meta *meta, uint64_t dir, uint64_t began_seq, int64_t began_ms);

int64_t meta_now_ms(void);
