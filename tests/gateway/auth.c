/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * auth - AWS Signature Version 4, for real: what the client signed is computed
 * again from the request as it arrived.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "fs/s3/sign.h"
#include "gateway.h"

#define SIGNED_MAX 40
#define SKEW_MAX_S 900

/* A field of `Credential=..., SignedHeaders=..., Signature=...`. */
static bool field(const char *authorization, const char *name, char *to, size_t room)
{
	const char *at = strstr(authorization, name);
	if (!at)
		return false;
	at += strlen(name);
	snprintf(to, room, "%.*s", (int)strcspn(at, ", "), at);
	return true;
}

static int check_date(struct request *r, const char *amz_date)
{
	struct tm tm = { 0 };
	if (!amz_date || !strptime(amz_date, "%Y%m%dT%H%M%SZ", &tm))
		return fail(r, 403, "AccessDenied");
	if (llabs(time(NULL) - timegm(&tm)) > SKEW_MAX_S)
		return fail(r, 403, "RequestTimeTooSkewed");
	return 0;
}

static int check_payload(struct request *r, const char *hash)
{
	if (!hash)
		return fail(r, 400, "InvalidArgument");
	if (!strcmp(hash, "UNSIGNED-PAYLOAD"))
		return 0;
	if (strlen(hash) != 64)
		return fail(r, 400, "InvalidArgument"); /* streaming and trailers */
	return 0;
}

static const struct credential *find_key(const char *access)
{
	for (unsigned i = 0; i < settings.key_count; i++)
		if (!strcmp(settings.keys[i].access, access))
			return &settings.keys[i];
	return NULL;
}

/* The headers that the client says it signed. */
static size_t signed_headers(const struct request *r, char *names, struct buf *lines)
{
	size_t n = 0;
	char *rest = names, *name;
	while ((name = strsep(&rest, ";")) && n < SIGNED_MAX) {
		const char *value = header(r, name);
		buf_addf(&lines[n++], "%s:%s", name, value ? value : "");
	}
	return n;
}

int authenticate(struct request *r)
{
	const char *authorization = header(r, "authorization");
	char credential[512], names[1024], signature[80];
	if (!authorization || strncmp(authorization, "AWS4-HMAC-SHA256 ", 17) ||
	    !field(authorization, "Credential=", credential, sizeof(credential)) ||
	    !field(authorization, "SignedHeaders=", names, sizeof(names)) ||
	    !field(authorization, "Signature=", signature, sizeof(signature)))
		return fail(r, 403, "AccessDenied");

	char *rest = credential;
	const char *access = strsep(&rest, "/"), *day = strsep(&rest, "/");
	const char *region = strsep(&rest, "/"), *service = strsep(&rest, "/");
	const char *amz_date = header(r, "x-amz-date"), *hash = header(r, "x-amz-content-sha256");
	r->who = find_key(access);
	if (!r->who || !day || !region || !service)
		return fail(r, 403, "InvalidAccessKeyId");
	if (check_date(r, amz_date) || check_payload(r, hash))
		return -1;

	struct buf lines[SIGNED_MAX] = { 0 };
	const char *list[SIGNED_MAX];
	size_t n = signed_headers(r, names, lines);
	for (size_t i = 0; i < n; i++)
		list[i] = lines[i].data;
	struct s3_sign_input in = {
		.method = r->method, .path = r->path, .query = r->query.length ? r->query.data : "",
		.headers = list, .header_count = n, .payload_hash = hash, .amz_date = amz_date,
		.region = region, .service = service, .access_key = r->who->access,
		.secret_key = r->who->secret,
	};
	_cleanup_buf_ struct buf expected = { 0 };
	s3_sign(&in, &expected);
	for (size_t i = 0; i < n; i++)
		buf_free(&lines[i]);
	const char *ours = strstr(expected.data, "Signature=");
	return ours && !strcmp(ours + 10, signature) ? 0 : fail(r, 403, "SignatureDoesNotMatch");
}
