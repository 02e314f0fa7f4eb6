/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mountargs - libfuse's arguments for a mount; the same for supervisor and
 * worker.  -ENOMEM; the caller frees them with fuse_opt_free_args. */
#pragma once

#include <fuse_opt.h>

#include "fs/options.h"

int mountargs_make(const struct options *options, struct fuse_args *ret_args);
