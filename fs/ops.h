/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ops - FUSE's requests, as calls of the core.
 *
 * A request becomes a struct op (its arguments copied), runs through one
 * function (op_execute) and is answered by one function (op_answer), which
 * negates the errno.  What would have to wait for the gateway is tried first
 * on the FUSE thread without waiting, then handed to the pool or parked.
 */
#pragma once

#include <fuse_lowlevel.h>

struct fs;

/* For fuse_session_new; userdata is the struct fs. */
extern const struct fuse_lowlevel_ops ops_table;
