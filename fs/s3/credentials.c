/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/s3/credentials.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static char *trim(char *s)
{
	while (*s == ' ' || *s == '\t')
		s++;
	size_t n = strlen(s);
	while (n && strchr(" \t\r\n", s[n - 1]))
		s[--n] = 0;
	return s;
}

static int keep(char *to, size_t room, const char *from)
{
	return (size_t)snprintf(to, room, "%s", from) < room ? 0 : -EINVAL;
}

static int read_passwd(struct s3_credentials *c, FILE *f, const char **why)
{
	char line[600];
	struct stat st;
	if (fstat(fileno(f), &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 077)) {
		*why = "passwd_file can be read by others: chmod 600 it";
		return -EPERM;
	}
	char *colon = fgets(line, sizeof(line), f) ? strchr(line, ':') : NULL;
	if (!colon) {
		*why = "passwd_file must hold one line ACCESS_KEY:SECRET_KEY";
		return -EINVAL;
	}
	*colon = 0;
	int r = keep(c->access_key, sizeof(c->access_key), trim(line));
	c->token[0] = 0;
	return r < 0 ? r : keep(c->secret_key, sizeof(c->secret_key), trim(colon + 1));
}

static int read_profile(struct s3_credentials *c, FILE *f, const char *profile, const char **why)
{
	char line[4096];
	bool here = false;
	c->access_key[0] = c->secret_key[0] = c->token[0] = 0;
	while (fgets(line, sizeof(line), f)) {
		char *text = trim(line), *equals = strchr(text, '=');
		if (*text == '[') {
			text[strcspn(text, "]")] = 0;
			here = !strcmp(trim(text + 1), profile);
			continue;
		}
		if (!here || !equals || *text == '#')
			continue;
		*equals = 0;
		char *name = trim(text), *value = trim(equals + 1);
		if (!strcmp(name, "aws_access_key_id"))
			keep(c->access_key, sizeof(c->access_key), value);
		else if (!strcmp(name, "aws_secret_access_key"))
			keep(c->secret_key, sizeof(c->secret_key), value);
		else if (!strcmp(name, "aws_session_token"))
			keep(c->token, sizeof(c->token), value);
	}
	if (c->access_key[0] && c->secret_key[0])
		return 0;
	*why = "the AWS credentials file has no such profile, or no keys in it";
	return -ENOENT;
}

static int read_environment(struct s3_credentials *c)
{
	const char *access = getenv("AWS_ACCESS_KEY_ID");
	const char *secret = getenv("AWS_SECRET_ACCESS_KEY");
	const char *token = getenv("AWS_SESSION_TOKEN");
	if (!access || !*access || !secret || !*secret)
		return -ENOENT;
	c->file[0] = 0;
	int r = keep(c->access_key, sizeof(c->access_key), access);
	if (r == 0)
		r = keep(c->secret_key, sizeof(c->secret_key), secret);
	return r < 0 ? r : keep(c->token, sizeof(c->token), token ? token : "");
}

static int read_file(struct s3_credentials *c, const char **why)
{
	_cleanup_fclose_ FILE *f = fopen(c->file, "re");
	if (!f) {
		*why = c->passwd_file ? "passwd_file cannot be read"
				      : "no credentials: set AWS_ACCESS_KEY_ID and "
					"AWS_SECRET_ACCESS_KEY, or passwd_file=, or write "
					"~/.aws/credentials";
		return c->passwd_file ? -errno : -ENOENT;
	}
	const char *profile = c->profile ? c->profile : getenv("AWS_PROFILE");
	int r = c->passwd_file ? read_passwd(c, f, why)
			       : read_profile(c, f, profile && *profile ? profile : "default", why);
	if (r == 0)
		fstat(fileno(f), &c->read_from);
	return r;
}

static int name_file(struct s3_credentials *c)
{
	const char *named = getenv("AWS_SHARED_CREDENTIALS_FILE"), *home = getenv("HOME");
	if (c->passwd_file)
		return keep(c->file, sizeof(c->file), c->passwd_file);
	if (named && *named)
		return keep(c->file, sizeof(c->file), named);
	int n = snprintf(c->file, sizeof(c->file), "%s/.aws/credentials", home ? home : "/root");
	return n < (int)sizeof(c->file) ? 0 : -EINVAL;
}

int s3_credentials_load(struct s3_credentials *c, const char *profile, const char *passwd_file,
			const char **ret_why)
{
	const char *why = "credentials are too long";
	memset(c, 0, sizeof(*c));
	c->profile = profile;
	c->passwd_file = passwd_file;
	int r = -ENOENT;
	if (!passwd_file && !profile)
		r = read_environment(c);
	if (r == -ENOENT)
		r = name_file(c);
	else
		goto out;
	if (r == 0)
		r = read_file(c, &why);
out:
	if (r < 0 && ret_why)
		*ret_why = why;
	return r;
}

int s3_credentials_refresh(struct s3_credentials *c)
{
	struct stat st;
	const char *why;
	if (!c->file[0] || stat(c->file, &st) < 0)
		return 0;
	if (st.st_ino == c->read_from.st_ino && st.st_size == c->read_from.st_size &&
	    st.st_mtim.tv_sec == c->read_from.st_mtim.tv_sec &&
	    st.st_mtim.tv_nsec == c->read_from.st_mtim.tv_nsec)
		return 0;
	struct s3_credentials again = *c;
	if (read_file(&again, &why) < 0)
		return 0;
	*c = again;
	return 1;
}
