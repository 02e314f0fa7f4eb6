/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fuzz-options - any words as the command line.
 *
 * Accepted: every field is within its bounds, texts are there, the owner's line
 * can be written.  Refused: one line says why.  Leaks are ASan's.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "fs/options.h"

#define WORDS_MAX 16

static void check_accepted(const struct options *o)
{
	_cleanup_buf_ struct buf owner = { 0 };
	size_t n = strlen(o->prefix);
	REQUIRE(strlen(o->bucket) >= 3 && strlen(o->bucket) <= 63 && !strchr(o->bucket, '/'));
	REQUIRE(n <= S3_KEY_MAX / 2 && o->prefix[0] != '/' && !strstr(o->prefix, "//"));
	REQUIRE(!n || o->prefix[n - 1] == '/');
	REQUIRE(strncmp(o->prefix, "../", 3) && !strstr(o->prefix, "/../"));
	REQUIRE(o->mountpoint && o->endpoint && o->region && o->cache_dir && o->state_dir);
	REQUIRE(o->meta_ttl <= 86400 && o->timeout >= 1 && o->timeout <= 86400);
	REQUIRE(o->connections >= 1 && o->connections <= 500 && o->req_rate <= 100000);
	REQUIRE(o->part_size >= 5ull << 20 && o->part_size <= 5ull << 30);
	REQUIRE(o->umask <= 0777 && o->uid < UINT32_MAX && o->gid < UINT32_MAX);
	REQUIRE(!(o->exclusive && o->shared) && !o->writeback && !o->prefetch);
	REQUIRE(options_owner(o, &owner) == 0 && owner.length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct options o;
	char message[1024] = "", *argv[WORDS_MAX + 1] = { NULL };
	int argc = 0;
	argv[argc++] = strdup("tardigradefs");
	while (in.left && argc < WORDS_MAX)
		argv[argc++] = fuzz_text(&in);

	int r = options_parse(argc, argv, &o, message, sizeof(message));
	REQUIRE(r == 0 || r == -EINVAL);
	REQUIRE((r == 0) == !message[0]);
	if (r == 0 && !o.show_help && !o.show_version)
		check_accepted(&o);
	options_free(&o);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	return 0;
}
