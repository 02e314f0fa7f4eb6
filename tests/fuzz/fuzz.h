/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fuzz - what the targets share: taking an input apart, and saying what does
 * not hold.  One process, one thread that calls.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "cache/places.h"

/* A property.  Unlike assert, always on; the input is kept by libFuzzer. */
#define REQUIRE(condition)                                                                       \
	do {                                                                                     \
		if (!(condition))                                                                \
			fuzz_fail(__FILE__, __LINE__, #condition);                               \
	} while (0)

__attribute__((noreturn)) void fuzz_fail(const char *file, int line, const char *condition);

/* An input that is eaten from its front; at its end it gives zeros and "". */
struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

uint8_t fuzz_byte(struct fuzz_input *in);
uint64_t fuzz_number(struct fuzz_input *in);
/* Up to the next NUL; NUL-terminated copy of the caller's. */
char *fuzz_text(struct fuzz_input *in);

/* Cache and state directory in memory, made anew by each call; removed at the
 * end of the process. */
struct places *fuzz_places(void);
const char *fuzz_state_dir(void);
void fuzz_remove_tree(const char *path);
