/* SPDX-License-Identifier: GPL-3.0-or-later */
/* supervisor - see supervisor.h */
#include "fs/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fs/channel.h"

#define ENVIRONMENT "TARDIGRADEFS_WORKER"
#define SELF "/proc/self/exe"
#define DEATHS_MAX 5
#define QUIET_PERIOD_S 60 /* a worker that lived so long made progress */
#define PAUSE_MS 100	  /* before a worker after one that got nowhere */

struct supervisor {
	const struct supervised *what;
	struct channel *channel;
	int memory_fd, fuse_fd, signals;
	char program[PATH_MAX]; /* as it was called, for an upgrade */
	bool upgrading, ending, served;

	pid_t worker;
	int socket;
	uint64_t progress; /* when the worker began */
	time_t began;
	unsigned deaths; /* in a row, without progress */
};

/* ---- messages ---- */

static int send_with(int socket, char message, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &message, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		*c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
				       .cmsg_len = CMSG_LEN(sizeof(int)) };
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(socket, &msg, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/* The message; 0: the other side is gone. */
static char receive_with(int socket, int *ret_fd)
{
	char message = 0, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &message, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;
	do
		n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	struct cmsghdr *c = n == 1 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (ret_fd && c && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(c), sizeof(*ret_fd));
	return n == 1 ? message : 0;
}

/* ---- the worker's side ---- */

bool supervision_inherit(struct supervision *ret)
{
	int socket, memory, quiet, probe;
	const char *text = getenv(ENVIRONMENT);
	if (!text || sscanf(text, "%d,%d,%d,%d", &socket, &memory, &quiet, &probe) != 4)
		return false;
	unsetenv(ENVIRONMENT);
	fcntl(memory, F_SETFD, FD_CLOEXEC);
	if (socket >= 0)
		fcntl(socket, F_SETFD, FD_CLOEXEC);
	*ret = (struct supervision){ socket, memory, quiet, probe };
	return true;
}

int supervision_send(const struct supervision *s, char message)
{
	return send_with(s->socket, message, -1);
}

char supervision_receive(const struct supervision *s)
{
	return receive_with(s->socket, NULL);
}

int supervision_prepared(const struct supervision *s, int *ret_fd)
{
	int fd = -1, r = supervision_send(s, 'P');
	if (r < 0)
		return r;
	if (receive_with(s->socket, &fd) != 'M' || fd < 0)
		return -EPIPE;
	*ret_fd = fd;
	return 0;
}

void supervision_detach(const char *mountpoint)
{
	const char *const words[] = { "fusermount3", "-u", "-z", "-q", "--", mountpoint, NULL };
	pid_t pid;
	if (umount2(mountpoint, MNT_DETACH) == 0)
		return;
	if (posix_spawnp(&pid, words[0], NULL, NULL, (char *const *)words, environ) == 0)
		waitpid(pid, NULL, 0);
}

/* ---- processes ---- */

/* In the child: only what is safe between fork and exec. */
static void become_worker(const struct supervisor *s, const char *program, int socket, bool probe)
{
	char text[64];
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(text, sizeof(text), "%d,%d,%d,%d", socket, s->memory_fd,
		 s->served && !s->what->foreground, probe);
	setenv(ENVIRONMENT, text, 1);
	if (socket >= 0)
		fcntl(socket, F_SETFD, 0);
	fcntl(s->memory_fd, F_SETFD, 0);
	execv(program, s->what->argv);
	_exit(EXIT_WORKERS);
}

static pid_t start(struct supervisor *s, const char *program, int socket, bool probe)
{
	pid_t pid = fork();
	if (pid == 0)
		become_worker(s, program, socket, probe);
	return pid;
}

static int start_worker(struct supervisor *s)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	if (s->socket >= 0)
		close(s->socket);
	s->socket = pair[0];
	s->progress = channel_progress(s->channel);
	s->began = time(NULL);
	s->worker = start(s, s->upgrading ? s->program : SELF, pair[1], false);
	int r = s->worker < 0 ? -errno : 0;
	close(pair[1]);
	s->upgrading = false;
	return r;
}

static void upgrade(struct supervisor *s)
{
	int status = -1;
	pid_t pid = start(s, s->program, -1, true);
	if (pid > 0)
		waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_DONE) {
		log_error("no upgrade: %s cannot take this mount over (exit status %d)", s->program,
			  WIFEXITED(status) ? WEXITSTATUS(status) : -1);
		send_with(s->socket, 'N', -1);
		return;
	}
	log_info("upgrading to %s", s->program);
	s->upgrading = true;
	channel_forgive(s->channel);
	kill(s->worker, SIGKILL);
}

/* ---- events ---- */

enum { GO_ON = -1 };

