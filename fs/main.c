/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * main - from the command line to a mount, and back.
 *
 * In the background, the process that was called waits for its child to say
 * that the mount is usable, or why not; only then does it return.  Threads
 * start in the child, after the fork.
 *
 * Mounting (mount_*: the kernel's side) and working (work_*: bucket, cache,
 * state) are apart, so that two processes can do them.
 */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <mntent.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/places.h"
#include "fs/fs.h"
#include "fs/notify.h"
#include "fs/ops.h"
#include "fs/options.h"
#include "fs/s3/bucket.h"
#include "fs/session.h"

#define MESSAGE_MAX 1024
#define FUSE_THREADS 4
#define UNMOUNTING_WAIT_S 30

/* In the man page, too. */
enum exit_status {
	EXIT_DONE = 0,
	EXIT_USAGE = 1,
	EXIT_MOUNTPOINT = 2,
	EXIT_CREDENTIALS = 3,
	EXIT_GATEWAY = 4,
	EXIT_LOCAL = 5, /* cache or state directory */
	EXIT_LEFT = 6,	/* something was not uploaded; it is in the state directory */
};

struct mount {
	struct fuse_session *session;
	struct fuse_args args;
};

struct work {
	struct places *places;
	struct s3_client *s3;
	struct fs *fs;
};

/* ---- mounting ---- */

static bool is_ours(const char *mountpoint)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	bool ours = false;
	for (struct mntent *m; mounts && (m = getmntent(mounts));)
		if (!strcmp(m->mnt_dir, mountpoint))
			ours = !strcmp(m->mnt_type, "fuse.tardigradefs");
	if (mounts)
		endmntent(mounts);
	return ours;
}

static bool is_mounted(const char *mountpoint)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	bool found = false;
	for (struct mntent *m; mounts && (m = getmntent(mounts));)
		found = found || !strcmp(m->mnt_dir, mountpoint);
	if (mounts)
		endmntent(mounts);
	return found;
}

/* A mount of ours whose daemon is dead is cleared away.  The kernel may still
 * resolve its root; any question beyond that is ENOTCONN. */
static void mount_clear_dead(const char *mountpoint)
{
	struct stat st;
	char *real = realpath(mountpoint, NULL);
	const char *path = real ? real : mountpoint;
	bool dead = stat(path, &st) < 0 && errno == ENOTCONN;
	if (dead && is_ours(path) && umount2(path, MNT_DETACH) == 0)
		log_warning("%s: cleared away a mount whose daemon is dead", path);
	free(real);
}

static enum exit_status mount_check(struct options *o, char *message)
{
	struct stat st;
	mount_clear_dead(o->mountpoint);
	char *real = realpath(o->mountpoint, NULL);
	if (!real || stat(real, &st) < 0) {
		snprintf(message, MESSAGE_MAX, "mountpoint %s: %s%s", o->mountpoint, strerror(errno),
			 errno == ENOENT     ? "; make it with mkdir"
			 : errno == ENOTCONN ? "; umount -l it"
					     : "");
		free(real);
		return EXIT_MOUNTPOINT;
	}
	free(o->mountpoint);
	o->mountpoint = real;
	if (!S_ISDIR(st.st_mode)) {
		snprintf(message, MESSAGE_MAX, "mountpoint %s is not a directory; give one", real);
		return EXIT_MOUNTPOINT;
	}
	if (is_mounted(real)) {
		snprintf(message, MESSAGE_MAX, "mountpoint %s is mounted already; umount it first", real);
		return EXIT_MOUNTPOINT;
	}
	return EXIT_DONE;
}

static int mount_args(const struct options *o, struct fuse_args *args)
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

static enum exit_status mount_open(const struct options *o, struct fs *fs, struct mount *m,
				   char *message)
{
	if (mount_args(o, &m->args) == 0)
		m->session = fuse_session_new(&m->args, &ops_table, sizeof(ops_table), fs);
	if (!m->session) {
		snprintf(message, MESSAGE_MAX, "libfuse refuses the options %s",
			 o->fuse_options.length ? o->fuse_options.data : "(none)");
		return EXIT_USAGE;
	}
	if (fuse_session_mount(m->session, o->mountpoint) != 0) {
		snprintf(message, MESSAGE_MAX, "cannot mount on %s: is /dev/fuse there, and may you "
					       "mount (root, or fusermount3)?", o->mountpoint);
		return EXIT_MOUNTPOINT;
	}
	return EXIT_DONE;
}

static void mount_close(struct mount *m)
{
	if (m->session) {
		fuse_session_unmount(m->session);
		fuse_session_destroy(m->session);
	}
	fuse_opt_free_args(&m->args);
}

