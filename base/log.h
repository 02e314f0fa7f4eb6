/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * log - one line for each thing that an operator should know.
 *
 * Goes to stderr, or after log_to_syslog() to syslog (which systemd's journal
 * collects).  As text, or as one JSON object a line.
 *
 * Where an error ends, one line: operation, key, errno, the gateway's request
 * id; a warning says what happens next.  Never credentials, signatures or
 * bodies.
 *
 * Threads: call from any.  log_setup() and log_to_syslog() before threads
 * start; log_set_level() at any time.
 */
#pragma once

#include <stdbool.h>

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARNING, LOG_LVL_INFO, LOG_LVL_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

void log_setup(const char *program, enum log_level level, enum log_format format);
void log_to_syslog(void);
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

/* "error", "warning", "info" or "debug".  0, or -EINVAL. */
int log_level_parse(const char *name, enum log_level *ret_level);

void log_write(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LVL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LVL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LVL_INFO, __VA_ARGS__)
#define log_debug(...)                                                         \
	do {                                                                   \
		if (log_enabled(LOG_LVL_DEBUG))                                \
			log_write(LOG_LVL_DEBUG, __VA_ARGS__);                 \
	} while (0)
