/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * scratch - a pair of directories of our own for each test.
 *
 * Includes cmocka and what it wants before it.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/places.h"

#define SCRATCH_OWNER "http://127.0.0.1:7777/bucket/prefix"

struct scratch {
	char root[64];
	char cache[128], state[128];
	char message[1024];
	struct places *places;
};

/* cmocka's setup and teardown; *state is a struct scratch. */
int scratch_setup(void **state);
int scratch_teardown(void **state);

/* The same directories, as another mount finds them.  Asserts. */
void scratch_open(struct scratch *scratch);
void scratch_close(struct scratch *scratch);

/* A file in a directory, by format of its path. */
bool scratch_exists(const char *dir, const char *name);
void scratch_write(const char *dir, const char *name, const char *data, size_t length);
/* What is in a directory, but for . and .. */
unsigned scratch_count(const char *dir, const char *name);
void scratch_remove_tree(const char *path);

struct scratch *scratch_of(void **state);
