/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * store - buckets as folders: `<number>` holds an object's bytes, `<number>.meta`
 * what is known of it (key, ETag, time, headers).  A sidecar is renamed into
 * place after its bytes: it makes the object.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/s3/sign.h"
#include "gateway.h"

struct store store = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void path_of(char *to, size_t room, const char *bucket, uint64_t number, const char *suffix)
{
	snprintf(to, room, "%s/%s/%llu%s", settings.dir, bucket, (unsigned long long)number, suffix);
}

void object_free(struct object *o)
{
	if (!o)
		return;
	free(o->key);
	free(o->content_type);
	free(o->meta);
	free(o);
}

struct bucket *store_bucket_locked(const char *name)
{
	struct bucket *b;
	HASH_FIND_STR(store.buckets, name, b);
	return b;
}

int store_make_bucket_locked(const char *name)
{
	char path[4096];
	struct bucket *b = calloc(1, sizeof(*b));
	if (!b || !(b->name = strdup(name)))
		return -ENOMEM;
	snprintf(path, sizeof(path), "%s/%s", settings.dir, name);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	HASH_ADD_KEYPTR(hh, store.buckets, b->name, strlen(b->name), b);
	return 0;
}

int store_new_file(const char *bucket, uint64_t *ret_number)
{
	char path[4096];
	*ret_number = ++store.last_file;
	path_of(path, sizeof(path), bucket, *ret_number, "");
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

int store_open_file(const char *bucket, uint64_t number)
{
	char path[4096];
	path_of(path, sizeof(path), bucket, number, "");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void store_remove_file(const char *bucket, uint64_t number)
{
	char path[4096];
	path_of(path, sizeof(path), bucket, number, ".meta");
	unlink(path);
	path_of(path, sizeof(path), bucket, number, "");
	unlink(path);
}

static int write_sidecar(const struct bucket *b, const struct object *o)
{
	char path[4096], new_path[4096];
	_cleanup_buf_ struct buf key = { 0 };
	s3_uri_encode(&key, o->key, false);
	path_of(path, sizeof(path), b->name, o->file, ".meta");
	path_of(new_path, sizeof(new_path), b->name, o->file, ".new");
	FILE *f = fopen(new_path, "we");
	if (!f)
		return -errno;
	fprintf(f, "%s\n%s\n%llu %lld\n%s\n%s", key.data, o->etag, (unsigned long long)o->size,
		(long long)o->mtime_ms, o->content_type, o->meta);
	if (fclose(f) || rename(new_path, path) < 0)
		return -errno;
	return 0;
}

struct object *store_get_locked(struct bucket *b, const char *key)
{
	struct object *o;
	HASH_FIND_STR(b->objects, key, o);
	return o;
}

void store_delete_locked(struct bucket *b, const char *key)
{
	struct object *o = store_get_locked(b, key);
	if (!o)
		return;
	HASH_DEL(b->objects, o);
	store_remove_file(b->name, o->file);
	object_free(o);
}

int store_put_locked(struct bucket *b, struct object *o)
{
	int r = write_sidecar(b, o);
	if (r < 0) {
		object_free(o);
		return r;
	}
	store_delete_locked(b, o->key);
	HASH_ADD_KEYPTR(hh, b->objects, o->key, strlen(o->key), o);
	return 0;
}

static char *read_line(FILE *f)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n = getline(&line, &room, f);
	if (n < 0) {
		free(line);
		return strdup("");
	}
	if (n && line[n - 1] == '\n')
		line[n - 1] = 0;
	return line;
}

static void load_object(struct bucket *b, const char *name)
{
	char path[4096];
	unsigned long long number, size;
	long long mtime;
	snprintf(path, sizeof(path), "%s/%s/%s", settings.dir, b->name, name);
	if (sscanf(name, "%llu", &number) != 1)
		return;
	if (number > store.last_file)
		store.last_file = number;
	FILE *f = strstr(name, ".meta") ? fopen(path, "re") : NULL;
	if (!f)
		return;
	struct object *o = calloc(1, sizeof(*o));
	_cleanup_free_ char *key = read_line(f), *etag = NULL, *numbers = NULL;
	etag = read_line(f);
	numbers = read_line(f);
	s3_uri_decode(key);
	o->key = strdup(key);
	snprintf(o->etag, sizeof(o->etag), "%.47s", etag);
	o->content_type = read_line(f);
	_cleanup_buf_ struct buf meta = { 0 };
	char step[512];
	buf_add_str(&meta, "");
	while (fgets(step, sizeof(step), f))
		buf_add_str(&meta, step);
	o->meta = strdup(meta.data);
	fclose(f);
	if (sscanf(numbers, "%llu %lld", &size, &mtime) != 2) {
		object_free(o);
		return;
	}
	o->file = number;
	o->size = size;
	o->mtime_ms = mtime;
	struct object *same = store_get_locked(b, o->key);
	if (same && same->file > number) { /* a crash between two renames */
		object_free(o);
		return;
	}
	if (same)
		store_delete_locked(b, same->key);
	HASH_ADD_KEYPTR(hh, b->objects, o->key, strlen(o->key), o);
}

int store_load(void)
{
	DIR *d = opendir(settings.dir);
	if (!d)
		return -errno;
	for (struct dirent *e; (e = readdir(d));) {
		char path[4096];
		if (e->d_name[0] == '.' || store_make_bucket_locked(e->d_name) < 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", settings.dir, e->d_name);
		DIR *files = opendir(path);
		for (struct dirent *f; files && (f = readdir(files));)
			load_object(store_bucket_locked(e->d_name), f->d_name);
		if (files)
			closedir(files);
	}
	closedir(d);
	return 0;
}
