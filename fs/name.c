/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/name.h"

#include <errno.h>
#include <string.h>

#include "cache/meta.h"

int name_of(struct fs *fs, uint64_t dir, const char *name, struct name *n)
{
	*n = (struct name){ .dir = dir, .name = name };
	size_t length = strlen(name);
	if (!layout_name_ok(name, length))
		return length > META_NAME_MAX ? -ENAMETOOLONG : -EINVAL;
	int r = meta_path(fs->meta, dir, &n->path);
	if (r == 0 && n->path.length)
		r = buf_add_str(&n->path, "/");
	if (r == 0)
		r = buf_add_str(&n->path, name);
	if (r == 0)
		r = fs_key(fs, n->path.data, &n->key);
	if (r == 0)
		layout_parse(n->path.data, &n->layout);
	return r;
}

void name_free(struct name *n)
{
	buf_free(&n->path);
	buf_free(&n->key);
}
