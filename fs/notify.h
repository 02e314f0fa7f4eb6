/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * notify - tells the kernel that something it caches is not true any more.
 *
 * Threads: from workers only.  Inside a request it would wait for itself.
 */
#pragma once

#include "fs/fs.h"

struct fuse_session;

/* session: borrowed; must outlive fs_stop. */
void notify_attach(struct fs *fs, struct fuse_session *session);
