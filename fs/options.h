/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * options - the command line and the environment, checked.
 *
 * One table (options.c) drives parsing, ranges and --help.  A value comes from
 * the command line, else from TARDIGRADEFS_<NAME>, else it is the default.
 *
 * Threads: none yet.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/log.h"
#include "fs/fs.h"
#include "fs/s3/client.h"

struct options {
	bool foreground, debug, show_help, show_version;
	char *bucket, *prefix, *mountpoint; /* owned; prefix "" or "a/b/" */
	char *endpoint, *region, *profile, *passwd_file, *cafile;
	bool path_style, mkbucket;
	char *cache_dir, *state_dir;
	uint64_t cache_size, cache_reserve, part_size, writeback_max;
	uint64_t meta_ttl, req_rate, connections, timeout;
	bool exclusive, shared, writeback, prefetch, read_only;
	char *staging, *passthrough, *metrics, *dirmarkers;
	uint64_t uid, gid, umask;
	char *log_level, *log_format;
	struct buf fuse_options; /* "a,b=c": libfuse's own, as they came */
};

/*
 * 0; or -EINVAL, with one line for the operator (what, and the cure) in
 * ret_message.  --help and --version end the parsing with their flag set.
 */
int options_parse(int argc, char *const *argv, struct options *ret_options, char *ret_message,
		  size_t room);
void options_free(struct options *options);
void options_help(void);

/* "http://host:7777/bucket/prefix": whom cache and state belong to. */
int options_owner(const struct options *options, struct buf *ret_owner);
