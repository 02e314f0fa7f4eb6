/* SPDX-License-Identifier: GPL-3.0-or-later */
/* handover - see handover.h */
#include "fs/handover.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define FILES 16384u
#define HANDLES 65536u

struct file_cell {
	_Atomic uint32_t which; /* 0: free; else the copy that counts, from 1 */
	struct handover_file copy[2];
};

struct handle_cell {
	_Atomic uint32_t used;
	struct handover_handle handle;
};

struct tables {
	struct file_cell files[FILES];
	struct handle_cell handles[HANDLES];
};

/* Cells that are free: a stack.  Never used ones come last. */
struct free_list {
	uint32_t *cells;
	uint32_t count;
};

struct handover {
	pthread_mutex_t lock;
	struct tables *tables;
	bool owned;
	struct free_list files, handles; /* guarded by lock */
};

size_t handover_size(void)
{
	return sizeof(struct tables);
}

int handover_open(void *memory, struct handover **ret_handover)
{
	struct handover *h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	h->owned = !memory;
	h->tables = memory ? memory : calloc(1, sizeof(*h->tables));
	h->files.cells = calloc(FILES, sizeof(uint32_t));
	h->handles.cells = calloc(HANDLES, sizeof(uint32_t));
	if (!h->tables || !h->files.cells || !h->handles.cells) {
		handover_close(h);
		return -ENOMEM;
	}
	for (uint32_t i = FILES; i-- > 0;)
		if (!h->tables->files[i].which)
			h->files.cells[h->files.count++] = i;
	for (uint32_t i = HANDLES; i-- > 0;)
		if (!h->tables->handles[i].used)
			h->handles.cells[h->handles.count++] = i;
	*ret_handover = h;
	return 0;
}

struct handover *handover_close(struct handover *h)
{
	if (!h)
		return NULL;
	if (h->owned)
		free(h->tables);
	free(h->files.cells);
	free(h->handles.cells);
	pthread_mutex_destroy(&h->lock);
	free(h);
	return NULL;
}

/* *cell: its index, from 1. */
static int take(struct handover *h, struct free_list *list, uint32_t *cell)
{
	LOCK_SCOPE(&h->lock);
	if (!list->count)
		return -ENFILE;
	*cell = list->cells[--list->count] + 1;
	return 0;
}

static void give_back(struct handover *h, struct free_list *list, uint32_t *cell)
{
	LOCK_SCOPE(&h->lock);
	list->cells[list->count++] = *cell - 1;
	*cell = 0;
}

int handover_save_file(struct handover *h, uint32_t *cell, const struct handover_file *file)
{
	int r = *cell ? 0 : take(h, &h->files, cell);
	if (r < 0)
		return r;
	struct file_cell *c = &h->tables->files[*cell - 1];
	uint32_t now = c->which, other = now == 1 ? 2 : 1;
	if (now && !memcmp(&c->copy[now - 1], file, sizeof(*file)))
		return 0;
	c->copy[other - 1] = *file;
	c->which = other;
	return 0;
}

void handover_drop_file(struct handover *h, uint32_t *cell)
{
	if (!*cell)
		return;
	h->tables->files[*cell - 1].which = 0;
	give_back(h, &h->files, cell);
}

int handover_save_handle(struct handover *h, uint32_t *cell, const struct handover_handle *handle)
{
	int r = take(h, &h->handles, cell);
	if (r < 0)
		return r;
	struct handle_cell *c = &h->tables->handles[*cell - 1];
	c->handle = *handle;
	c->used = 1;
	return 0;
}

void handover_drop_handle(struct handover *h, uint32_t *cell)
{
	if (!*cell)
		return;
	h->tables->handles[*cell - 1].used = 0;
	give_back(h, &h->handles, cell);
}

void handover_forget_handle(struct handover *h, uint64_t number)
{
	for (uint32_t i = 0; i < HANDLES; i++) {
		struct handle_cell *c = &h->tables->handles[i];
		if (c->used && c->handle.number == number) {
			uint32_t cell = i + 1;
			handover_drop_handle(h, &cell);
		}
	}
}

int handover_each_file(struct handover *h, handover_file_fn fn, void *arg)
{
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < FILES; i++) {
		struct file_cell *c = &h->tables->files[i];
		if (c->which)
			r = fn(arg, i + 1, &c->copy[c->which == 1 ? 0 : 1]);
	}
	return r;
}

int handover_each_handle(struct handover *h, handover_handle_fn fn, void *arg)
{
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < HANDLES; i++) {
		struct handle_cell *c = &h->tables->handles[i];
		if (c->used)
			r = fn(arg, i + 1, &c->handle);
	}
	return r;
}