/* ---- working ---- */

static enum exit_status work_connect(const struct options *o, struct work *w, char *message)
{
	const char *why = "";
	struct s3_config config = {
		.endpoint = o->endpoint, .region = o->region, .bucket = o->bucket,
		.cafile = o->cafile, .profile = o->profile, .passwd_file = o->passwd_file,
		.path_style = o->path_style, .connections = o->connections,
		.req_rate = o->req_rate, .timeout_s = o->timeout,
	};
	if (o->cafile && access(o->cafile, R_OK) < 0) {
		snprintf(message, MESSAGE_MAX, "cafile %s: %s", o->cafile, strerror(errno));
		return EXIT_USAGE;
	}
	int r = s3_client_create(&config, &w->s3, &why);
	if (r < 0) {
		snprintf(message, MESSAGE_MAX, "%s", why);
		return r == -EINVAL && !strncmp(why, "endpoint", 8) ? EXIT_USAGE : EXIT_CREDENTIALS;
	}
	return EXIT_DONE;
}

static enum exit_status work_check_gateway(const struct options *o, struct work *w, char *message)
{
	bool versioned = false;
	int r = s3_client_start(w->s3);
	if (r == 0)
		r = s3_bucket_check(w->s3, o->mkbucket, o->read_only, message, MESSAGE_MAX, &versioned);
	else
		snprintf(message, MESSAGE_MAX, "cannot start a thread: %s", strerror(-r));
	if (versioned)
		log_warning("bucket %s is versioned or object-locked: deletes and garbage collection "
			    "free nothing there", o->bucket);
	return r == 0 ? EXIT_DONE : r == -EACCES ? EXIT_CREDENTIALS : EXIT_GATEWAY;
}

static enum exit_status work_open_places(const struct options *o, struct work *w, char *message)
{
	_cleanup_buf_ struct buf owner = { 0 };
	int r = options_owner(o, &owner);
	if (r == 0)
		r = places_open(o->cache_dir, o->state_dir, owner.data, UNMOUNTING_WAIT_S, &w->places,
				message, MESSAGE_MAX);
	return r == 0 ? EXIT_DONE : EXIT_LOCAL;
}

static enum exit_status work_open_fs(const struct options *o, struct work *w, char *message)
{
	struct fs_config config = {
		.prefix = o->prefix, .exclusive = o->exclusive, .shared = o->shared,
		.read_only = o->read_only, .meta_ttl_s = o->meta_ttl,
		.cache_size_bytes = o->cache_size, .cache_reserve_bytes = o->cache_reserve,
		.part_size_bytes = o->part_size, .timeout_s = o->timeout,
		.connections = o->connections, .uid = o->uid, .gid = o->gid, .umask = o->umask,
		.dirmarkers = !strcmp(o->dirmarkers, "always")  ? DIRMARKERS_ALWAYS
			      : !strcmp(o->dirmarkers, "never") ? DIRMARKERS_NEVER
								: DIRMARKERS_LAZY,
	};
	int r = fs_create(&config, w->places, w->s3, &w->fs, message, MESSAGE_MAX);
	if (r == 0) {
		r = fs_start(w->fs);
		if (r < 0)
			snprintf(message, MESSAGE_MAX, "cannot start: %s", strerror(-r));
	}
	return r == 0 ? EXIT_DONE : EXIT_LOCAL;
}

static void work_close(struct work *w)
{
	fs_free(w->fs);
	s3_client_destroy(w->s3);
	places_close(w->places);
}

/* ---- signals ---- */

struct ending {
	struct fuse_session *session;
	const char *mountpoint;
};

static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* As root, or through libfuse's helper. */
static void detach(const char *mountpoint)
{
	const char *const words[] = { "fusermount3", "-u", "-z", "--", mountpoint, NULL };
	pid_t pid;
	if (umount2(mountpoint, MNT_DETACH) == 0)
		return;
	if (posix_spawnp(&pid, words[0], NULL, NULL, (char *const *)words, environ) == 0)
		waitpid(pid, NULL, 0);
}

/* Detaching the mount wakes the threads that read from it. */
static void *wait_for_signal(void *arg)
{
	struct ending *ending = arg;
	sigset_t set;
	int number;
	block_signals(&set);
	for (bool first = true;; first = false) {
		if (sigwait(&set, &number) != 0)
			continue;
		log_info("signal %d: finishing what is under way", number);
		if (!first)
			continue;
		fuse_session_exit(ending->session);
		detach(ending->mountpoint);
	}
	return NULL;
}

