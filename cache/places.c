/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * places - see places.h.
 *
 * A directory is taken in this order: made, opened, whose it is (so that a
 * wrong directory is called wrong, not busy), locked, whose it is once more,
 * bound, and written to for real.
 */
#include "cache/places.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/files.h"

#define FIRST_ID 2 /* 1 is the root */
#define ID_BLOCK (1u << 20)
#define OWNER_MAX 4096
#define PROBE_BYTES (64u << 10)
#define POLL_MS 50
#define GRACE_MS 2000 /* for a holder that has not said yet that it is leaving */

struct place {
	const char *what;   /* "cache", "state" */
	const char *option; /* the operator's word for it */
	const char *path;   /* borrowed; while opening only */
	int fd;
	int lock_fd;
};

struct places {
	struct place cache, state;
	bool unclean_boot;
	pthread_mutex_t lock;
	uint64_t next_id; /* guarded by lock */
	uint64_t id_mark; /* guarded by lock; what `ids` holds */
};

struct message {
	char *text;
	size_t room;
};

__attribute__((format(printf, 3, 4))) static int fail(struct message *message, int error,
						       const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(message->text, message->room, format, args);
	va_end(args);
	return error;
}

/* The system's errors, with the cure. */
static int fail_system(struct message *message, const struct place *place, int error,
		       const char *verb)
{
	const char *cure;

	switch (error) {
	case -EDQUOT:
		error = -ENOSPC;
		/* fall through */
	case -ENOSPC:
		cure = "the disk is full: free some space or choose another";
		break;
	case -EPERM:
	case -EACCES:
		cure = "not writable for this user: change its owner or choose another";
		break;
	case -EROFS:
		cure = "on a read-only filesystem: choose another";
		break;
	case -ENOTDIR:
		cure = "not a directory: choose another";
		break;
	default:
		return fail(message, error, "%s directory %s: cannot %s: %s (see %s=)", place->what,
			    place->path, verb, strerror(-error), place->option);
	}
	return fail(message, error, "%s directory %s: cannot %s: %s with %s=", place->what,
		    place->path, verb, cure, place->option);
}

static int make_directories(const char *path)
{
	char prefix[PATH_MAX];
	size_t length = strlen(path);

	if (!length || length >= sizeof(prefix))
		return length ? -ENAMETOOLONG : -ENOENT;
	for (size_t i = 1; i <= length; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(prefix, path, i);
		prefix[i] = '\0';
		/* One that exists may answer EROFS or EACCES; opening it tells. */
		if (mkdir(prefix, 0700) < 0 && errno != EEXIST) {
			int error = -errno;
			if (access(prefix, F_OK) < 0)
				return error;
		}
	}
	return 0;
}

static int read_owner(const struct place *place, char *ret_owner, size_t room)
{
	int r = files_read_text(place->fd, "owner", ret_owner, room);

	if (r == -ENOENT) {
		*ret_owner = '\0';
		return 0;
	}
	if (!r)
		ret_owner[strcspn(ret_owner, "\n")] = '\0';
	return r;
}

static int check_owner(const struct place *place, const char *owner, bool *ret_bound,
		       struct message *message)
{
	char found[OWNER_MAX + 2];

	int r = read_owner(place, found, sizeof(found));
	if (r)
		return fail_system(message, place, r, "read `owner`");
	if (*found && strcmp(found, owner))
		return fail(message, -EEXIST,
			    "%s directory %s belongs to %s, not to %s: choose another with %s=",
			    place->what, place->path, found, owner, place->option);
	*ret_bound = *found;
	return 0;
}

static void write_pid(const struct place *place, bool leaving)
{
	char text[48];
	int length = snprintf(text, sizeof(text), "%ld%s\n", (long)getpid(),
			      leaving ? " leaving" : "");

	if (files_write_all(place->lock_fd, text, (size_t)length, 0) == 0 &&
	    ftruncate(place->lock_fd, length) < 0)
		log_debug("places: lock: %s", strerror(errno));
}

