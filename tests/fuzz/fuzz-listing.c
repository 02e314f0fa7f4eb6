/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fuzz-listing - names from the bucket on their way to file names.
 *
 * The gateway is replaced where the core asks it (the linker wraps two
 * functions): its listings hold any keys, its HEADs find nothing.  What the tree
 * shows then must be names of files, each the key that the listing had.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cache/meta.h"
#include "fs/fs.h"
#include "fs/handover.h"
#include "fs/name.h"
#include "fs/pool.h"
#include "fs/s3/list.h"
#include "fs/s3/object.h"
#include "fs/tree.h"

#define PREFIX "p/"
#define ENTRIES_MAX 64
#define CHILDREN_MAX 256
#define RUNS_A_CACHE 500 /* rows of names that are gone stay */

static struct places *places;
static struct fs *fs;
static unsigned runs;
static struct fuzz_input input;
static struct s3_listing *sent; /* a copy of what was listed last */

void __wrap_s3_list_page(struct s3_client *client, const char *prefix, char delimiter,
			 const char *token, unsigned max_keys, enum s3_class class,
			 s3_done_fn done, void *arg);
void __wrap_s3_object_head(struct s3_client *client, const char *key, enum s3_class class,
			   s3_done_fn done, void *arg);

static struct s3_listing *listing_new(void)
{
	struct s3_listing *l = calloc(1, sizeof(*l));
	REQUIRE(l && (l->entries = calloc(ENTRIES_MAX, sizeof(*l->entries))));
	return l;
}

static void add_entry(struct s3_listing *l, const char *key, bool is_prefix, uint8_t size)
{
	struct s3_list_entry *e = &l->entries[l->count++];
	REQUIRE((e->key = strdup(key)));
	e->is_prefix = is_prefix;
	e->size_bytes = size;
	e->mtime_ns = size;
	snprintf(e->etag, sizeof(e->etag), "e%u", size);
}

/* Keys are mostly under the prefix that was asked for, as they should be. */
static struct s3_listing *read_listing(const char *prefix)
{
	struct s3_listing *l = listing_new();
	s3_listing_free(sent);
	sent = listing_new();
	while (input.left && l->count < ENTRIES_MAX) {
		_cleanup_buf_ struct buf key = { 0 };
		uint8_t kind = fuzz_byte(&input), size = fuzz_byte(&input);
		_cleanup_free_ char *text = fuzz_text(&input);
		if (kind % 8)
			REQUIRE(buf_add_str(&key, prefix) == 0);
		REQUIRE(buf_add_str(&key, text) == 0);
		bool is_prefix = kind % 3 == 0;
		if (is_prefix)
			REQUIRE(buf_add_str(&key, "/") == 0);
		add_entry(l, key.data, is_prefix, size);
		add_entry(sent, key.data, is_prefix, size);
	}
	return l;
}

void __wrap_s3_list_page(struct s3_client *client, const char *prefix, char delimiter,
			 const char *token, unsigned max_keys, enum s3_class class,
			 s3_done_fn done, void *arg)
{
	size_t n = strlen(prefix);
	REQUIRE(n == 0 || prefix[n - 1] == '/'); /* L1 */
	REQUIRE(!strncmp(prefix, PREFIX, strlen(PREFIX)));
	struct s3_reply reply = { .status = 200, .listing = read_listing(prefix) };
	done(arg, &reply);
}

void __wrap_s3_object_head(struct s3_client *client, const char *key, enum s3_class class,
			   s3_done_fn done, void *arg)
{
	struct s3_reply reply = { .status = 404, .error = -ENOENT };
	REQUIRE(!strncmp(key, PREFIX, strlen(PREFIX)));
	done(arg, &reply);
}

static void fs_end(void)
{
	fs = fs_free(fs);
	places_close(places);
	sent = s3_listing_free(sent);
}