/* The first worker is prepared: now mount.  GO_ON, or how it ends. */
static int prepared(struct supervisor *s)
{
	if (s->fuse_fd < 0) {
		int fd = s->what->mount(s->what->arg);
		if (fd < 0) {
			kill(s->worker, SIGKILL);
			waitpid(s->worker, NULL, 0);
			return -fd;
		}
		s->fuse_fd = fd;
	}
	send_with(s->socket, 'M', s->fuse_fd);
	return GO_ON;
}

static int on_message(struct supervisor *s)
{
	switch (receive_with(s->socket, NULL)) {
	case 'P':
		return prepared(s);
	case 'R':
		if (!s->served)
			s->what->ready(s->what->arg);
		s->served = true;
		if (s->ending)
			send_with(s->socket, 'E', -1);
		return GO_ON;
	case 'U':
		upgrade(s);
		return GO_ON;
	default: /* gone; its end is seen by SIGCHLD */
		close(s->socket);
		s->socket = -1;
		return GO_ON;
	}
}

static bool ended_by_itself(const struct supervisor *s, int status)
{
	if (!WIFEXITED(status))
		return false;
	return !s->served || WEXITSTATUS(status) == EXIT_DONE || WEXITSTATUS(status) == EXIT_LEFT;
}

static void describe(int status, char *text, size_t room)
{
	if (WIFSIGNALED(status))
		snprintf(text, room, "was killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, room, "ended with status %d", WEXITSTATUS(status));
}

static int on_death(struct supervisor *s, int status)
{
	char text[80];
	bool got_somewhere = channel_progress(s->channel) != s->progress ||
			     time(NULL) - s->began >= QUIET_PERIOD_S;
	if (ended_by_itself(s, status))
		return WEXITSTATUS(status);
	describe(status, text, sizeof(text));
	if (s->fuse_fd < 0) {
		log_error("the worker %s before it was ready", text);
		return EXIT_WORKERS;
	}
	if (!s->upgrading) {
		s->deaths = got_somewhere ? 1 : s->deaths + 1;
		log_warning("the worker (pid %d) %s; another takes over", (int)s->worker, text);
	}
	if (s->deaths >= DEATHS_MAX) {
		log_error("%u workers died one after another with nothing done in between; unmounting %s",
			  s->deaths, s->what->mountpoint);
		return EXIT_WORKERS;
	}
	if (s->deaths > 1)
		poll(NULL, 0, PAUSE_MS);
	int r = start_worker(s);
	if (r < 0)
		log_error("cannot start a worker: %s; unmounting", strerror(-r));
	return r < 0 ? EXIT_WORKERS : GO_ON;
}

static int on_signal(struct supervisor *s)
{
	struct signalfd_siginfo info;
	int status;
	if (read(s->signals, &info, sizeof(info)) != sizeof(info))
		return GO_ON;
	if (info.ssi_signo == SIGCHLD)
		return waitpid(s->worker, &status, WNOHANG) == s->worker ? on_death(s, status) : GO_ON;
	log_info("signal %u: finishing what is under way", info.ssi_signo);
	if (s->fuse_fd < 0) {
		kill(s->worker, SIGTERM);
		return GO_ON;
	}
	if (!s->ending)
		supervision_detach(s->what->mountpoint);
	s->ending = true;
	if (s->served && s->socket >= 0)
		send_with(s->socket, 'E', -1);
	return GO_ON;
}

static int loop(struct supervisor *s)
{
	for (int end = GO_ON;;) {
		struct pollfd fds[2] = { { .fd = s->signals, .events = POLLIN },
					 { .fd = s->socket, .events = POLLIN } };
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return EXIT_WORKERS;
		/* Messages first: a worker may have said something before its end. */
		if (fds[1].revents)
			end = on_message(s);
		else if (fds[0].revents)
			end = on_signal(s);
		if (end != GO_ON)
			return end;
	}
}

static int catch_signals(struct supervisor *s)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signals < 0 ? -errno : 0;
}

static void release(struct supervisor *s)
{
	channel_close(s->channel);
	int fds[] = { s->memory_fd, s->signals, s->socket };
	for (unsigned i = 0; i < sizeof(fds) / sizeof(*fds); i++)
		cleanup_close(&fds[i]);
}

enum exit_status supervisor_run(const struct supervised *what)
{
	struct supervisor s = { .what = what, .memory_fd = -1, .fuse_fd = -1, .signals = -1,
				.socket = -1 };
	ssize_t n = readlink(SELF, s.program, sizeof(s.program) - 1);
	int r = n < 0 ? -errno : channel_create(&s.memory_fd);
	if (r == 0)
		r = channel_open(s.memory_fd, &s.channel);
	if (r == 0)
		r = catch_signals(&s);
	if (r == 0)
		r = start_worker(&s);
	if (r < 0)
		log_error("cannot start: %s", strerror(-r));
	int status = r < 0 ? EXIT_LOCAL : loop(&s);
	if (s.fuse_fd >= 0)
		what->unmount(what->arg);
	release(&s);
	return status;
}
