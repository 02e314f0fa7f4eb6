/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz-layout - any path, any link's content. */
#include "fuzz.h"

#include <string.h>

#include "fs/layout.h"

static size_t digits_of(const char *alg)
{
	return !strcmp(alg, "sha256") ? 64 : !strcmp(alg, "sha384") ? 96
	       : !strcmp(alg, "sha512") ? 128 : 0;
}

static void check_digest(const char *alg, const char *hex)
{
	REQUIRE(digits_of(alg) && strlen(hex) == digits_of(alg));
	REQUIRE(strspn(hex, "0123456789abcdef") == strlen(hex));
}

static bool ends_with(const char *path, const char *with)
{
	size_t n = strlen(path), m = strlen(with);
	return n >= m && !strcmp(path + n - m, with);
}

/* `path` up to `length` is whole components. */
static bool is_cut(const char *path, size_t length)
{
	return !length || (length <= strlen(path) && (path[length] == '/' || !path[length]));
}

/* As layout.h wants it; what it is given else it may take as it likes. */
static bool is_path(const char *path)
{
	return path[0] != '/' && !strstr(path, "//") && !ends_with(path, "/");
}

static void check_path(const char *path)
{
	struct layout l, again;
	memset(&l, 0x55, sizeof(l));
	memset(&again, 0xaa, sizeof(again));
	layout_parse(path, &l);
	layout_parse(path, &again);
	REQUIRE(!memcmp(&l, &again, sizeof(l))); /* nothing but the path counts */

	if (!is_path(path))
		return;
	REQUIRE(is_cut(path, l.root_len) && is_cut(path, l.session_len));
	if (!l.root_len) {
		REQUIRE(l.class == LAYOUT_MUTABLE && !l.is_blob && !l.is_link && !l.is_uploads);
		REQUIRE(!l.leaf && !l.session_len && l.shape == LAYOUT_ANY);
		return;
	}
	REQUIRE(l.root_len >= strlen("docker/registry/v2"));
	REQUIRE(!strncmp(path + l.root_len - strlen("docker/registry/v2"), "docker/registry/v2", 18));
	if (l.is_blob) {
		_cleanup_buf_ struct buf name = { 0 };
		check_digest(l.alg, l.hex);
		REQUIRE(l.class == LAYOUT_CONTENT && l.shape == LAYOUT_FILE && !l.is_link);
		REQUIRE(buf_addf(&name, "/blobs/%s/%.2s/%s/data", l.alg, l.hex, l.hex) == 0);
		REQUIRE(!strcmp(path + l.root_len, name.data));
	}
	if (l.is_link) {
		REQUIRE(l.shape == LAYOUT_FILE && ends_with(path, "/link"));
		REQUIRE(l.class == LAYOUT_CONTENT || l.class == LAYOUT_MUTABLE || l.class == LAYOUT_STAGED);
		if (l.class == LAYOUT_CONTENT)
			check_digest(l.alg, l.hex);
	}
	REQUIRE(l.class != LAYOUT_SKELETON || l.shape == LAYOUT_DIR);
	REQUIRE(l.class != LAYOUT_CONTENT || l.is_blob || l.is_link);
	REQUIRE(!l.leaf || l.class == LAYOUT_SKELETON);
	REQUIRE(!l.session_len || (l.class == LAYOUT_STAGED && l.session_len > l.root_len));
	REQUIRE(!l.is_uploads || ends_with(path, "/_uploads"));
}

static void check_name(const char *name, size_t length)
{
	if (!layout_name_ok(name, length))
		return;
	REQUIRE(length > 0 && length <= 255);
	REQUIRE(!memchr(name, '/', length) && !memchr(name, 0, length));
	REQUIRE(!(length == 1 && name[0] == '.') && !(length == 2 && !memcmp(name, "..", 2)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char alg[LAYOUT_ALG_MAX] = "-", hex[LAYOUT_HEX_MAX] = "-";
	_cleanup_free_ char *text = malloc(size + 1), *rooted = NULL;
	REQUIRE(text);
	memcpy(text, data, size);
	text[size] = 0;
	if (layout_parse_digest(text, size, alg, hex)) {
		check_digest(alg, hex);
		REQUIRE(size == strlen(alg) + 1 + strlen(hex) && !memcmp(text, alg, strlen(alg)));
	} else {
		REQUIRE(!strcmp(alg, "-") && !strcmp(hex, "-"));
	}
	check_name(text, size);
	check_path(text);
	REQUIRE(asprintf(&rooted, "a/docker/registry/v2/%s", text) > 0);
	check_path(rooted);
	return 0;
}
