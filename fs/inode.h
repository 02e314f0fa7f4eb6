/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * inode - nodes with something open or under way, and their handles.
 *
 * What is known of all other nodes is in cache/meta; a struct inode exists
 * only while a handle, a publish or a parked read needs one (its references).
 *
 * A file's bytes are in one of two places: its local content (`local`: a
 * staged file, or a spool file), which wins while it is there, or the object
 * `object_key` of version `etag`.
 *
 * Invariants
 *   I1  At most one struct inode has a given id.
 *   I2  changed > published: the local content (or the copy that a rename
 *	 owes) is not in the bucket at `path` yet.  Then `local` is set, or
 *	 copy_pending.
 *   I3  A staged inode is never published; it becomes unstaged by rename.
 *   I4  An unlinked inode (path NULL) is never published.
 *   I5  local content that is being uploaded (local->busy) is not written:
 *	 the writer makes a copy first.
 *
 * Locks: inodes.lock (the table), then nothing.  inode.lock guards the fields;
 * it may be held over reads and writes of local files in the page cache, never
 * over the gateway or a reply.  inode.lock before meta.lock, pending.lock,
 * chunk store's.  Two inode locks are never held at once.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

#include "cache/meta.h"
#include "fs/fs.h"
#include "fs/layout.h"
#include "fs/pool.h"

struct chunk_file;
struct publish;
struct reading;

/* An open local file; counted, since a reader may still use it while the
 * writer has moved on to a copy. */
struct local {
	atomic_uint refs;
	struct spool *doomed_in; /* its file goes with the last reference; NULL: it stays */
	int fd;
	uint64_t number; /* in the spool; 0: staged */
	atomic_bool busy; /* being uploaded */
	atomic_bool kept; /* a row of the journal names it: not to be changed */
};

struct inode {
	uint64_t id;
	struct fs *fs;
	unsigned refs; /* guarded by inodes.lock */
	UT_hash_handle hh;

	pthread_mutex_t lock;
	/* All below guarded by lock. */
	char *path; /* NULL: unlinked */
	uint64_t parent;
	struct layout layout;
	bool staged;
	bool wrote;	    /* since it was created or truncated to nothing */
	bool copy_pending;  /* what is owed is a copy: the object is still at
			     * object_key, or its mtime has changed */
	bool mtime_pending; /* the copy sets mtime */
	bool withdrawn;	    /* its bytes were not what its path says */
	struct local *local;
	int64_t size_bytes; /* of the local content, else of the object */
	int64_t mtime_ns;
	char etag[META_ETAG_MAX]; /* of the published object; "" none */
	int64_t object_size;
	char *object_key; /* where the published bytes are; NULL: at path's key
			   * (while copy_pending: claimed in fs->pending) */
	uint64_t object_dir; /* of object_key's name, while copy_pending */
	uint64_t changed, published;
	uint64_t journal_row; /* 0: none */
	uint64_t kept;	      /* `changed` as of that row, by writeback; 0: not */
	uint64_t kept_number; /* the spool's file that it names */
	int64_t kept_bytes;
	int error;	      /* of the last publish, until all writers are gone */
	unsigned writers, readers; /* handles */
	struct publish *publish;   /* under way; NULL none */
	struct chunk_file *chunks; /* opened by the first read */
	struct reading *reading;   /* parked reads and fetches; NULL none */
	uint32_t cell;		   /* in fs->handover */
};

struct handle {
	uint64_t number; /* fuse_file_info.fh */
	struct inode *inode; /* one reference */
	bool may_write;
	_Atomic uint64_t next_offset;  /* where a sequential read goes on */
	_Atomic uint64_t window_bytes; /* how far to read ahead */
	uint32_t cell; /* in fs->handover */
	UT_hash_handle hh;
};

int inodes_create(struct inodes **ret_inodes);
struct inodes *inodes_free(struct inodes *inodes);

/* The inode of an entry, made if there is none, with one reference more.
 * path: of the entry; copied. */
int inode_hold(struct fs *fs, const struct meta_entry *entry, const char *path,
	       struct inode **ret_inode);
/* Only if there is one; else NULL. */
struct inode *inode_find(struct fs *fs, uint64_t id);
struct inode *inode_ref(struct inode *inode);
struct inode *inode_put(struct inode *inode);

/* Not published, or owes a copy (I2).  Caller holds inode.lock. */
static inline bool inode_dirty_locked(const struct inode *inode)
{
	return inode->changed > inode->published;
}

/* Every inode, each with a reference of the caller's, in an array of the
 * caller's; for the end of a mount. */
int inodes_all(struct fs *fs, struct inode ***ret_inodes, size_t *ret_count);

/* Notes for a next worker what only this struct knows.  After every change of
 * it; caller holds inode.lock. */
void inode_save_locked(struct inode *inode);

int handle_open(struct fs *fs, struct inode *inode, bool may_write, uint64_t *ret_number);
/* One that the kernel has from an earlier worker. */
int handle_restore(struct fs *fs, struct inode *inode, uint64_t number, bool may_write,
		   uint32_t cell);
/* Borrowed: valid until the handle is closed, which FUSE does last. */
struct handle *handle_get(struct fs *fs, uint64_t number);
void handle_close(struct fs *fs, uint64_t number);

struct local *local_new(int fd, uint64_t number);
struct local *local_ref(struct local *local);
struct local *local_put(struct local *local);

#define _cleanup_inode_ _cleanup_(inode_put_p)
static inline void inode_put_p(struct inode **p)
{
	inode_put(*p);
}
static inline void local_put_p(struct local **p)
{
	local_put(*p);
}