/* Whether the holder is leaving; its pid, for the message. */
static bool read_holder(const struct place *place, long *ret_pid)
{
	char text[48];
	ssize_t n = pread(place->lock_fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	*ret_pid = atol(text);
	return strstr(text, " leaving");
}

static int take_lock(struct place *place, unsigned wait_s, struct message *message)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
	int64_t wait_ms = (int64_t)wait_s * 1000;

	place->lock_fd = openat(place->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (place->lock_fd < 0)
		return fail_system(message, place, -errno, "write `lock`");
	for (int64_t waited_ms = 0;; waited_ms += POLL_MS) {
		long pid;

		if (flock(place->lock_fd, LOCK_EX | LOCK_NB) == 0)
			break;
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return fail_system(message, place, -errno, "lock it");
		bool leaving = read_holder(place, &pid);
		if (waited_ms >= wait_ms || (!leaving && waited_ms >= GRACE_MS))
			return fail(message, -EBUSY,
				    "%s directory %s is in use by process %ld: unmount that%s, "
				    "or choose another with %s=",
				    place->what, place->path, pid,
				    leaving ? " (it is still finishing: wait)" : "", place->option);
		nanosleep(&pause, NULL);
	}
	write_pid(place, false);
	return 0;
}

/* Permission bits and statfs do not tell the truth (quotas, read-only binds,
 * reserved blocks); writing does. */
static int probe_writing(const struct place *place)
{
	_cleanup_free_ char *data = calloc(1, PROBE_BYTES);
	if (!data)
		return -ENOMEM;
	_cleanup_close_ int fd =
		openat(place->fd, "probe", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	/* Not zeros: a filesystem may keep those for nothing. */
	memset(data, 'p', PROBE_BYTES);
	int r = files_write_all(fd, data, PROBE_BYTES, 0);
	if (!r && fsync(fd) < 0)
		r = -errno;
	unlinkat(place->fd, "probe", 0);
	return r;
}

static int bind_owner(const struct place *place, const char *owner, struct message *message)
{
	char line[OWNER_MAX + 2];
	bool bound;

	int r = check_owner(place, owner, &bound, message);
	if (r || bound)
		return r;
	snprintf(line, sizeof(line), "%s\n", owner);
	r = files_replace_text(place->fd, "owner", line);
	return r ? fail_system(message, place, r, "write `owner`") : 0;
}

static int open_place(struct place *place, const char *owner, struct message *message)
{
	bool bound;

	int r = make_directories(place->path);
	if (r)
		return fail_system(message, place, r, "make it");
	place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (place->fd < 0)
		return fail_system(message, place, -errno, "open it");
	return check_owner(place, owner, &bound, message);
}

static int take_place(struct place *place, const char *owner, unsigned wait_s,
		      struct message *message)
{
	int r = take_lock(place, wait_s, message);
	if (!r)
		r = bind_owner(place, owner, message);
	if (r)
		return r;
	r = probe_writing(place);
	return r ? fail_system(message, place, r, "write in it") : 0;
}

static int check_distinct(const struct places *p, struct message *message)
{
	struct stat cache, state;

	if (fstat(p->cache.fd, &cache) < 0 || fstat(p->state.fd, &state) < 0)
		return fail_system(message, &p->state, -errno, "stat it");
	if (cache.st_dev == state.st_dev && cache.st_ino == state.st_ino)
		return fail(message, -EINVAL,
			    "cache and state directory are both %s: give each its own with "
			    "cache_dir= and state_dir=",
			    p->state.path);
	return 0;
}

static int ids_store_locked(struct places *p, uint64_t mark)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64 "\n", mark);
	int r = files_replace_text(p->state.fd, "ids", text);
	if (!r)
		p->id_mark = mark;
	return r;
}

static int ids_open(struct places *p, struct message *message)
{
	char text[32], *end;
	uint64_t mark = FIRST_ID;

	int r = files_read_text(p->state.fd, "ids", text, sizeof(text));
	if (!r) {
		mark = strtoull(text, &end, 10);
		if (*text < '0' || *text > '9' || *end != '\n' || mark < FIRST_ID ||
		    mark > INT64_MAX / 2)
			r = -EUCLEAN;
	}
	if (r == -EUCLEAN || r == -EFBIG)
		return fail(message, -EUCLEAN,
			    "state directory %s: `ids` is damaged: remove that file and %s", p->state.path,
			    "the whole cache directory, then mount again");
	if (r && r != -ENOENT)
		return fail_system(message, &p->state, r, "read `ids`");
	p->next_id = mark;
	r = ids_store_locked(p, mark + ID_BLOCK);
	return r ? fail_system(message, &p->state, r, "write `ids`") : 0;
}

static int boot_id(char *ret_id, size_t room)
{
	return files_read_text(AT_FDCWD, "/proc/sys/kernel/random/boot_id", ret_id, room);
}