/* ---- all of it ---- */

static void warn_of_kernel_timeout(const struct options *o)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/fs/fuse/max_request_timeout", "re");
	unsigned s = 0;
	if (f && fscanf(f, "%u", &s) == 1 && s && s < o->timeout)
		log_warning("fs.fuse.max_request_timeout is %u s: the kernel aborts the mount when a "
			    "request takes longer; timeout= is %llu s", s, (unsigned long long)o->timeout);
}

static enum exit_status open_all(struct options *o, struct work *w, struct mount *m, char *message)
{
	enum exit_status s = mount_check(o, message);
	if (s == EXIT_DONE)
		s = work_connect(o, w, message);
	if (s == EXIT_DONE)
		s = work_check_gateway(o, w, message);
	if (s == EXIT_DONE) /* binds them to the bucket: it has to be there */
		s = work_open_places(o, w, message);
	if (s == EXIT_DONE)
		s = work_open_fs(o, w, message);
	return s == EXIT_DONE ? mount_open(o, w->fs, m, message) : s;
}

/* ready_fd: who waits for us; -1: nobody. */
static void say_ready(int ready_fd)
{
	if (ready_fd < 0)
		return;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	log_to_syslog();
	setsid();
	if (chdir("/") < 0)
		log_debug("chdir /: %s", strerror(errno));
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
	if (write(ready_fd, "", 1) != 1)
		log_debug("nobody waits for the mount");
	close(ready_fd);
}

static enum exit_status run(struct options *o, int ready_fd)
{
	char message[MESSAGE_MAX] = "";
	struct work work = { 0 };
	struct mount mount = { 0 };
	sigset_t set;
	pthread_t signals;
	block_signals(&set);

	enum exit_status status = open_all(o, &work, &mount, message);
	if (status != EXIT_DONE) {
		log_error("%s", message);
		mount_close(&mount);
		work_close(&work);
		return status;
	}
	notify_attach(work.fs, mount.session);
	struct ending ending = { mount.session, o->mountpoint };
	if (pthread_create(&signals, NULL, wait_for_signal, &ending) == 0)
		pthread_detach(signals);
	warn_of_kernel_timeout(o);
	say_ready(ready_fd);
	log_info("%s%s%s is mounted on %s", o->bucket, o->prefix[0] ? "/" : "", o->prefix,
		 o->mountpoint);

	int r = session_run(mount.session, FUSE_THREADS);
	if (r < 0)
		log_error("the FUSE channel failed: %s", strerror(-r));
	/* Before the channel is closed: what is parked is still answered. */
	r = fs_stop(work.fs);
	work.fs->kernel = (struct fs_kernel){ 0 };
	log_info("%s is unmounted", o->mountpoint);
	mount_close(&mount);
	work_close(&work);
	return r < 0 ? EXIT_LEFT : EXIT_DONE;
}

/* The child's status, or 0 as soon as it says that it is ready. */
static enum exit_status run_in_background(struct options *o)
{
	int fds[2], status;
	char byte;
	if (pipe2(fds, O_CLOEXEC) < 0) {
		log_error("pipe: %s", strerror(errno));
		return EXIT_LOCAL;
	}
	pid_t pid = fork();
	if (pid < 0) {
		log_error("fork: %s", strerror(errno));
		return EXIT_LOCAL;
	}
	if (pid == 0) {
		close(fds[0]);
		return run(o, fds[1]);
	}
	close(fds[1]);
	if (read(fds[0], &byte, 1) == 1)
		return EXIT_DONE;
	if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status))
		return WEXITSTATUS(status);
	log_error("the mount process ended before it was ready");
	return EXIT_LOCAL;
}

int main(int argc, char **argv)
{
	struct options o;
	char message[MESSAGE_MAX];
	enum log_level level = LOG_LVL_INFO;
	log_setup("tardigradefs", level, LOG_TEXT);
	int r = options_parse(argc, argv, &o, message, sizeof(message));
	enum exit_status status = EXIT_DONE;
	if (r < 0) {
		log_error("%s", message);
		status = EXIT_USAGE;
	} else if (o.show_help) {
		options_help();
	} else if (o.show_version) {
		printf("tardigradefs %s (libfuse %s)\n", TARDIGRADEFS_VERSION, fuse_pkgversion());
	} else {
		log_level_parse(o.log_level, &level);
		log_setup("tardigradefs", level, strcmp(o.log_format, "json") ? LOG_TEXT : LOG_JSON);
		status = o.foreground ? run(&o, -1) : run_in_background(&o);
	}
	options_free(&o);
	return status;
}
