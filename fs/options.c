/* SPDX-License-Identifier: GPL-3.0-or-later */
/* options - see options.h */
#include "fs/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

enum type { TEXT, FLAG, YES_NO, NUMBER, SIZE, OCTAL };

struct option {
	const char *name;
	enum type type;
	size_t offset;
	const char *initial; /* the default; NULL: none, or made up later */
	uint64_t min, max;   /* of NUMBER, SIZE, OCTAL */
	const char *value;   /* in --help */
	const char *help;
};

#define AT(field) offsetof(struct options, field)

static const struct option table[] = {
	{ "endpoint", TEXT, AT(endpoint), "http://127.0.0.1:7777", 0, 0, "URL",
	  "S3 gateway: http[s]://HOST[:PORT]" },
	{ "region", TEXT, AT(region), "us-east-1", 0, 0, "NAME", "region to sign for" },
	{ "profile", TEXT, AT(profile), NULL, 0, 0, "NAME",
	  "profile of the AWS credentials file" },
	{ "passwd_file", TEXT, AT(passwd_file), NULL, 0, 0, "FILE",
	  "ACCESS_KEY:SECRET_KEY, mode 0600" },
	{ "cafile", TEXT, AT(cafile), NULL, 0, 0, "FILE", "certificates to trust (PEM)" },
	{ "path_style", YES_NO, AT(path_style), "yes", 0, 0, "yes|no",
	  "HOST/BUCKET/KEY; no: BUCKET.HOST/KEY" },
	{ "mkbucket", FLAG, AT(mkbucket), "no", 0, 0, NULL, "make the bucket if it is missing" },
	{ "cache_dir", TEXT, AT(cache_dir), NULL, 0, 0, "DIR",
	  "cache; may be deleted while unmounted (/var/cache/tardigradefs/NAME)" },
	{ "state_dir", TEXT, AT(state_dir), NULL, 0, 0, "DIR",
	  "what is not in the bucket yet (/var/lib/tardigradefs/NAME)" },
	{ "cache_size", SIZE, AT(cache_size), "0", 0, 1024 * TIB, "SIZE",
	  "most that the cache takes; 0: all but cache_reserve" },
	{ "cache_reserve", SIZE, AT(cache_reserve), "1G", 0, 1024 * TIB, "SIZE",
	  "disk space that the cache leaves free" },
	{ "meta_ttl", NUMBER, AT(meta_ttl), "60", 0, 86400, "SECONDS",
	  "how long what the bucket said is believed" },
	{ "exclusive", FLAG, AT(exclusive), "no", 0, 0, NULL,
	  "this mount is the bucket's only writer" },
	{ "shared", FLAG, AT(shared), "no", 0, 0, NULL,
	  "others write: ask again at every open" },
	{ "staging", TEXT, AT(staging), "local", 0, 0, "local|bucket",
	  "where uploads under way live (bucket: not built yet)" },
	{ "writeback", FLAG, AT(writeback), "no", 0, 0, NULL,
	  "durable here first, in the bucket later" },
	{ "writeback_max", SIZE, AT(writeback_max), "10G", 0, 1024 * TIB, "SIZE",
	  "most that writeback keeps here; then writers wait" },
	{ "prefetch", FLAG, AT(prefetch), "no", 0, 0, NULL,
	  "fetch an image's blobs with its manifest (not built yet)" },
	{ "passthrough", TEXT, AT(passthrough), "off", 0, 0, "auto|off",
	  "reads and writes past the daemon (auto: not built yet)" },
	{ "dirmarkers", TEXT, AT(dirmarkers), "lazy", 0, 0, "lazy|always|never",
	  "objects that keep empty directories" },
	{ "req_rate", NUMBER, AT(req_rate), "100", 0, 100000, "N",
	  "requests per second, burst of as many; 0: no limit" },
	{ "connections", NUMBER, AT(connections), "32", 1, 500, "N", "requests at once" },
	{ "part_size", SIZE, AT(part_size), "64M", 5 * MIB, 5 * GIB, "SIZE",
	  "parts of larger objects" },
	{ "timeout", NUMBER, AT(timeout), "120", 1, 86400, "SECONDS",
	  "without progress, until an error" },
	{ "uid", NUMBER, AT(uid), NULL, 0, UINT32_MAX - 1, "ID", "owner of all files (the mounter)" },
	{ "gid", NUMBER, AT(gid), NULL, 0, UINT32_MAX - 1, "ID", "group of all files (the mounter's)" },
	{ "umask", OCTAL, AT(umask), "022", 0, 0777, "MODE", "permission bits that are off" },
	{ "metrics", TEXT, AT(metrics), NULL, 0, 0, "ADDR:PORT", "Prometheus (not built yet)" },
	{ "log_level", TEXT, AT(log_level), "info", 0, 0, "LEVEL", "error, warning, info or debug" },
	{ "log_format", TEXT, AT(log_format), "text", 0, 0, "text|json", "how a log line looks" },
};
#define COUNT (sizeof(table) / sizeof(*table))

