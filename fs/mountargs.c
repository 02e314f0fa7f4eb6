/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mountargs - see mountargs.h */
#include "fs/mountargs.h"

#include <errno.h>
#include <string.h>

int mountargs_make(const struct options *o, struct fuse_args *args)
{
	_cleanup_buf_ struct buf own = { 0 };
	int r = buf_addf(&own, "fsname=%s%s%s,subtype=tardigradefs,default_permissions", o->bucket,
			 o->prefix[0] ? "/" : "", o->prefix);
	if (r == 0 && o->prefix[0]) { /* its last '/' reads better gone */
		char *at = strstr(own.data, "/,subtype=");
		if (at)
			memmove(at, at + 1, strlen(at));
	}
	if (r < 0 || fuse_opt_add_arg(args, "tardigradefs") || fuse_opt_add_arg(args, "-o") ||
	    fuse_opt_add_arg(args, own.data))
		return -ENOMEM;
	if (o->debug && fuse_opt_add_arg(args, "-d"))
		return -ENOMEM;
	if (o->fuse_options.length &&
	    (fuse_opt_add_arg(args, "-o") || fuse_opt_add_arg(args, o->fuse_options.data)))
		return -ENOMEM;
	return 0;
}
