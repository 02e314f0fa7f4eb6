/* SPDX-License-Identifier: GPL-3.0-or-later */
/* s3/internal - the client's fields, for the files of fs/s3 only. */
#pragma once

#include <stdatomic.h>

#include "fs/s3/client.h"
#include "fs/s3/credentials.h"

struct s3_loop;

struct s3_client {
	char *endpoint;	 /* no '/' at the end */
	char *authority; /* host[:port] as in the Host header, with the bucket if virtual-host */
	char *base;	 /* scheme://authority */
	char *region, *bucket, *cafile, *profile, *passwd_file;
	bool path_style;
	unsigned timeout_s;
	struct s3_loop *loop;
	atomic_bool etags_not_md5; /* found out once */
	atomic_bool no_copy;	   /* the gateway answered 501 */
	_Atomic unsigned check_timeout_s; /* != 0: instead of timeout_s */
	struct s3_credentials credentials; /* event thread */
	int64_t server_time_s; /* of the last Date header; event thread */
};
