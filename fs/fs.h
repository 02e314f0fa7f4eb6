/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fs - one mounted bucket: what all modules of the core share.
 *
 * Made before the fork (opens and checks things, starts nothing), started
 * after it (threads), stopped when the kernel is gone (finishes what is under
 * way), and then freed.
 *
 * Threads: fields without a note are set by fs_create and only read after.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"

struct places;
struct s3_client;
struct meta;
struct chunk_store;
struct staging;
struct spool;
struct journal;
struct pool;
struct handover;
struct inodes;
struct pending;
struct markers;
struct writeback;

enum dirmarkers { DIRMARKERS_LAZY, DIRMARKERS_ALWAYS, DIRMARKERS_NEVER };

struct fs_config {
	const char *prefix; /* in the bucket: "" or "a/b/", ends in '/' */
	bool exclusive;	    /* no one else writes here: what is known stays true */
	bool shared;	    /* others do: ask again at open, believe no absence */
	bool read_only;
	unsigned meta_ttl_s;
	uint64_t cache_size_bytes;    /* 0: no limit */
	uint64_t cache_reserve_bytes; /* of the disk, to be left free */
	uint64_t part_size_bytes;
	unsigned timeout_s;
	unsigned connections;
	enum dirmarkers dirmarkers;
	uid_t uid;
	gid_t gid;
	mode_t umask;
	bool writeback;
	uint64_t writeback_max_bytes;
	bool takeover;	  /* a worker served this mount before: it goes on */
	int64_t began_ms; /* when the first of them began */
	/* Called when a part of something long is done; from any thread. */
	void (*progress)(void *arg);
	void *progress_arg;
};

/* How the kernel is told that what it caches is not true any more.  Set by who
 * mounts; called from workers, never inside a request.  Either may be NULL. */
struct fs_kernel {
	void *arg;
	void (*content)(void *arg, uint64_t id);
	void (*entry)(void *arg, uint64_t parent, const char *name);
};

struct fs {
	struct fs_config config;
	struct places *places; /* borrowed, as is s3 */
	struct s3_client *s3;
	struct meta *meta;
	struct chunk_store *chunks;
	struct staging *staging;
	struct spool *spool;
	struct journal *journal;
	struct handover *handover; /* owned */
	struct pool *waiters; /* threads that may wait for the gateway */
	struct pool *workers; /* threads that only compute and use the disk */
	struct inodes *inodes;	 /* nodes with something open or under way */
	struct pending *pending; /* keys with a change under way */
	struct markers *markers; /* directories that may need one */
	struct writeback *writeback; /* NULL: without */
	_Atomic uint64_t kept_bytes; /* by writeback, and not in the bucket yet */
	struct fs_kernel kernel;
	int64_t began_ms; /* existence known before this mount began is not believed */
	char *prefix;	  /* owned copy of config.prefix */
	_Atomic uint64_t hidden_keys; /* that cannot be file names */
	bool staged_anywhere; /* the staging tree was not empty at the start */
};

/*
 * Opens cache and state, reads the journal.  places and s3 are borrowed until
 * fs_free; handover is fs's, also on failure.  On failure a negative errno and one line for the operator (what,
 * and the cure) in ret_message.
 */
int fs_create(const struct fs_config *config, struct places *places, struct s3_client *s3,
	      struct handover *handover, struct fs **ret_fs, char *ret_message, size_t room);

/* Starts the threads, then what the journal left to do.  After the fork, once
 * s3_client_start was called. */
int fs_start(struct fs *fs);

/*
 * The kernel sends no more requests: publishes what is written, waits for
 * uploads and deletes (each bounded by timeout_s without progress), writes
 * directory markers; then stops the client and the threads.  0, or the first
 * error: something was left in the state directory, and the log says what.
 */
int fs_stop(struct fs *fs);
struct fs *fs_free(struct fs *fs);

void fs_progress(struct fs *fs);
void fs_notify_content(struct fs *fs, uint64_t id);
void fs_notify_entry(struct fs *fs, uint64_t parent, const char *name);

/* The key of a path (relative, no leading '/'): prefix + path.
 * -ENAMETOOLONG over S3_KEY_MAX. */
int fs_key(const struct fs *fs, const char *path, struct buf *key);
