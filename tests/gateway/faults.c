/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * faults - what the tests ask of the gateway: counters by kind, a log of
 * requests, a fault script, settings at run time.
 *
 *	GET  /_gateway/counters	       {"PutObject": 3, ..., "total": 3, "bytes_in": ...}
 *	POST /_gateway/counters/reset
 *	GET  /_gateway/log	       one line a request: status, kind, key, query
 *	PUT  /_gateway/faults	       [{"match": {"kind": K, "key": GLOB}, "skip": N,
 *					 "count": N, "action": {...}}]; [] clears
 *	PUT  /_gateway/settings	       {"latency_ms": N, "bandwidth": N, "versioning": B}
 *	GET  /_gateway/health
 *
 * The actions are the table below: a further one is a row and a field.
 */
#include <errno.h>
#include <fnmatch.h>
#include <json-c/json.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "gateway.h"

#define KINDS_MAX 40
#define LOG_BYTES (4u << 20)
#define RULES_MAX 32

struct rule {
	char kind[40], key[KEY_MAX + 1];
	int64_t skip, count; /* count < 0: for ever */
	struct fault fault;
};

static struct {
	pthread_mutex_t lock;
	struct {
		char name[40];
		uint64_t n;
	} kinds[KINDS_MAX];
	unsigned kind_count;
	uint64_t total, in, out;
	struct buf log;
	struct rule rules[RULES_MAX];
	unsigned rule_count;
} stats = { .lock = PTHREAD_MUTEX_INITIALIZER, .log.limit = LOG_BYTES };

/* ---- actions ---- */

enum action_type { MS, NUMBER, BYTES, FLAG };

static const struct {
	const char *name;
	enum action_type type;
	size_t at;
	size_t flag_at; /* set as well; 0: none */
} actions[] = {
	{ "latency_ms", MS, offsetof(struct fault, latency_ms), 0 },
	{ "hang", MS, offsetof(struct fault, hang_ms), 0 },
	{ "bandwidth", BYTES, offsetof(struct fault, bandwidth), 0 },
	{ "truncate_body", BYTES, offsetof(struct fault, truncate), offsetof(struct fault, truncates) },
	{ "corrupt_body", BYTES, offsetof(struct fault, corrupt), offsetof(struct fault, corrupts) },
	{ "drop_before", FLAG, offsetof(struct fault, drop_before), 0 },
	{ "drop_answer", FLAG, offsetof(struct fault, drop_answer), 0 },
	{ "error_in_200", FLAG, offsetof(struct fault, error_in_200), 0 },
};

static void read_error(struct json_object *error, struct fault *f)
{
	struct json_object *v;
	if (json_object_object_get_ex(error, "status", &v))
		f->status = json_object_get_int(v);
	if (json_object_object_get_ex(error, "code", &v))
		snprintf(f->code, sizeof(f->code), "%s", json_object_get_string(v));
	if (json_object_object_get_ex(error, "retry_after", &v))
		f->retry_after_s = json_object_get_int(v);
}

static int read_action(struct json_object *action, struct fault *f)
{
	json_object_object_foreach(action, name, value) {
		size_t i = 0, n = sizeof(actions) / sizeof(*actions);
		if (!strcmp(name, "error")) {
			read_error(value, f);
			continue;
		}
		while (i < n && strcmp(actions[i].name, name))
			i++;
		if (i == n)
			return -EINVAL;
		void *at = (char *)f + actions[i].at;
		if (actions[i].type == FLAG)
			*(bool *)at = json_object_get_boolean(value);
		else if (actions[i].type == BYTES)
			*(uint64_t *)at = json_object_get_int64(value);
		else
			*(unsigned *)at = json_object_get_int(value);
		if (actions[i].flag_at)
			*(bool *)((char *)f + actions[i].flag_at) = true;
	}
	return 0;
}

static int read_rule(struct json_object *json, struct rule *rule)
{
	struct json_object *match, *v;
	*rule = (struct rule){ .kind = "*", .key = "*", .count = -1 };
	if (json_object_object_get_ex(json, "match", &match)) {
		if (json_object_object_get_ex(match, "kind", &v))
			snprintf(rule->kind, sizeof(rule->kind), "%s", json_object_get_string(v));
		if (json_object_object_get_ex(match, "key", &v))
			snprintf(rule->key, sizeof(rule->key), "%s", json_object_get_string(v));
	}
	if (json_object_object_get_ex(json, "skip", &v))
		rule->skip = json_object_get_int64(v);
	if (json_object_object_get_ex(json, "count", &v))
		rule->count = json_object_get_int64(v);
	if (!json_object_object_get_ex(json, "action", &v))
		return -EINVAL;
	return read_action(v, &rule->fault);
}