/* libfuse's and mount(2)'s own, handed on. */
static const char *const fuse_names[] = {
	"allow_other", "allow_root", "auto_unmount", "ro", "rw", "dev", "nodev", "suid",
	"nosuid", "exec", "noexec", "atime", "noatime", "sync", "async", "dirsync",
	"default_permissions", "max_read", "fsname", "subtype", "debug",
};
/* fstab's, meant for others: swallowed. */
static const char *const fstab_names[] = { "_netdev", "nofail", "auto", "noauto", "user",
					   "nouser", "users", "owner", "group", "defaults",
					   "relatime", "norelatime", "comment" };

struct parsing {
	struct options *o;
	bool given[COUNT];
	char *message;
	size_t room;
};

static int fail(struct parsing *p, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static int fail(struct parsing *p, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(p->message, p->room, format, args);
	va_end(args);
	return -EINVAL;
}

static bool parse_number(const char *text, int base, bool with_suffix, uint64_t *ret)
{
	char *end;
	errno = 0;
	unsigned long long n = strtoull(text, &end, base);
	if (errno || end == text || *text == '-' || *text == '+')
		return false;
	if (with_suffix && *end) {
		const char *suffixes = "KMGT", *at = strchr(suffixes, toupper((unsigned char)*end));
		if (!at || end[1])
			return false;
		for (const char *s = suffixes; s <= at; s++)
			if (n > UINT64_MAX / 1024)
				return false;
			else
				n *= 1024;
	} else if (*end) {
		return false;
	}
	*ret = n;
	return true;
}

static int parse_yes_no(const char *text, bool *ret)
{
	bool yes = !strcmp(text, "yes") || !strcmp(text, "1") || !strcmp(text, "true");
	if (!yes && strcmp(text, "no") && strcmp(text, "0") && strcmp(text, "false"))
		return -EINVAL;
	*ret = yes;
	return 0;
}

static int set_text(struct parsing *p, char **field, const char *value)
{
	char *copy = strdup(value);
	if (!copy)
		return fail(p, "out of memory");
	free(*field);
	*field = copy;
	return 0;
}

static int set_number(struct parsing *p, const struct option *opt, uint64_t *field,
		      const char *value)
{
	uint64_t n;
	if (!parse_number(value, opt->type == OCTAL ? 8 : 10, opt->type == SIZE, &n))
		return fail(p, "option %s=%s: not a %s", opt->name, value,
			    opt->type == SIZE ? "size (a number, with K, M, G or T)" : "number");
	if (n < opt->min || n > opt->max)
		return fail(p, "option %s=%s: out of range, give %llu to %llu", opt->name, value,
			    (unsigned long long)opt->min, (unsigned long long)opt->max);
	*field = n;
	return 0;
}

static int set(struct parsing *p, const struct option *opt, const char *value)
{
	void *field = (char *)p->o + opt->offset;
	p->given[opt - table] = true;
	if (opt->type == TEXT)
		return set_text(p, field, value);
	if (opt->type != FLAG && opt->type != YES_NO)
		return set_number(p, opt, field, value);
	if (parse_yes_no(value, field) < 0)
		return fail(p, "option %s=%s: give yes or no", opt->name, value);
	return 0;
}

static bool in_list(const char *name, size_t length, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(list[i]) == length && !memcmp(list[i], name, length))
			return true;
	return false;
}

