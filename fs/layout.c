/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/layout.h"

#include <string.h>

/* One component of a path; the text is borrowed. */
struct part {
	const char *text;
	size_t length;
};

/* A key of 1,024 bytes has at most 512; a path of more is no registry's. */
#define PARTS_MAX 520

static bool part_is(struct part p, const char *text)
{
	return strlen(text) == p.length && !memcmp(p.text, text, p.length);
}

static unsigned split(const char *path, struct part *parts)
{
	unsigned n = 0;
	while (*path && n < PARTS_MAX) {
		const char *slash = strchrnul(path, '/');
		parts[n++] = (struct part){ path, slash - path };
		path = *slash ? slash + 1 : slash;
	}
	return *path ? 0 : n; /* longer than any key */
}

/* <alg> and <hex> that belong together. */
static bool is_digest(struct part alg, struct part hex)
{
	size_t length = part_is(alg, "sha256") ? 64 : part_is(alg, "sha384") ? 96
			: part_is(alg, "sha512") ? 128 : 0;
	if (!length || hex.length != length)
		return false;
	for (size_t i = 0; i < hex.length; i++)
		if (!hex.text[i] || !strchr("0123456789abcdef", hex.text[i]))
			return false;
	return true;
}

/* v3 writes `<leaf>.<uuid>.tmp` beside the leaf and renames it. */
static bool is_temporary(struct part p)
{
	static const char *const leaves[] = { "data.", "link.", "startedat." };
	if (p.length < 10 || memcmp(p.text + p.length - 4, ".tmp", 4))
		return false;
	for (unsigned i = 0; i < sizeof(leaves) / sizeof(*leaves); i++) {
		size_t n = strlen(leaves[i]);
		if (p.length > n + 4 && !memcmp(p.text, leaves[i], n))
			return true;
	}
	return false;
}

static void be(struct layout *l, enum layout_class class, enum layout_shape shape)
{
	l->class = class;
	l->shape = shape;
}

static void copy_part(char *to, size_t room, struct part p)
{
	size_t n = p.length < room ? p.length : room - 1;
	memcpy(to, p.text, n);
	to[n] = 0;
}

/* <alg>/<hex>/link, below _layers, revisions and index. */
static void parse_links(struct layout *l, const struct part *p, unsigned n)
{
	if (n <= 1 || (n == 2 && is_digest(p[0], p[1]))) {
		be(l, LAYOUT_SKELETON, LAYOUT_DIR);
		if (n == 2)
			l->leaf = "link";
		return;
	}
	if (n == 3 && is_digest(p[0], p[1]) && part_is(p[2], "link")) {
		be(l, LAYOUT_CONTENT, LAYOUT_FILE);
		l->is_link = true;
		copy_part(l->alg, sizeof(l->alg), p[0]);
		copy_part(l->hex, sizeof(l->hex), p[1]);
		return;
	}
	/* revisions/<alg>/<hex>/signatures/<alg>/<hex>/link, of old schema 1 */
	if (n >= 3 && part_is(p[2], "signatures")) {
		if (n == 3)
			be(l, LAYOUT_SKELETON, LAYOUT_DIR);
		else
			parse_links(l, p + 3, n - 3);
	}
}

/* tags[/<tag>[/current[/link]]] and tags/<tag>/index/... */
static void parse_tags(struct layout *l, const struct part *p, unsigned n)
{
	if (n <= 1 || (n == 2 && (part_is(p[1], "current") || part_is(p[1], "index")))) {
		be(l, LAYOUT_SKELETON, LAYOUT_DIR);
		return;
	}
	if (part_is(p[1], "index")) {
		parse_links(l, p + 2, n - 2);
		return;
	}
	if (part_is(p[1], "current") && n == 3 && part_is(p[2], "link")) {
		be(l, LAYOUT_MUTABLE, LAYOUT_FILE);
		l->is_link = true;
	}
}

