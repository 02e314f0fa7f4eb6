/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tardigrade-gateway: a small S3 server with Storj's manners.
 *
 *	tardigrade-gateway --dir DIR --port N [--port-file FILE] [--listen ADDRESS]
 *		--access-key K --secret-key S [--readonly-key K:S] [--nodelete-key K:S]
 *		[--tls-cert PEM --tls-key PEM] [--plain-s3] [--latency-ms N] [--bandwidth N]
 *
 * Port 0 takes a free one; FILE gets its number once it listens.  Stays in the
 * foreground; SIGTERM ends it.  The control interface is described in faults.c.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "request.h"

struct settings settings = { .listen = "127.0.0.1" };

static const struct option long_options[] = {
	{ "dir", 1, NULL, 'd' },	  { "port", 1, NULL, 'p' },
	{ "port-file", 1, NULL, 'f' },	  { "listen", 1, NULL, 'l' },
	{ "access-key", 1, NULL, 'a' },	  { "secret-key", 1, NULL, 's' },
	{ "readonly-key", 1, NULL, 'r' }, { "nodelete-key", 1, NULL, 'n' },
	{ "tls-cert", 1, NULL, 'c' },	  { "tls-key", 1, NULL, 'k' },
	{ "plain-s3", 0, NULL, 'P' },	  { "latency-ms", 1, NULL, 'L' },
	{ "bandwidth", 1, NULL, 'B' },	  { NULL, 0, NULL, 0 },
};

static struct credential *add_key(char *text)
{
	struct credential *c = &settings.keys[settings.key_count++];
	c->access = strsep(&text, ":");
	c->secret = text ? text : "";
	return c;
}

static int parse(int argc, char **argv)
{
	const char *access = getenv("TARDIGRADE_GATEWAY_ACCESS_KEY");
	const char *secret = getenv("TARDIGRADE_GATEWAY_SECRET_KEY");
	for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) != -1;)
		switch (c) {
		case 'd': settings.dir = optarg; break;
		case 'p': settings.port = strtoul(optarg, NULL, 10); break;
		case 'f': settings.port_file = optarg; break;
		case 'l': settings.listen = optarg; break;
		case 'a': access = optarg; break;
		case 's': secret = optarg; break;
		case 'r': if (settings.key_count < 3) add_key(optarg)->no_write = true; break;
		case 'n': if (settings.key_count < 3) add_key(optarg)->no_delete = true; break;
		case 'c': settings.tls_cert = optarg; break;
		case 'k': settings.tls_key = optarg; break;
		case 'P': settings.plain_s3 = true; break;
		case 'L': settings.latency_ms = strtoul(optarg, NULL, 10); break;
		case 'B': settings.bandwidth = strtoull(optarg, NULL, 10); break;
		default: return -1;
		}
	if (!settings.dir || !access || !secret) {
		fprintf(stderr, "tardigrade-gateway: give --dir, --access-key and --secret-key\n");
		return -1;
	}
	settings.keys[settings.key_count++] = (struct credential){ .access = access, .secret = secret };
	return 0;
}

static char *read_all(const char *path)
{
	struct buf text = { 0 };
	char step[4096];
	size_t n;
	FILE *f = fopen(path, "re");
	while (f && (n = fread(step, 1, sizeof(step), f)) > 0)
		buf_add(&text, step, n);
	if (f)
		fclose(f);
	return text.data;
}

/* The raw path is wanted: nothing is decoded here. */
static size_t keep_escapes(void *arg, struct MHD_Connection *connection, char *text)
{
	(void)arg, (void)connection;
	return MHD_http_unescape(text);
}

static struct MHD_Daemon *start(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(settings.port) };
	unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL;
	inet_pton(AF_INET, settings.listen, &address.sin_addr);
	char *cert = settings.tls_cert ? read_all(settings.tls_cert) : NULL;
	char *key = settings.tls_key ? read_all(settings.tls_key) : NULL;
	struct MHD_OptionItem tls[] = { { MHD_OPTION_HTTPS_MEM_CERT, 0, cert },
					{ MHD_OPTION_HTTPS_MEM_KEY, 0, key },
					{ MHD_OPTION_END, 0, NULL } };
	struct MHD_OptionItem plain[] = { { MHD_OPTION_END, 0, NULL } };
	if (cert)
		flags |= MHD_USE_TLS;
	return MHD_start_daemon(flags, 0, NULL, NULL, request_handle, NULL,
				MHD_OPTION_SOCK_ADDR, &address,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)512 << 10,
				MHD_OPTION_CONNECTION_TIMEOUT, 300u,
				MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
				MHD_OPTION_URI_LOG_CALLBACK, request_seen, NULL,
				MHD_OPTION_NOTIFY_COMPLETED, request_ended, NULL,
				MHD_OPTION_ARRAY, cert ? tls : plain, MHD_OPTION_END);
}

static void say_port(unsigned port)
{
	printf("listening on %s://%s:%u\n", settings.tls_cert ? "https" : "http", settings.listen,
	       port);
	fflush(stdout);
	FILE *f = settings.port_file ? fopen(settings.port_file, "we") : NULL;
	if (f) {
		fprintf(f, "%u\n", port);
		fclose(f);
	}
}

int main(int argc, char **argv)
{
	sigset_t set;
	int number;
	if (parse(argc, argv) < 0)
		return 1;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	mkdir(settings.dir, 0700);
	if (store_load() < 0) {
		fprintf(stderr, "tardigrade-gateway: cannot read %s\n", settings.dir);
		return 1;
	}
	struct MHD_Daemon *daemon = start();
	const union MHD_DaemonInfo *info =
		daemon ? MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT) : NULL;
	if (!info) {
		fprintf(stderr, "tardigrade-gateway: cannot listen on %s:%u\n", settings.listen,
			settings.port);
		return 1;
	}
	say_port(info->port);
	sigwait(&set, &number);
	MHD_stop_daemon(daemon);
	return 0;
}
