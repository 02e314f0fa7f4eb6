/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/notify.h"

#include <fuse_lowlevel.h>
#include <string.h>

static void content(void *arg, uint64_t id)
{
	fuse_lowlevel_notify_inval_inode(arg, id, 0, 0);
}

static void entry(void *arg, uint64_t parent, const char *name)
{
	fuse_lowlevel_notify_inval_entry(arg, parent, name, strlen(name));
}

void notify_attach(struct fs *fs, struct fuse_session *session)
{
	fs->kernel = (struct fs_kernel){ session, content, entry };
}