static void parse_manifests(struct layout *l, const struct part *p, unsigned n)
{
	if (n == 0 || (n == 1 && (part_is(p[0], "revisions") || part_is(p[0], "tags"))))
		be(l, LAYOUT_SKELETON, LAYOUT_DIR);
	else if (part_is(p[0], "revisions"))
		parse_links(l, p + 1, n - 1);
	else if (part_is(p[0], "tags"))
		parse_tags(l, p + 1, n - 1);
}

static void parse_repository(struct layout *l, const char *path, const struct part *p, unsigned n)
{
	unsigned i = 0;
	while (i < n && p[i].text[0] != '_')
		i++;
	if (i == n) {
		be(l, LAYOUT_SKELETON, LAYOUT_DIR);
		return;
	}
	const struct part *below = p + i + 1;
	unsigned count = n - i - 1;
	if (part_is(p[i], "_layers")) {
		if (count == 0)
			be(l, LAYOUT_SKELETON, LAYOUT_DIR);
		else
			parse_links(l, below, count);
	} else if (part_is(p[i], "_manifests")) {
		parse_manifests(l, below, count);
	} else if (part_is(p[i], "_uploads")) {
		be(l, count ? LAYOUT_STAGED : LAYOUT_SKELETON, count ? LAYOUT_ANY : LAYOUT_DIR);
		l->is_uploads = !count;
		if (count)
			l->session_len = below[0].text + below[0].length - path;
	}
}

static void parse_blobs(struct layout *l, const struct part *p, unsigned n)
{
	if (n <= 2) {
		be(l, LAYOUT_SKELETON, LAYOUT_DIR);
		return;
	}
	if (p[1].length != 2 || !is_digest(p[0], p[2]) || memcmp(p[1].text, p[2].text, 2))
		return;
	if (n == 3) {
		be(l, LAYOUT_SKELETON, LAYOUT_DIR);
		l->leaf = "data";
	} else if (n == 4 && part_is(p[3], "data")) {
		be(l, LAYOUT_CONTENT, LAYOUT_FILE);
		l->is_blob = true;
		copy_part(l->alg, sizeof(l->alg), p[0]);
		copy_part(l->hex, sizeof(l->hex), p[2]);
	}
}

void layout_parse(const char *path, struct layout *ret_layout)
{
	struct part p[PARTS_MAX];
	unsigned n = split(path, p), i = 0;
	struct layout *l = ret_layout;
	memset(l, 0, sizeof(*l));

	while (i + 3 <= n &&
	       !(part_is(p[i], "docker") && part_is(p[i + 1], "registry") && part_is(p[i + 2], "v2")))
		i++;
	if (i + 3 > n)
		return;

	l->root_len = p[i + 2].text + p[i + 2].length - path;
	const struct part *below = p + i + 3;
	unsigned count = n - i - 3;
	if (count == 0)
		be(l, LAYOUT_SKELETON, LAYOUT_DIR);
	else if (part_is(below[0], "blobs"))
		parse_blobs(l, below + 1, count - 1);
	else if (part_is(below[0], "repositories"))
		parse_repository(l, path, below + 1, count - 1);
	if (l->class != LAYOUT_STAGED && count && is_temporary(p[n - 1])) {
		be(l, LAYOUT_STAGED, LAYOUT_FILE);
		l->leaf = NULL;
	}
}

bool layout_parse_digest(const char *text, size_t length, char ret_alg[LAYOUT_ALG_MAX],
			 char ret_hex[LAYOUT_HEX_MAX])
{
	const char *colon = memchr(text, ':', length);
	if (!colon)
		return false;
	struct part alg = { text, colon - text };
	struct part hex = { colon + 1, length - (colon - text) - 1 };
	if (!is_digest(alg, hex))
		return false;
	copy_part(ret_alg, LAYOUT_ALG_MAX, alg);
	copy_part(ret_hex, LAYOUT_HEX_MAX, hex);
	return true;
}

bool layout_name_ok(const char *name, size_t length)
{
	if (length == 0 || length > 255 || memchr(name, '/', length) || memchr(name, 0, length))
		return false;
	return !(name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.')));
}
