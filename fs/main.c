/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * main - from the command line to a mount, and back.
 *
 * In the background, the process that was called waits for its child, the
 * supervisor, to say that the mount is usable, or why not; only then does it
 * return.  The supervisor mounts (here) and runs workers (fs/worker), which are
 * runs of this program, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <mntent.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fs/mountargs.h"
#include "fs/options.h"
#include "fs/supervisor.h"
#include "fs/worker.h"

#define MESSAGE_MAX 1024
#define DYING_TRIES 20
#define DYING_PAUSE_MS 50

struct mount {
	const struct options *options;
	struct fuse_session *session; /* only to mount with */
	struct fuse_args args;
	int ready_fd; /* who waits for us; -1: nobody */
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

/* statfs is never answered from the kernel's memory, as stat is. */
static bool is_dead(const char *path)
{
	struct statvfs st;
	int r = statvfs(path, &st);
	for (int i = 0; r < 0 && errno == ECONNABORTED && i < DYING_TRIES; i++) {
		poll(NULL, 0, DYING_PAUSE_MS); /* it is just dying */
		r = statvfs(path, &st);
	}
	return r < 0 && errno == ENOTCONN;
}

/* A mount of ours whose daemon is dead is cleared away. */
static void mount_clear_dead(const char *mountpoint)
{
	char *real = realpath(mountpoint, NULL);
	const char *path = real ? real : mountpoint;
	if (is_ours(path) && is_dead(path) && umount2(path, MNT_DETACH) == 0)
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

static void nobody(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata, (void)conn;
}

static int mount_now(void *arg)
{
	static const struct fuse_lowlevel_ops none = { .init = nobody };
	struct mount *m = arg;
	const struct options *o = m->options;
	if (mountargs_make(o, &m->args) == 0)
		m->session = fuse_session_new(&m->args, &none, sizeof(none), NULL);
	if (!m->session) {
		log_error("libfuse refuses the options %s",
			  o->fuse_options.length ? o->fuse_options.data : "(none)");
		return -EXIT_USAGE;
	}
	if (fuse_session_mount(m->session, o->mountpoint) != 0) {
		log_error("cannot mount on %s: is /dev/fuse there, and may you mount (root, or "
			  "fusermount3)?",
			  o->mountpoint);
		return -EXIT_MOUNTPOINT;
	}
	return fuse_session_fd(m->session);
}

static void mount_end(void *arg)
{
	struct mount *m = arg;
	fuse_session_unmount(m->session);
}

/* Usable for the first time. */
static void mount_ready(void *arg)
{
	struct mount *m = arg;
	const struct options *o = m->options;
	if (m->ready_fd >= 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		log_to_syslog();
		setsid();
		if (chdir("/") < 0)
			log_debug("chdir /: %s", strerror(errno));
		for (int fd = 0; fd < 3 && null >= 0; fd++)
			dup2(null, fd);
		if (null > 2)
			close(null);
		if (write(m->ready_fd, "", 1) != 1)
			log_debug("nobody waits for the mount");
		close(m->ready_fd);
		m->ready_fd = -1;
	}
	log_info("%s%s%s is mounted on %s", o->bucket, o->prefix[0] ? "/" : "", o->prefix,
		 o->mountpoint);
}

/* ---- processes ---- */

static enum exit_status supervise(struct options *o, char **argv, int ready_fd)
{
	char message[MESSAGE_MAX] = "";
	struct mount mount = { .options = o, .ready_fd = ready_fd };
	enum exit_status status = mount_check(o, message);
	if (status != EXIT_DONE) {
		log_error("%s", message);
		return status;
	}
	struct supervised what = {
		.argv = argv,
		.mountpoint = o->mountpoint,
		.arg = &mount,
		.mount = mount_now,
		.unmount = mount_end,
		.ready = mount_ready,
		.foreground = o->foreground,
	};
	status = supervisor_run(&what);
	if (mount.session)
		fuse_session_destroy(mount.session);
	fuse_opt_free_args(&mount.args);
	return status;
}

/* The child's status, or 0 as soon as it says that it is ready. */
static enum exit_status run_in_background(struct options *o, char **argv)
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
		return supervise(o, argv, fds[1]);
	}
	close(fds[1]);
	if (read(fds[0], &byte, 1) == 1)
		return EXIT_DONE;
	if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status))
		return WEXITSTATUS(status);
	log_error("the supervisor ended before the mount was ready");
	return EXIT_LOCAL;
}

int main(int argc, char **argv)
{
	struct options o;
	char message[MESSAGE_MAX];
	enum log_level level = LOG_LVL_INFO;
	log_setup("tardigradefs", level, LOG_TEXT);
	int r = options_parse(argc, argv, &o, message, sizeof(message));
	int status = EXIT_DONE;
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
		struct supervision supervision;
		if (supervision_inherit(&supervision))
			status = worker_run(&o, &supervision);
		else
			status = o.foreground ? supervise(&o, argv, -1) : run_in_background(&o, argv);
	}
	options_free(&o);
	return status;
}
