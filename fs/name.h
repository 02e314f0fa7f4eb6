/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * name - a name in a directory, with everything that follows from it: path,
 * key, class.  No request is sent.
 */
#pragma once

#include "base/buf.h"
#include "fs/fs.h"
#include "fs/layout.h"

struct name {
	uint64_t dir;
	const char *name; /* borrowed */
	struct buf path, key;
	struct layout layout;
};

/* -ENAMETOOLONG, -EINVAL: it cannot be a name or a key. */
int name_of(struct fs *fs, uint64_t dir, const char *name, struct name *ret_name);
void name_free(struct name *name);
