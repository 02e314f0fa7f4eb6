/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * handover - what the next worker must know of open files, should this one die.
 *
 * Tables in memory that outlives the process: the handles that the kernel
 * holds, and of each file with local content, an unpublished change or an
 * error to repeat, what is neither in cache/meta nor in the journal.  Names are
 * not here: a node's id leads to its path.
 *
 * Invariants
 *   H1  A record is replaced as a whole: there are two copies, and which one
 *	 counts changes last.
 *   H2  A handle is here before the kernel hears of it, and until it was closed.
 *
 * Threads: a record's owner calls (under inode.lock for files); handover.lock
 * guards the free lists and is a leaf.
 * Not here: where the memory comes from (fs/channel), restoring (fs/recover).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct handover;

enum handover_flags {
	HANDOVER_DIRTY = 1,
	HANDOVER_WROTE = 2,
	HANDOVER_COPY = 4,
	HANDOVER_MTIME = 8,
	HANDOVER_WITHDRAWN = 16,
};

struct handover_file {
	uint64_t node;
	uint64_t number; /* in the spool; 0: none, or staged */
	uint64_t journal_row;
	int64_t mtime_ns;
	int32_t error;
	uint32_t flags;
};

struct handover_handle {
	uint64_t number;
	uint64_t node;
	bool may_write;
};

/* Bytes that the tables take, all zero at first. */
size_t handover_size(void);
/* memory: borrowed, of that size; NULL: of its own, for one that hands nothing
 * over. */
int handover_open(void *memory, struct handover **ret_handover);
struct handover *handover_close(struct handover *handover);

/* *cell: 0 at first; where the record is.  -ENFILE: the table is full. */
int handover_save_file(struct handover *handover, uint32_t *cell,
		       const struct handover_file *file);
void handover_drop_file(struct handover *handover, uint32_t *cell);
int handover_save_handle(struct handover *handover, uint32_t *cell,
			 const struct handover_handle *handle);
void handover_drop_handle(struct handover *handover, uint32_t *cell);
/* One that the kernel never heard of. */
void handover_forget_handle(struct handover *handover, uint64_t number);

/* Each record that is there; a non-zero return ends it and is returned. */
typedef int (*handover_file_fn)(void *arg, uint32_t cell, const struct handover_file *file);
typedef int (*handover_handle_fn)(void *arg, uint32_t cell, const struct handover_handle *handle);
int handover_each_file(struct handover *handover, handover_file_fn fn, void *arg);
int handover_each_handle(struct handover *handover, handover_handle_fn fn, void *arg);