static int boot_open(struct places *p)
{
	char now[64], then[64];

	int r = boot_id(now, sizeof(now));
	if (r)
		return r;
	r = files_read_text(p->cache.fd, "boot", then, sizeof(then));
	p->unclean_boot = r != -ENOENT && (r || strcmp(now, then));
	return r == -ENOENT ? places_boot_noted(p) : 0;
}

static int places_take(struct places *p, const char *owner, unsigned wait_s,
		       struct message *message)
{
	int r = open_place(&p->cache, owner, message);
	if (!r)
		r = open_place(&p->state, owner, message);
	if (!r)
		r = check_distinct(p, message);
	if (!r)
		r = take_place(&p->state, owner, wait_s, message);
	if (!r)
		r = take_place(&p->cache, owner, wait_s, message);
	if (!r)
		r = ids_open(p, message);
	if (r)
		return r;
	r = boot_open(p);
	return r ? fail_system(message, &p->cache, r, "write `boot`") : 0;
}

int places_open(const char *cache_dir, const char *state_dir, const char *owner,
		unsigned wait_s, struct places **ret_places, char *ret_message,
		size_t room)
{
	struct message message = { ret_message, room };

	if (!*owner || strlen(owner) > OWNER_MAX || strchr(owner, '\n'))
		return fail(&message, -EINVAL, "endpoint, bucket and prefix are no single line");
	struct places *p = calloc(1, sizeof(*p));
	if (!p)
		return fail(&message, -ENOMEM, "out of memory");
	p->cache = (struct place){ "cache", "cache_dir", cache_dir, -1, -1 };
	p->state = (struct place){ "state", "state_dir", state_dir, -1, -1 };
	pthread_mutex_init(&p->lock, NULL);
	int r = places_take(p, owner, wait_s, &message);
	p->cache.path = p->state.path = NULL;
	if (r) {
		/* What was found on the way in must be found again. */
		p->unclean_boot = true;
		places_close(p);
		return r;
	}
	*ret_places = p;
	return 0;
}

/* The mark that the cache is in use goes once all of it is on disk. */
static void boot_close(struct places *p)
{
	if (p->unclean_boot || p->cache.lock_fd < 0)
		return;
	if (syncfs(p->cache.fd) < 0 || unlinkat(p->cache.fd, "boot", 0) < 0)
		log_debug("places: boot: %s", strerror(errno));
}

static void place_close(struct place *place)
{
	if (place->lock_fd >= 0)
		close(place->lock_fd);
	if (place->fd >= 0)
		close(place->fd);
}

struct places *places_close(struct places *places)
{
	if (!places)
		return NULL;
	boot_close(places);
	place_close(&places->cache);
	place_close(&places->state);
	pthread_mutex_destroy(&places->lock);
	free(places);
	return NULL;
}

int places_cache_fd(const struct places *places)
{
	return places->cache.fd;
}

int places_state_fd(const struct places *places)
{
	return places->state.fd;
}

uint64_t places_next_id(struct places *places)
{
	LOCK_SCOPE(&places->lock);

	if (places->next_id >= places->id_mark) {
		int r = ids_store_locked(places, places->next_id + ID_BLOCK);
		if (r) {
			log_error("state directory: cannot write `ids`: %s; new files fail until it can",
				  strerror(-r));
			return 0;
		}
	}
	return places->next_id++;
}

int places_raise_ids(struct places *places, uint64_t above)
{
	LOCK_SCOPE(&places->lock);

	if (above <= places->next_id)
		return 0;
	if (above > INT64_MAX / 2)
		return -EUCLEAN;
	if (above >= places->id_mark) {
		int r = ids_store_locked(places, above + ID_BLOCK);
		if (r)
			return r;
	}
	places->next_id = above;
	return 0;
}

uint64_t places_id_mark(struct places *places)
{
	LOCK_SCOPE(&places->lock);

	return places->id_mark;
}

void places_mark(struct places *places, bool leaving)
{
	write_pid(&places->state, leaving);
	write_pid(&places->cache, leaving);
}

bool places_unclean_boot(const struct places *places)
{
	return places->unclean_boot;
}

int places_boot_noted(struct places *places)
{
	char now[64];

	int r = boot_id(now, sizeof(now));
	if (!r)
		r = files_replace_text(places->cache.fd, "boot", now);
	if (!r)
		places->unclean_boot = false;
	return r;
}