static int set_faults(struct json_object *list)
{
	struct rule rules[RULES_MAX];
	size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : RULES_MAX + 1;
	if (n > RULES_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (read_rule(json_object_array_get_idx(list, i), &rules[i]) < 0)
			return -EINVAL;
	LOCK_SCOPE(&stats.lock);
	memcpy(stats.rules, rules, n * sizeof(*rules));
	stats.rule_count = n;
	return 0;
}

void faults_match(const char *kind, const char *key, struct fault *ret_fault)
{
	LOCK_SCOPE(&stats.lock);
	*ret_fault = (struct fault){ 0 };
	for (unsigned i = 0; i < stats.rule_count; i++) {
		struct rule *r = &stats.rules[i];
		if (fnmatch(r->kind, kind, 0) || fnmatch(r->key, key ? key : "", 0))
			continue;
		if (r->skip > 0) {
			r->skip--;
			continue;
		}
		if (r->count == 0)
			continue;
		if (r->count > 0)
			r->count--;
		*ret_fault = r->fault;
		ret_fault->matched = true;
		return;
	}
}

/* ---- counters and log ---- */

void stats_count(const char *kind, const char *key, const char *query, int status, uint64_t in,
		 uint64_t out)
{
	LOCK_SCOPE(&stats.lock);
	unsigned i = 0;
	while (i < stats.kind_count && strcmp(stats.kinds[i].name, kind))
		i++;
	if (i == stats.kind_count && i < KINDS_MAX)
		snprintf(stats.kinds[stats.kind_count++].name, sizeof(stats.kinds[0].name), "%s", kind);
	if (i < KINDS_MAX)
		stats.kinds[i].n++;
	stats.total++;
	stats.in += in;
	stats.out += out;
	if (stats.log.length > LOG_BYTES / 2)
		buf_clear(&stats.log);
	buf_addf(&stats.log, "%d %s %s %s\n", status, kind, key ? key : "", query ? query : "");
}

static void add_counters(struct buf *answer)
{
	LOCK_SCOPE(&stats.lock);
	buf_add_str(answer, "{");
	for (unsigned i = 0; i < stats.kind_count; i++)
		buf_addf(answer, "\"%s\": %llu, ", stats.kinds[i].name,
			 (unsigned long long)stats.kinds[i].n);
	buf_addf(answer, "\"total\": %llu, \"bytes_in\": %llu, \"bytes_out\": %llu}\n",
		 (unsigned long long)stats.total, (unsigned long long)stats.in,
		 (unsigned long long)stats.out);
}

static void reset_counters(void)
{
	LOCK_SCOPE(&stats.lock);
	memset(stats.kinds, 0, sizeof(stats.kinds));
	stats.kind_count = 0;
	stats.total = stats.in = stats.out = 0;
	buf_clear(&stats.log);
}

static int set_settings(struct json_object *json)
{
	struct json_object *v;
	if (json_object_object_get_ex(json, "latency_ms", &v))
		settings.latency_ms = json_object_get_int(v);
	if (json_object_object_get_ex(json, "bandwidth", &v))
		settings.bandwidth = json_object_get_int64(v);
	if (json_object_object_get_ex(json, "versioning", &v))
		settings.versioned = json_object_get_boolean(v);
	return 0;
}

static void json_put(struct json_object **json)
{
	json_object_put(*json);
}

int control(const char *method, const char *what, const struct buf *body, struct buf *answer)
{
	_cleanup_(json_put) struct json_object *json =
		body->length ? json_tokener_parse(body->data) : NULL;
	bool put = !strcmp(method, "PUT") || !strcmp(method, "POST");
	int r = 0;
	if (!put && !strcmp(what, "health"))
		buf_add_str(answer, "ok\n");
	else if (!put && !strcmp(what, "counters"))
		add_counters(answer);
	else if (put && !strcmp(what, "counters/reset"))
		reset_counters();
	else if (!put && !strcmp(what, "log")) {
		LOCK_SCOPE(&stats.lock);
		buf_add(answer, stats.log.data ? stats.log.data : "", stats.log.length);
	} else if (put && !strcmp(what, "faults"))
		r = set_faults(json);
	else if (put && !strcmp(what, "settings"))
		r = set_settings(json);
	else
		r = -ENOENT;
	return r == 0 ? 200 : r == -ENOENT ? 404 : 400;
}
