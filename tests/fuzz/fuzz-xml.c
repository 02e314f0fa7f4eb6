/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fuzz-xml - any bytes as any answer of the gateway.
 *
 * The memory limit of tests/run is part of it: entities, depth, many elements.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "fs/s3/header.h"
#include "fs/s3/sign.h"
#include "fs/s3/xml.h"

static void check_etag(const char *etag)
{
	char again[S3_ETAG_MAX];
	REQUIRE(strlen(etag) < S3_ETAG_MAX);
	REQUIRE(!strpbrk(etag, "\r\n\" "));
	s3_header_etag(etag, again);
	REQUIRE(!strcmp(again, etag));
}

static void check_listing(const struct buf *body)
{
	struct s3_listing *l = NULL;
	int r = s3_xml_listing(body, &l);
	REQUIRE(r == 0 || (r == -EIO && !l));
	for (size_t i = 0; l && i < l->count; i++) {
		const struct s3_list_entry *e = &l->entries[i];
		size_t n = strlen(e->key);
		REQUIRE(e->size_bytes >= 0 && e->size_bytes <= S3_SIZE_MAX && e->mtime_ns >= 0);
		REQUIRE(!e->is_prefix || (n && e->key[n - 1] == '/'));
		check_etag(e->etag);
	}
	REQUIRE(!l || !l->next_token || l->next_token[0]);
	s3_listing_free(l);
}

static void check_parts(const struct buf *body)
{
	struct s3_listing *l = NULL;
	int r = s3_xml_parts(body, &l);
	REQUIRE(r == 0 || (r == -EIO && !l));
	for (size_t i = 0; l && i < l->count; i++) {
		REQUIRE(!l->entries[i].key && l->entries[i].size_bytes >= 0);
		check_etag(l->entries[i].etag);
	}
	s3_listing_free(l);
}

static void check_uploads(const struct buf *body)
{
	struct s3_upload_listing *l = NULL;
	int r = s3_xml_uploads(body, &l);
	REQUIRE(r == 0 || (r == -EIO && !l));
	for (size_t i = 0; l && i < l->count; i++)
		REQUIRE(l->entries[i].key && l->entries[i].upload_id);
	REQUIRE(!l || !l->next_key_marker || l->next_key_marker[0]);
	s3_upload_listing_free(l);
}

static void check_texts(const struct buf *body)
{
	static const char *const keys[] = { "a", "b", "c" };
	struct s3_reply reply = { .error = 1, .size_bytes = 7 };
	int errors[3] = { 7, 7, 7 };
	char text[16];
	int r = s3_xml_error(body, &reply);
	REQUIRE(r == 0 || (r == -ENOENT && !reply.code[0]));
	REQUIRE(reply.error == 1 && reply.size_bytes == 7);
	r = s3_xml_deleted(body, keys, errors, 3);
	REQUIRE(r == 0 || r == -EIO);
	for (int i = 0; i < 3; i++)
		REQUIRE(r == 0 ? errors[i] <= 0 : errors[i] == 7);
	r = s3_xml_text(body, "CopyObjectResult", "ETag", text, sizeof(text));
	REQUIRE(r == 0 || r == -EIO);
	r = s3_xml_text(body, "InitiateMultipartUploadResult", "UploadId", text, sizeof(text));
	REQUIRE(r == 0 || r == -EIO);
}

/* What is escaped or encoded comes back as it was. */
static void check_round_trip(const struct buf *body)
{
	_cleanup_buf_ struct buf encoded = { 0 }, answer = { 0 };
	int64_t ns = -7;
	REQUIRE(s3_parse_iso_time(body->data, &ns) < 0 ? ns == -7 : ns >= 0);
	REQUIRE(s3_uri_encode(&encoded, body->data, body->length % 2) == 0);
	if (encoded.data)
		REQUIRE(s3_uri_decode(encoded.data) == 0 && !strcmp(encoded.data, body->data));
	REQUIRE(buf_add_str(&answer, "<Error><Code>") == 0);
	REQUIRE(s3_xml_escape(&answer, body->data) == 0);
	REQUIRE(buf_add_str(&answer, "</Code></Error>") == 0);
	struct s3_reply reply = { 0 };
	if (s3_xml_error(&answer, &reply) == 0)
		REQUIRE(!strncmp(reply.code, body->data, sizeof(reply.code) - 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf body = { 0 };
	REQUIRE(buf_add(&body, data, size) == 0);
	check_listing(&body);
	check_parts(&body);
	check_uploads(&body);
	check_texts(&body);
	check_round_trip(&body);
	return 0;
}