static int take_option(struct parsing *p, char *text)
{
	char *equals = strchr(text, '=');
	size_t length = equals ? (size_t)(equals - text) : strlen(text);
	if (!length)
		return 0;
	for (size_t i = 0; i < COUNT; i++) {
		const struct option *opt = &table[i];
		if (strlen(opt->name) != length || memcmp(opt->name, text, length))
			continue;
		if (!equals && opt->type != FLAG)
			return fail(p, "option %s needs a value: %s=%s", opt->name, opt->name, opt->value);
		return set(p, opt, equals ? equals + 1 : "yes");
	}
	if (in_list(text, length, fstab_names, sizeof(fstab_names) / sizeof(*fstab_names)) ||
	    !strncmp(text, "x-", 2) || !strncmp(text, "comment=", 8))
		return 0;
	if (!in_list(text, length, fuse_names, sizeof(fuse_names) / sizeof(*fuse_names)))
		return fail(p, "unknown option %s; tardigradefs --help lists them", text);
	if (length == 2 && !memcmp(text, "ro", 2))
		p->o->read_only = true;
	int r = p->o->fuse_options.length ? buf_add_str(&p->o->fuse_options, ",") : 0;
	return r == 0 && buf_add_str(&p->o->fuse_options, text) == 0 ? 0 : fail(p, "out of memory");
}

