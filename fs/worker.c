/* SPDX-License-Identifier: GPL-3.0-or-later */
/* worker - see worker.h */
#include "fs/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/meta.h"
#include "cache/places.h"
#include "fs/channel.h"
#include "fs/fs.h"
#include "fs/handover.h"
#include "fs/mountargs.h"
#include "fs/notify.h"
#include "fs/op.h"
#include "fs/ops.h"
#include "fs/s3/bucket.h"
#include "fs/session.h"

#define MESSAGE_MAX 1024
#define FUSE_THREADS 4
#define UNMOUNTING_WAIT_S 30

struct work {
	struct channel *channel;
	struct places *places;
	struct s3_client *s3;
	struct fs *fs;
	struct fuse_session *session;
	struct fuse_args args;
	struct mounted mounted; /* libfuse's userdata */
	const struct options *options;
	const struct supervision *supervision;
};

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
	if (r == 0 && channel_is_taken_over(w->channel))
		return EXIT_DONE; /* it may be gone just now */
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

static void drop_handle(void *arg, uint64_t number)
{
	handover_forget_handle(arg, number);
}

static int open_handover(struct work *w, struct handover **ret_handover)
{
	int r = handover_open(channel_memory(w->channel), ret_handover);
	if (r == 0)
		channel_each_lost_handle(w->channel, drop_handle, *ret_handover);
	return r;
}

static void note_progress(void *arg)
{
	channel_note_progress(arg);
}

static enum exit_status work_open_fs(const struct options *o, struct work *w, char *message)
{
	struct handover *handover;
	if (open_handover(w, &handover) < 0) {
		snprintf(message, MESSAGE_MAX, "out of memory");
		return EXIT_LOCAL;
	}
	struct fs_config config = {
		.prefix = o->prefix, .exclusive = o->exclusive, .shared = o->shared,
		.read_only = o->read_only, .meta_ttl_s = o->meta_ttl,
		.cache_size_bytes = o->cache_size, .cache_reserve_bytes = o->cache_reserve,
		.part_size_bytes = o->part_size, .timeout_s = o->timeout,
		.connections = o->connections, .uid = o->uid, .gid = o->gid, .umask = o->umask,
		.dirmarkers = !strcmp(o->dirmarkers, "always")  ? DIRMARKERS_ALWAYS
			      : !strcmp(o->dirmarkers, "never") ? DIRMARKERS_NEVER
								: DIRMARKERS_LAZY,
		.writeback = o->writeback, .writeback_max_bytes = o->writeback_max,
		.takeover = channel_is_taken_over(w->channel),
		.began_ms = channel_began_ms(w->channel, meta_now_ms()),
		.progress = note_progress, .progress_arg = w->channel,
	};
	int r = fs_create(&config, w->places, w->s3, handover, &w->fs, message, MESSAGE_MAX);
	if (r == 0) {
		r = fs_start(w->fs);
		if (r < 0)
			snprintf(message, MESSAGE_MAX, "cannot start: %s", strerror(-r));
	}
	return r == 0 ? EXIT_DONE : EXIT_LOCAL;
}

static enum exit_status work_prepare(struct work *w, char *message)
{
	const struct options *o = w->options;
	enum exit_status s = work_connect(o, w, message);
	if (s == EXIT_DONE)
		s = work_check_gateway(o, w, message);
	if (s == EXIT_DONE) /* binds them to the bucket: it has to be there */
		s = work_open_places(o, w, message);
	return s == EXIT_DONE ? work_open_fs(o, w, message) : s;
}

/* The session reads from the supervisor's mount. */
static enum exit_status work_attach(struct work *w, char *message)
{
	int fd = -1;
	w->mounted = (struct mounted){ w->fs, w->channel };
	if (mountargs_make(w->options, &w->args) == 0)
		w->session = fuse_session_new(&w->args, &ops_table, sizeof(ops_table), &w->mounted);
	if (!w->session) {
		snprintf(message, MESSAGE_MAX, "libfuse refuses the options %s",
			 w->options->fuse_options.length ? w->options->fuse_options.data : "(none)");
		return EXIT_USAGE;
	}
	int r = supervision_prepared(w->supervision, &fd);
	if (r == 0 && fuse_session_custom_io(w->session, &channel_io, fd) != 0)
		r = -EIO;
	if (r < 0) {
		snprintf(message, MESSAGE_MAX, "no descriptor came from the supervisor: %s", strerror(-r));
		return EXIT_MOUNTPOINT;
	}
	notify_attach(w->fs, w->session);
	return EXIT_DONE;
}

static void work_close(struct work *w)
{
	if (w->session)
		fuse_session_destroy(w->session);
	fuse_opt_free_args(&w->args);
	fs_free(w->fs);
	s3_client_destroy(w->s3);
	places_close(w->places);
	channel_close(w->channel);
}

/* Ends with the supervisor's message, or with the supervisor. */
static void *follow_supervisor(void *arg)
{
	struct work *w = arg;
	char message;
	while ((message = supervision_receive(w->supervision)) && message != 'E')
		;
	if (!message) {
		log_error("the supervisor is gone: finishing what is under way, and unmounting");
		supervision_detach(w->options->mountpoint);
	}
	places_mark(w->places, true);
	session_end(w->session);
	return NULL;
}

static void warn_of_kernel_timeout(const struct options *o)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/fs/fuse/max_request_timeout", "re");
	unsigned s = 0;
	if (f && fscanf(f, "%u", &s) == 1 && s && s < o->timeout)
		log_warning("fs.fuse.max_request_timeout is %u s: the kernel aborts the mount when a "
			    "request takes longer; timeout= is %llu s", s, (unsigned long long)o->timeout);
}

/* No terminal any more: what is said goes to the log. */
static void leave_terminal(const struct options *o)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (o->foreground)
		return;
	log_to_syslog();
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

static enum exit_status serve(struct work *w)
{
	pthread_t follower;
	signal(SIGTERM, SIG_IGN); /* the supervisor sees to that */
	if (pthread_create(&follower, NULL, follow_supervisor, w) == 0)
		pthread_detach(follower);
	warn_of_kernel_timeout(w->options);
	channel_replay(w->channel, w->session);
	supervision_send(w->supervision, 'R');
	leave_terminal(w->options);

	int r = session_run(w->session, w->channel, FUSE_THREADS);
	if (r < 0)
		log_error("the FUSE channel failed: %s", strerror(-r));
	/* Before the channel is closed: what is parked is still answered. */
	r = fs_stop(w->fs);
	w->fs->kernel = (struct fs_kernel){ 0 };
	log_info("%s is unmounted", w->options->mountpoint);
	return r < 0 ? EXIT_LEFT : EXIT_DONE;
}

int worker_run(struct options *o, const struct supervision *supervision)
{
	char message[MESSAGE_MAX] = "";
	/* Static: the thread that follows the supervisor outlives this function. */
	static struct work w;
	w = (struct work){ .options = o, .supervision = supervision };
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (supervision->quiet)
		log_to_syslog();
	if (channel_open(supervision->memory_fd, &w.channel) < 0) {
		log_error("the memory of the mount has another layout: another version made it");
		return STATUS_LAYOUT;
	}
	if (supervision->probe)
		return EXIT_DONE;
	enum exit_status status = work_prepare(&w, message);
	if (status == EXIT_DONE)
		status = work_attach(&w, message);
	if (status == EXIT_DONE)
		status = serve(&w);
	else
		log_error("%s", message);
	work_close(&w);
	return status;
}
