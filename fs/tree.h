/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tree - names: what exists, and making and removing it.
 *
 * Knowledge is in cache/meta; here is decided whether it is fresh enough, and
 * how the gateway is asked with the fewest requests (know.c).
 *
 * Invariants
 *   T1  A function asks before it has any effect.  On a thread that may not
 *	 wait for the gateway it returns -EAGAIN instead, and can be called
 *	 again from its beginning.
 *   T2  Absence is never concluded from an answer that failed.
 *   T3  A stale positive serves when the gateway cannot be asked; a stale
 *	 negative or listing fails.
 *
 * Threads: call from any.  The kernel holds the directory's lock for changes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cache/meta.h"
#include "fs/fs.h"

struct inode;

struct attr {
	uint64_t id;
	enum meta_kind kind; /* META_FILE or META_DIR */
	int64_t size_bytes;
	int64_t mtime_ns;
	double entry_ttl_s; /* how long the kernel may believe the name */
};

/* ---- asking (know.c) ---- */

/* What is at (dir, name): a file or directory, or -ENOENT. */
int know_entry(struct fs *fs, uint64_t dir, const char *name, struct meta_entry *ret_entry);
/* All of a directory is known and fresh afterwards. */
int know_children(struct fs *fs, uint64_t dir);
/* For how long an entry may be believed; 0: not at all. */
double know_ttl_s(struct fs *fs, const struct meta_entry *entry);
/* How long a name may be believed to be absent. */
double know_absent_ttl_s(struct fs *fs);

/* ---- the tree ---- */

int tree_lookup(struct fs *fs, uint64_t dir, const char *name, struct attr *ret_attr);
int tree_getattr(struct fs *fs, uint64_t id, struct attr *ret_attr);

typedef bool (*tree_child_fn)(void *arg, const char *name, const struct attr *attr);
/* Children with id > cookie, in order of id, until fn says stop (false); the
 * listing is made fresh at cookie 0. */
int tree_children(struct fs *fs, uint64_t dir, uint64_t cookie, tree_child_fn fn, void *arg);

/* A new empty file, with a reference to its inode.  -EEXIST. */
int tree_create(struct fs *fs, uint64_t dir, const char *name, struct attr *ret_attr,
		struct inode **ret_inode);
/* The inode of a file that is opened, with a reference. */
int tree_open(struct fs *fs, uint64_t id, struct inode **ret_inode);
int tree_mkdir(struct fs *fs, uint64_t dir, const char *name, struct attr *ret_attr);
int tree_unlink(struct fs *fs, uint64_t dir, const char *name);
int tree_rmdir(struct fs *fs, uint64_t dir, const char *name);
/* flags: RENAME_NOREPLACE or 0. */
int tree_rename(struct fs *fs, uint64_t dir, const char *name, uint64_t new_dir,
		const char *new_name, unsigned flags);
/* mtime_ns < 0: unchanged; size < 0: unchanged. */
int tree_setattr(struct fs *fs, uint64_t id, int64_t size_bytes, int64_t mtime_ns);
/* A file that is open and goes: its bytes into the cache, for its readers (T1).
 * inode may be NULL. */
int tree_preserve(struct inode *inode);
/* It has no name any more.  true: a publish is under way, and will clean up. */
bool tree_detach(struct inode *inode);

/* A directory stays when its last entry goes, as on a disk. */
void tree_keep_dir(struct fs *fs, uint64_t dir);

/* The seq of a name whose object is still to be deleted: no listing brings it
 * back meanwhile. */
#define SEQ_DELETING ((uint64_t)INT64_MAX)
/* The delete of a name's object has ended: it is gone, or (error) it is not and
 * has to be asked for. */
void tree_deleted(struct fs *fs, uint64_t dir, const char *name, int error);

/* A name whose content was refused goes. */
void tree_withdraw(struct fs *fs, uint64_t id);
/* Was this path's object written by this mount, and is it still there? */
bool tree_known_here(struct fs *fs, const char *path);
/* What is known of a path, without asking.  -ENODATA. */
int tree_find_known(struct fs *fs, const char *path, struct meta_entry *ret_entry);
/* The file at a path, its directories made up where they are not known; for
 * the journal's replay. */
int tree_make_path(struct fs *fs, const char *path, struct meta_entry *ret_entry);