static int take_options(struct parsing *p, const char *list)
{
	_cleanup_free_ char *copy = strdup(list);
	char *rest = copy, *text;
	if (!copy)
		return fail(p, "out of memory");
	while ((text = strsep(&rest, ","))) {
		int r = take_option(p, text);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- what was not given ---- */

static int take_environment(struct parsing *p)
{
	for (size_t i = 0; i < COUNT; i++) {
		char name[64];
		int n = snprintf(name, sizeof(name), "TARDIGRADEFS_%s", table[i].name);
		for (int j = 0; j < n; j++)
			name[j] = toupper((unsigned char)name[j]);
		const char *value = p->given[i] ? NULL : getenv(name);
		int r = value && *value ? set(p, &table[i], value) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int take_defaults(struct parsing *p)
{
	for (size_t i = 0; i < COUNT; i++) {
		int r = !p->given[i] && table[i].initial ? set(p, &table[i], table[i].initial) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* One name per endpoint, bucket and prefix; what is not plain becomes %XX. */
static int default_dir_name(const struct options *o, struct buf *name)
{
	_cleanup_buf_ struct buf owner = { 0 };
	int r = options_owner(o, &owner);
	for (size_t i = 0; r == 0 && i < owner.length; i++) {
		unsigned char c = owner.data[i];
		bool plain = isalnum(c) || strchr(".-_", c);
		r = plain ? buf_add(name, &c, 1) : buf_addf(name, "%%%02x", c);
	}
	/* A name is at most 255 bytes: a long prefix is cut, places checks the owner. */
	if (r == 0 && name->length > 250)
		name->data[250] = 0;
	return r;
}

static int default_dir(struct parsing *p, char **field, const char *root_dir,
		       const char *xdg, const char *home_dir)
{
	_cleanup_buf_ struct buf name = { 0 }, path = { 0 };
	const char *base = getenv(xdg), *home = getenv("HOME");
	if (*field)
		return 0;
	int r = default_dir_name(p->o, &name);
	if (r == 0 && geteuid() == 0)
		r = buf_addf(&path, "%s/%s", root_dir, name.data);
	else if (r == 0 && base && *base)
		r = buf_addf(&path, "%s/tardigradefs/%s", base, name.data);
	else if (r == 0)
		r = buf_addf(&path, "%s/%s/tardigradefs/%s", home ? home : "/tmp", home_dir, name.data);
	if (r < 0)
		return fail(p, "out of memory");
	*field = steal_pointer(&path.data);
	return 0;
}

/* ---- checks ---- */

static int one_of(struct parsing *p, const char *name, const char *value, const char *a,
		  const char *b, const char *c)
{
	if (!strcmp(value, a) || !strcmp(value, b) || (c && !strcmp(value, c)))
		return 0;
	return fail(p, "option %s=%s: give %s%s%s%s%s", name, value, a, c ? ", " : " or ", b,
		    c ? " or " : "", c ? c : "");
}

/* Refused rather than ignored. */
static int check_not_built(struct parsing *p)
{
	const struct options *o = p->o;
	const char *what = o->prefetch ? "prefetch" : o->metrics ? "metrics"
			   : !strcmp(o->staging, "bucket") ? "staging=bucket"
			   : !strcmp(o->passthrough, "auto") ? "passthrough=auto" : NULL;
	return what ? fail(p, "option %s is not built yet; leave it out", what) : 0;
}

static int check_values(struct parsing *p)
{
	struct options *o = p->o;
	enum log_level level;
	int r = one_of(p, "staging", o->staging, "local", "bucket", NULL);
	if (r == 0)
		r = one_of(p, "passthrough", o->passthrough, "auto", "off", NULL);
	if (r == 0)
		r = one_of(p, "dirmarkers", o->dirmarkers, "lazy", "always", "never");
	if (r == 0)
		r = one_of(p, "log_format", o->log_format, "text", "json", NULL);
	if (r == 0 && log_level_parse(o->log_level, &level) < 0)
		r = fail(p, "option log_level=%s: give error, warning, info or debug", o->log_level);
	if (r == 0 && o->exclusive && o->shared)
		r = fail(p, "options exclusive and shared exclude each other; give one");
	return r < 0 ? r : check_not_built(p);
}

static int check_bucket(struct parsing *p, const char *name)
{
	size_t n = strlen(name);
	if (n < 3 || n > 63 || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != n)
		return fail(p, "%s is no bucket name: 3 to 63 of a-z, 0-9, '-' and '.'", name);
	return 0;
}

/* BUCKET[/PREFIX]; the prefix comes out as "" or "a/b/". */
static int take_source(struct parsing *p, const char *source)
{
	struct options *o = p->o;
	_cleanup_free_ char *copy = strdup(source);
	_cleanup_buf_ struct buf prefix = { 0 };
	char *rest = copy, *part;
	if (!copy || set_text(p, &o->bucket, strsep(&rest, "/")) < 0)
		return fail(p, "out of memory");
	while (rest && (part = strsep(&rest, "/"))) {
		if (!*part)
			continue;
		if (!strcmp(part, ".") || !strcmp(part, ".."))
			return fail(p, "%s: a prefix cannot have a component %s", source, part);
		if (buf_addf(&prefix, "%s/", part) < 0)
			return fail(p, "out of memory");
	}
	if (prefix.length > S3_KEY_MAX / 2)
		return fail(p, "%s: the prefix is longer than %d bytes", source, S3_KEY_MAX / 2);
	int r = set_text(p, &o->prefix, prefix.length ? prefix.data : "");
	return r < 0 ? r : check_bucket(p, o->bucket);
}

static int take_arguments(struct parsing *p, int argc, char *const *argv)
{
	struct options *o = p->o;
	const char *words[2];
	int n = 0, r = 0;
	bool only_words = false;
	for (int i = 1; i < argc && r == 0; i++) {
		const char *arg = argv[i];
		if (only_words || arg[0] != '-' || !arg[1]) {
			if (n == 2)
				return fail(p, "too many arguments at %s; give BUCKET[/PREFIX] MOUNTPOINT", arg);
			words[n++] = arg;
		} else if (!strcmp(arg, "--")) {
			only_words = true;
		} else if (!strcmp(arg, "-h") || !strcmp(arg, "--help")) {
			o->show_help = true;
		} else if (!strcmp(arg, "-V") || !strcmp(arg, "--version")) {
			o->show_version = true;
		} else if (!strcmp(arg, "-f")) {
			o->foreground = true;
		} else if (!strcmp(arg, "-d")) {
			o->foreground = o->debug = true;
		} else if (!strncmp(arg, "-o", 2)) {
			if (!arg[2] && i + 1 == argc)
				return fail(p, "-o needs options behind it");
			r = take_options(p, arg[2] ? arg + 2 : argv[++i]);
		} else {
			return fail(p, "unknown option %s; tardigradefs --help lists them", arg);
		}
	}
	if (r < 0 || o->show_help || o->show_version)
		return r;
	if (n < 2)
		return fail(p, "give BUCKET[/PREFIX] and MOUNTPOINT; tardigradefs --help tells more");
	r = take_source(p, words[0]);
	return r < 0 ? r : set_text(p, &o->mountpoint, words[1]);
}

int options_parse(int argc, char *const *argv, struct options *ret_options, char *ret_message,
		  size_t room)
{
	struct options *o = ret_options;
	struct parsing p = { .o = o, .message = ret_message, .room = room };
	memset(o, 0, sizeof(*o));
	o->uid = geteuid();
	o->gid = getegid();
	int r = take_arguments(&p, argc, argv);
	if (r < 0 || o->show_help || o->show_version)
		return r;
	r = take_environment(&p);
	if (r == 0)
		r = take_defaults(&p);
	if (r == 0)
		r = check_values(&p);
	if (r == 0)
		r = default_dir(&p, &o->cache_dir, "/var/cache/tardigradefs", "XDG_CACHE_HOME", ".cache");
	if (r == 0)
		r = default_dir(&p, &o->state_dir, "/var/lib/tardigradefs", "XDG_STATE_HOME",
				".local/state");
	return r;
}

void options_free(struct options *o)
{
	for (size_t i = 0; i < COUNT; i++)
		if (table[i].type == TEXT)
			free(*(char **)((char *)o + table[i].offset));
	free(o->bucket);
	free(o->prefix);
	free(o->mountpoint);
	buf_free(&o->fuse_options);
}

int options_owner(const struct options *o, struct buf *ret_owner)
{
	size_t n = strlen(o->endpoint);
	while (n && o->endpoint[n - 1] == '/')
		n--;
	int r = buf_addf(ret_owner, "%.*s/%s/%s", (int)n, o->endpoint, o->bucket, o->prefix);
	if (r == 0)
		ret_owner->data[--ret_owner->length] = 0; /* the last '/' */
	return r;
}

void options_help(void)
{
	printf("usage: tardigradefs BUCKET[/PREFIX] MOUNTPOINT [-f] [-d] [-o OPTION[,OPTION...]]\n\n"
	       "Mounts a bucket of an S3 gateway (Storj) as a filesystem for a container registry.\n\n"
	       "  -f             stay in the foreground, log to stderr\n"
	       "  -d             -f, and libfuse's debug output\n"
	       "  -h, --help     this text\n"
	       "  -V, --version  the version\n\n"
	       "Credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, passwd_file=, or the AWS\n"
	       "credentials file.  TARDIGRADEFS_<OPTION> in the environment stands in for any option.\n\n"
	       "Options:\n");
	for (size_t i = 0; i < COUNT; i++) {
		char left[48];
		const struct option *o = &table[i];
		snprintf(left, sizeof(left), "%s%s%s", o->name, o->value ? "=" : "",
			 o->value ? o->value : "");
		printf("  %-28s %s%s%s%s\n", left, o->help, o->value && o->initial ? " [" : "",
		       o->value && o->initial ? o->initial : "", o->value && o->initial ? "]" : "");
	}
	printf("\nOf libfuse: allow_other, allow_root, ro, auto_unmount, max_read=, ...\n"
	       "See tardigradefs(1).\n");
}
