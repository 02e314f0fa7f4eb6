/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * delayproxy - a TCP proxy that makes a link longer, not narrower.
 *
 *	delayproxy LISTEN_PORT TO_PORT RTT_MS
 *
 * Both on 127.0.0.1.  Each direction delays every byte by half the round trip;
 * a connection costs one round trip more, as a handshake does.  What is on its
 * way waits in memory, in order, so throughput is not bounded by the delay.
 *
 * Threads: one per direction of a connection reads, one writes; a pipe is
 * between them, guarded by its lock.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE (64u << 10)
#define PIECES_MAX 4096 /* 256 MiB on the way: more than any test link holds */

struct piece {
	int64_t due_ns;
	size_t length;
	struct piece *next;
	char data[];
};

struct way {
	int from, to;
	pthread_mutex_t lock;
	pthread_cond_t change;
	struct piece *first, **last; /* guarded by lock, as is count */
	unsigned count;
	struct link *link;
};

struct link {
	struct way there, back;
	int left; /* threads; guarded by there.lock */
};

static int64_t delay_ns;
static int to_port;

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static void sleep_until(int64_t ns)
{
	struct timespec t = { ns / 1000000000, ns % 1000000000 };
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static void leave(struct link *l)
{
	pthread_mutex_lock(&l->there.lock);
	int left = --l->left;
	pthread_mutex_unlock(&l->there.lock);
	if (left)
		return;
	close(l->there.from);
	close(l->there.to);
	free(l);
}

/* An empty piece is the end. */
static void *read_side(void *arg)
{
	struct way *w = arg;
	ssize_t n;
	do {
		struct piece *p = malloc(sizeof(*p) + PIECE);
		n = recv(w->from, p->data, PIECE, 0);
		p->length = n > 0 ? n : 0;
		p->due_ns = now_ns() + delay_ns;
		p->next = NULL;
		pthread_mutex_lock(&w->lock);
		while (w->count >= PIECES_MAX)
			pthread_cond_wait(&w->change, &w->lock);
		*w->last = p;
		w->last = &p->next;
		w->count++;
		pthread_cond_signal(&w->change);
		pthread_mutex_unlock(&w->lock);
	} while (n > 0);
	leave(w->link);
	return NULL;
}

static int send_all(int to, const char *data, size_t n)
{
	while (n) {
		ssize_t sent = send(to, data, n, MSG_NOSIGNAL);
		if (sent <= 0)
			return -1;
		data += sent;
		n -= sent;
	}
	return 0;
}

static void *write_side(void *arg)
{
	struct way *w = arg;
	size_t length;
	int failed = 0;
	do {
		pthread_mutex_lock(&w->lock);
		while (!w->first)
			pthread_cond_wait(&w->change, &w->lock);
		struct piece *p = w->first;
		w->first = p->next;
		if (!w->first)
			w->last = &w->first;
		w->count--;
		pthread_cond_signal(&w->change);
		pthread_mutex_unlock(&w->lock);
		sleep_until(p->due_ns);
		length = p->length;
		if (length && !failed)
			failed = send_all(w->to, p->data, length);
		free(p);
	} while (length);
	shutdown(w->to, SHUT_WR);
	if (failed)
		shutdown(w->from, SHUT_RD);
	leave(w->link);
	return NULL;
}

static void way_init(struct way *w, struct link *l, int from, int to)
{
	w->from = from;
	w->to = to;
	w->link = l;
	w->last = &w->first;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->change, NULL);
}

static void *serve(void *arg)
{
	struct link *l = calloc(1, sizeof(*l));
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(to_port) };
	int client = (intptr_t)arg, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	pthread_t thread;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sleep_until(now_ns() + 2 * delay_ns); /* the handshake */
	if (connect(server, (struct sockaddr *)&to, sizeof(to)) < 0) {
		close(client);
		close(server);
		free(l);
		return NULL;
	}
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	way_init(&l->there, l, client, server);
	way_init(&l->back, l, server, client);
	l->left = 4;
	void *(*const sides[])(void *) = { read_side, write_side, read_side, write_side };
	for (int i = 0; i < 4; i++) {
		pthread_create(&thread, NULL, sides[i], i < 2 ? &l->there : &l->back);
		pthread_detach(thread);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	int one = 1;
	if (argc != 4) {
		fprintf(stderr, "usage: delayproxy LISTEN_PORT TO_PORT RTT_MS\n");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	at.sin_port = htons(atoi(argv[1]));
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to_port = atoi(argv[2]);
	delay_ns = atoll(argv[3]) * 500000ll;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(listener, 1024) < 0) {
		perror("delayproxy");
		return 1;
	}
	for (;;) {
		pthread_t thread;
		int client = accept(listener, NULL, NULL);
		if (client < 0)
			continue;
		if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)client) == 0)
			pthread_detach(thread);
		else
			close(client);
	}
}