static void fs_begin(void)
{
	struct fs_config config = { .prefix = PREFIX, .timeout_s = 1, .connections = 1,
				    .part_size_bytes = 5 << 20 };
	char message[1024];
	places = fuzz_places();
	struct handover *handover;
	REQUIRE(handover_open(NULL, &handover) == 0);
	REQUIRE(fs_create(&config, places, NULL, handover, &fs, message, sizeof(message)) == 0);
	fs->began_ms = meta_now_ms();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_setup("fuzz", LOG_LVL_ERROR, LOG_TEXT);
	pool_set_may_wait(true);
	fs_begin();
	atexit(fs_end);
	return 0;
}

static struct {
	struct attr attr[CHILDREN_MAX];
	char name[CHILDREN_MAX][META_NAME_MAX + 1];
	unsigned count;
} all; /* that the directory shows */

static bool add_child(void *arg, const char *name, const struct attr *attr)
{
	REQUIRE(strlen(name) <= META_NAME_MAX);
	all.attr[all.count] = *attr;
	strcpy(all.name[all.count], name);
	return ++all.count < CHILDREN_MAX;
}

/* Is there a key that is prefix + name, or one that this directory is for? */
static bool was_listed(const char *key, enum meta_kind kind)
{
	size_t n = strlen(key);
	for (size_t i = 0; sent && i < sent->count; i++) {
		const char *listed = sent->entries[i].key;
		if (!strncmp(listed, key, n) && (kind == META_DIR ? listed[n] == '/' : !listed[n]))
			return true;
	}
	return false;
}

/* Not layout_name_ok: what it lets through is the question. */
static bool is_name(const char *name, size_t length)
{
	return length && length <= 255 && !strchr(name, '/') && strcmp(name, ".") &&
	       strcmp(name, "..");
}

static bool is_shown(const char *name)
{
	for (unsigned i = 0; i < all.count; i++)
		if (!strcmp(all.name[i], name))
			return true;
	return false;
}

/* Nothing that can be a name is left out. */
static void check_complete(const char *prefix)
{
	size_t skip = strlen(prefix);
	for (size_t i = 0; sent && i < sent->count; i++) {
		char *key = sent->entries[i].key;
		if (strncmp(key, prefix, skip))
			continue;
		size_t n = strlen(key + skip);
		if (n && key[skip + n - 1] == '/')
			key[skip + --n] = 0;
		if (is_name(key + skip, n))
			REQUIRE(is_shown(key + skip));
	}
}

/* What a directory shows, if its listing is this input. */
static void check_children(uint64_t dir, const char *prefix, const void *data, size_t size)
{
	input = (struct fuzz_input){ data, size };
	all.count = 0;
	int r = tree_children(fs, dir, 0, add_child, NULL);
	REQUIRE(r == 0);
	for (unsigned i = 0; i < all.count; i++) {
		_cleanup_(name_free) struct name n = { 0 };
		_cleanup_buf_ struct buf key = { 0 };
		const char *name = all.name[i];
		REQUIRE(is_name(name, strlen(name)));
		for (unsigned j = 0; j < i; j++)
			REQUIRE(strcmp(name, all.name[j]));
		REQUIRE(name_of(fs, dir, name, &n) == 0);
		REQUIRE(buf_addf(&key, "%s%s", prefix, name) == 0);
		REQUIRE(!strcmp(n.key.data, key.data));
		REQUIRE(was_listed(key.data, all.attr[i].kind));
		REQUIRE(all.attr[i].size_bytes >= 0 && all.attr[i].size_bytes <= 255);
	}
	check_complete(prefix);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (++runs % RUNS_A_CACHE == 0) {
		fs_end();
		fs_begin();
	}
	check_children(META_ROOT_ID, PREFIX, data, size);
	/* The same bytes as what is in a directory. */
	check_children(META_ROOT_ID, PREFIX, "\3\0d", 4);
	REQUIRE(all.count == 1 && all.attr[0].kind == META_DIR);
	check_children(all.attr[0].id, PREFIX "d/", data, size);
	return 0;
}
