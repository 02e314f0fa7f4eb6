/* SPDX-License-Identifier: GPL-3.0-or-later */
/* log - see log.h.  The settings are written before threads start, but for
 * the level, which is atomic. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#define LINE_MAX_BYTES 4096

static struct {
	const char *program;
	enum log_format format;
	bool to_syslog;
} settings = { .program = "tardigradefs" };
static _Atomic int current_level = LOG_LVL_INFO;

static const char *const level_names[] = { "error", "warning", "info", "debug" };
static const int syslog_levels[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

void log_setup(const char *program, enum log_level level, enum log_format format)
{
	settings.program = program;
	settings.format = format;
	current_level = level;
}

void log_to_syslog(void)
{
	openlog(settings.program, LOG_PID, LOG_DAEMON);
	settings.to_syslog = true;
}

void log_set_level(enum log_level level)
{
	current_level = level;
}

bool log_enabled(enum log_level level)
{
	return (int)level <= current_level;
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
	for (unsigned i = 0; i < sizeof(level_names) / sizeof(*level_names); i++)
		if (!strcmp(name, level_names[i])) {
			*ret_level = i;
			return 0;
		}
	return -EINVAL;
}

/* Control characters would let a key forge a line of its own. */
static void blank_controls(char *line)
{
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

static void json_escape(const char *from, char *to, size_t room)
{
	size_t n = 0;
	for (; *from && n + 3 < room; from++) {
		if (*from == '"' || *from == '\\')
			to[n++] = '\\';
		to[n++] = *from;
	}
	to[n] = 0;
}

void log_write(enum log_level level, const char *format, ...)
{
	if (!log_enabled(level))
		return;

	char line[LINE_MAX_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	blank_controls(line);

	if (settings.to_syslog && settings.format == LOG_TEXT) {
		syslog(syslog_levels[level], "%s", line);
		return;
	}

	struct timespec now;
	struct tm tm;
	char stamp[32];
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);

	if (settings.format == LOG_TEXT) {
		fprintf(stderr, "%s.%03ldZ %s: %s: %s\n", stamp, now.tv_nsec / 1000000,
			settings.program, level_names[level], line);
		return;
	}
	char escaped[2 * LINE_MAX_BYTES];
	char json[2 * LINE_MAX_BYTES + 256];
	json_escape(line, escaped, sizeof(escaped));
	snprintf(json, sizeof(json),
		 "{\"time\":\"%s.%03ldZ\",\"program\":\"%s\",\"level\":\"%s\",\"message\":\"%s\"}",
		 stamp, now.tv_nsec / 1000000, settings.program, level_names[level], escaped);
	if (settings.to_syslog)
		syslog(syslog_levels[level], "%s", json);
	else
		fprintf(stderr, "%s\n", json);
}
