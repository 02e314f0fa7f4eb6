/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * s3/credentials - where the keys come from.
 *
 * In order: passwd_file (one line KEY:SECRET, private to its owner), the named
 * profile of the AWS shared credentials file, the environment, the default
 * profile.  A file is read again when it has changed.
 *
 * Threads: one (the event thread, once it runs).
 */
#pragma once

#include <sys/stat.h>

struct s3_credentials {
	char access_key[256], secret_key[256], token[2048];
	/* private */
	const char *profile, *passwd_file; /* borrowed; NULL: none */
	char file[1024];		   /* "" : the environment */
	struct stat read_from;		   /* the file, as it was when read */
};

/* profile, passwd_file: borrowed, must outlive it.  -ENOENT, -EPERM, -EINVAL;
 * *ret_why is static text. */
int s3_credentials_load(struct s3_credentials *credentials, const char *profile,
			const char *passwd_file, const char **ret_why);
/* Again, if the file has changed; a file that is not readable now changes
 * nothing.  1: they are other ones now. */
int s3_credentials_refresh(struct s3_credentials *credentials);
