/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-layout - the table of fs/layout: path, class, shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fs/layout.h"

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define R "docker/registry/v2"
#define UUID "4d1d6f0e-1c2b-4b6e-9d07-6a2f4f9f0a11"

static const struct {
	const char *path;
	enum layout_class class;
	enum layout_shape shape;
} table[] = {
	{ "", LAYOUT_MUTABLE, LAYOUT_ANY },
	{ "a/b", LAYOUT_MUTABLE, LAYOUT_ANY },
	{ "docker", LAYOUT_MUTABLE, LAYOUT_ANY },
	{ "docker/registry", LAYOUT_MUTABLE, LAYOUT_ANY },
	{ R, LAYOUT_SKELETON, LAYOUT_DIR },
	{ "deep/er/" R, LAYOUT_SKELETON, LAYOUT_DIR },
	{ "xdocker/registry/v2", LAYOUT_MUTABLE, LAYOUT_ANY },
	{ R "/other", LAYOUT_MUTABLE, LAYOUT_ANY },
	{ R "/blobs", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/blobs/sha256", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/blobs/sha256/e3", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/blobs/sha256/e3/" HEX, LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/blobs/sha256/e3/" HEX "/data", LAYOUT_CONTENT, LAYOUT_FILE },
	{ "x/y/" R "/blobs/sha256/e3/" HEX "/data", LAYOUT_CONTENT, LAYOUT_FILE },
	{ R "/blobs/sha256/ff/" HEX "/data", LAYOUT_MUTABLE, LAYOUT_ANY }, /* wrong shard */
	{ R "/blobs/md5/e3/" HEX "/data", LAYOUT_MUTABLE, LAYOUT_ANY },
	{ R "/blobs/sha256/e3/" HEX "/other", LAYOUT_MUTABLE, LAYOUT_ANY },
	{ R "/blobs/sha256/e3/" HEX "/data/x", LAYOUT_MUTABLE, LAYOUT_ANY },
	{ R "/blobs/sha256/e3/" HEX "/data." UUID ".tmp", LAYOUT_STAGED, LAYOUT_FILE },
	{ R "/blobs/sha256/e3/" HEX "/data.tmp", LAYOUT_MUTABLE, LAYOUT_ANY },
	{ R "/repositories", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/repositories/a/b/c", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/repositories/a/_layers", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/repositories/a/_layers/sha256", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/repositories/a/_layers/sha256/" HEX, LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/repositories/a/_layers/sha256/" HEX "/link", LAYOUT_CONTENT, LAYOUT_FILE },
	{ R "/repositories/a/_layers/sha256/" HEX "/link." UUID ".tmp", LAYOUT_STAGED, LAYOUT_FILE },
	{ R "/repositories/a/_uploads", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/repositories/a/_uploads/" UUID, LAYOUT_STAGED, LAYOUT_ANY },
	{ R "/repositories/a/_uploads/" UUID "/data", LAYOUT_STAGED, LAYOUT_ANY },
	{ R "/repositories/a/_uploads/" UUID "/hashstates/sha256/0", LAYOUT_STAGED, LAYOUT_ANY },
	{ R "/repositories/a/_manifests", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/repositories/a/_manifests/revisions/sha256/" HEX "/link", LAYOUT_CONTENT, LAYOUT_FILE },
	{ R "/repositories/a/_manifests/revisions/sha256/" HEX "/signatures", LAYOUT_SKELETON,
	  LAYOUT_DIR },
	{ R "/repositories/a/_manifests/revisions/sha256/" HEX "/signatures/sha256/" HEX "/link",
	  LAYOUT_CONTENT, LAYOUT_FILE },
	{ R "/repositories/a/_manifests/tags", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/repositories/a/_manifests/tags/v1", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/repositories/a/_manifests/tags/v1/current", LAYOUT_SKELETON, LAYOUT_DIR },
	{ R "/repositories/a/_manifests/tags/v1/current/link", LAYOUT_MUTABLE, LAYOUT_FILE },
	{ R "/repositories/a/_manifests/tags/v1/index/sha256/" HEX "/link", LAYOUT_CONTENT,
	  LAYOUT_FILE },
	{ R "/repositories/a/_unknown/x", LAYOUT_MUTABLE, LAYOUT_ANY },
};

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct layout l;
		layout_parse(table[i].path, &l);
		if (l.class != table[i].class || l.shape != table[i].shape)
			fail_msg("%s: class %d shape %d", table[i].path, l.class, l.shape);
	}
}

static void test_details(void **state)
{
	struct layout l;
	(void)state;
	layout_parse("x/" R "/blobs/sha256/e3/" HEX "/data", &l);
	assert_true(l.is_blob);
	assert_string_equal(l.alg, "sha256");
	assert_string_equal(l.hex, HEX);
	assert_int_equal(l.root_len, strlen("x/" R));
	layout_parse(R "/blobs/sha256/e3/" HEX, &l);
	assert_string_equal(l.leaf, "data");
	layout_parse(R "/repositories/a/_layers/sha256/" HEX, &l);
	assert_string_equal(l.leaf, "link");
	layout_parse(R "/repositories/a/_manifests/tags/v1/current/link", &l);
	assert_true(l.is_link);
	assert_false(l.is_blob);
	layout_parse(R "/repositories/a/_uploads", &l);
	assert_true(l.is_uploads);
	const char *below = R "/repositories/a/b/_uploads/" UUID "/hashstates";
	layout_parse(below, &l);
	assert_int_equal(l.session_len, strlen(R "/repositories/a/b/_uploads/" UUID));
}

static void test_digest(void **state)
{
	char alg[LAYOUT_ALG_MAX], hex[LAYOUT_HEX_MAX];
	(void)state;
	assert_true(layout_parse_digest("sha256:" HEX, 71, alg, hex));
	assert_string_equal(hex, HEX);
	assert_false(layout_parse_digest("sha256:" HEX, 70, alg, hex)); /* torn */
	assert_false(layout_parse_digest("sha256:" HEX "\n", 72, alg, hex));
	assert_false(layout_parse_digest("", 0, alg, hex));
	assert_false(layout_parse_digest("md5:" HEX, 68, alg, hex));
	assert_false(layout_parse_digest("sha512:" HEX, 71, alg, hex)); /* another's length */
	assert_false(layout_parse_digest("sha256:" HEX HEX, 135, alg, hex));
	assert_true(layout_parse_digest("sha512:" HEX HEX, 135, alg, hex));
	assert_false(layout_parse_digest("sha256:../../../../etc/passwd", 29, alg, hex));
}

static void test_names(void **state)
{
	char name[300];
	(void)state;
	memset(name, 'a', sizeof(name));
	assert_true(layout_name_ok(name, 255));
	assert_false(layout_name_ok(name, 256));
	assert_false(layout_name_ok("", 0));
	assert_false(layout_name_ok(".", 1));
	assert_false(layout_name_ok("..", 2));
	assert_true(layout_name_ok("...", 3));
	assert_false(layout_name_ok("a/b", 3));
	assert_false(layout_name_ok("a\0b", 3));
}

/* No depth or length makes it read beyond its end (ASan watches). */
static void test_long(void **state)
{
	static char path[4096];
	struct layout l;
	(void)state;
	for (size_t i = 0; i + 2 < sizeof(path); i += 2)
		memcpy(path + i, "a/", 3);
	layout_parse(path, &l);
	assert_int_equal(l.class, LAYOUT_MUTABLE);
	/* What follows the last part that fits is not cut off the path's meaning. */
	memcpy(path, R "/repositories/", strlen(R "/repositories/"));
	layout_parse(path, &l);
	assert_int_equal(l.class, LAYOUT_MUTABLE);
	layout_parse(R "/blobs/sha256/e3/" HEX HEX "/data", &l);
	assert_false(l.is_blob);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),  cmocka_unit_test(test_details),
		cmocka_unit_test(test_digest), cmocka_unit_test(test_names),
		cmocka_unit_test(test_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
