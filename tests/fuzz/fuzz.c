/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fuzz.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char root[64], cache_dir[96], state_dir[96];

uint8_t fuzz_byte(struct fuzz_input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

uint64_t fuzz_number(struct fuzz_input *in)
{
	uint64_t n = 0;
	for (int i = 0; i < 8; i++)
		n = n << 8 | fuzz_byte(in);
	return n;
}

char *fuzz_text(struct fuzz_input *in)
{
	const uint8_t *nul = in->left ? memchr(in->at, 0, in->left) : NULL;
	size_t n = nul ? (size_t)(nul - in->at) : in->left;
	char *text = strndup((const char *)in->at, n);
	REQUIRE(text);
	in->at += n + !!nul;
	in->left -= n + !!nul;
	return text;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

void fuzz_remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_root(void)
{
	if (root[0])
		fuzz_remove_tree(root);
}

void fuzz_fail(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	remove_root();
	abort();
}

struct places *fuzz_places(void)
{
	struct places *places;
	char message[1024];
	if (!root[0]) {
		strcpy(root, "/dev/shm/tardigradefs-fuzz.XXXXXX");
		REQUIRE(mkdtemp(root));
		snprintf(cache_dir, sizeof(cache_dir), "%s/cache", root);
		snprintf(state_dir, sizeof(state_dir), "%s/state", root);
		atexit(remove_root);
	}
	fuzz_remove_tree(cache_dir);
	fuzz_remove_tree(state_dir);
	REQUIRE(places_open(cache_dir, state_dir, "fuzz", 0, &places, message, sizeof(message)) == 0);
	return places;
}

const char *fuzz_state_dir(void)
{
	return state_dir;
}
