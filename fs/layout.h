/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * layout - what a path means to a registry.
 *
 * A pure function from a path to its class; what is done with a file follows
 * from the class alone.  `…/docker/registry/v2/…` is recognised at any depth.
 *
 *	STAGED	   an upload under way: anything below `_uploads/<id>`, and v3's
 *		   `<leaf>.<id>.tmp`; lives in a local tree until renamed out
 *	CONTENT	   named by what it holds (blob data, most links): its bytes
 *		   never change, its existence can
 *	MUTABLE	   `tags/<tag>/current/link`, and every path that is none of a
 *		   registry's
 *	SKELETON   a directory of the layout: there as soon as anything below is
 *
 * Not here: I/O, memory, state of any kind.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum layout_class { LAYOUT_MUTABLE, LAYOUT_CONTENT, LAYOUT_STAGED, LAYOUT_SKELETON };

/* What a path can be at all, as far as its name tells. */
enum layout_shape { LAYOUT_ANY, LAYOUT_FILE, LAYOUT_DIR };

#define LAYOUT_ALG_MAX 16
#define LAYOUT_HEX_MAX 129

struct layout {
	enum layout_class class;
	enum layout_shape shape;
	bool is_blob;	  /* blobs/<alg>/<xx>/<hex>/data; alg and hex are set */
	bool is_link;	  /* a file that holds "<alg>:<hex>" */
	bool is_uploads;  /* the `_uploads` directory itself */
	const char *leaf; /* a digest's directory: "data" or "link"; else NULL */
	size_t root_len;  /* length of `…/docker/registry/v2`; 0: no registry path */
	size_t session_len; /* STAGED below _uploads: length up to `_uploads/<id>` */
	char alg[LAYOUT_ALG_MAX];
	char hex[LAYOUT_HEX_MAX];
};

/* path: relative, components separated by single '/', "" is the root. */
void layout_parse(const char *path, struct layout *ret_layout);

/* A link's content, "<alg>:<hex>" with nothing behind it. */
bool layout_parse_digest(const char *text, size_t length, char ret_alg[LAYOUT_ALG_MAX],
			 char ret_hex[LAYOUT_HEX_MAX]);

/* May this be a name in a directory? Not "", ".", "..", no '/' or NUL, at most
 * 255 bytes. */
bool layout_name_ok(const char *name, size_t length);
