/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * supervisor - the process that holds the mount, and keeps a worker on it.
 *
 * It mounts, keeps the FUSE descriptor and the channel's memory, and does
 * nothing else that could kill it: no threads, no gateway, no cache.  The
 * worker is another run of the same program (exec), which prepares everything
 * and says so; then the supervisor mounts, and hands it the descriptor.  A
 * worker that dies is followed by another, which takes over (fs/channel).
 *
 *	worker -> supervisor	'P' prepared: give me the descriptor
 *				'R' serving
 *				'U' swap me for the program that is installed now
 *	supervisor -> worker	'M' with the descriptor
 *				'E' finish what is under way, and end
 *				'N' no upgrade: other memory layout, or no program
 *
 * Ends with the status of a worker that ended by itself.  DEATHS_MAX deaths with
 * nothing answered in between end the mount.  When the supervisor is killed, the
 * worker sees the socket close, finishes what it can and ends.
 *
 * Threads: none.  Signals: TERM, INT and HUP end the mount; CHLD.
 */
#pragma once

#include <stdbool.h>

/* In the man page, too. */
enum exit_status {
	EXIT_DONE = 0,
	EXIT_USAGE = 1,
	EXIT_MOUNTPOINT = 2,
	EXIT_CREDENTIALS = 3,
	EXIT_GATEWAY = 4,
	EXIT_LOCAL = 5,	  /* cache or state directory */
	EXIT_LEFT = 6,	  /* something was not uploaded; it is in the state directory */
	EXIT_WORKERS = 7, /* workers died, one after another */
};
/* Of a worker, to its supervisor: it cannot take this memory over. */
#define STATUS_LAYOUT 64

struct supervised {
	char **argv;
	const char *mountpoint;
	void *arg;
	/* Mounts: the descriptor, or a negative exit_status after a message. */
	int (*mount)(void *arg);
	void (*unmount)(void *arg);
	/* The mount is usable for the first time. */
	void (*ready)(void *arg);
	bool foreground;
};

enum exit_status supervisor_run(const struct supervised *s);

/* ---- the worker's side ---- */

struct supervision {
	int socket, memory_fd;
	bool quiet; /* no terminal any more: log to syslog */
	bool probe; /* only to say whether it could take the memory over */
};

/* Is this process a worker?  Takes what the supervisor gave it. */
bool supervision_inherit(struct supervision *ret_supervision);
/* 'P', and the descriptor that comes for it; -EPIPE: the supervisor is gone. */
int supervision_prepared(const struct supervision *supervision, int *ret_fd);
int supervision_send(const struct supervision *supervision, char message);
/* The next message; 0: the supervisor is gone. */
char supervision_receive(const struct supervision *supervision);
/* Detaches a mount, as root or through libfuse's helper. */
void supervision_detach(const char *mountpoint);
