/* SPDX-License-Identifier: GPL-3.0-or-later */
/* multipart - uploads in parts.  They do not survive the gateway's end. */
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/s3/xml.h"
#include "ops.h"

#define PART_MIN (5u << 20)

static void upload_free(struct bucket *b, struct upload *u, bool files)
{
	HASH_DEL(b->uploads, u);
	for (unsigned i = 1; i <= 10000; i++) {
		if (u->parts[i] && files)
			store_remove_file(b->name, u->parts[i]->file);
		free(u->parts[i]);
	}
	free(u->key);
	free(u->content_type);
	free(u->meta);
	free(u);
}

static void create(struct request *r, struct bucket *b)
{
	struct upload *u = calloc(1, sizeof(*u));
	snprintf(u->id, sizeof(u->id), "upload-%llu", (unsigned long long)++store.last_file);
	u->key = strdup(r->key);
	u->content_type = request_type(r);
	u->meta = request_meta(r);
	HASH_ADD_STR(b->uploads, id, u);
	buf_add_str(&r->answer, "<InitiateMultipartUploadResult><Key>");
	s3_xml_escape(&r->answer, u->key);
	buf_addf(&r->answer, "</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>", u->id);
	r->status = 200;
}

static void put_part(struct request *r, struct bucket *b, struct upload *u)
{
	const char *text = argument(r, "partNumber");
	long number = text ? strtol(text, NULL, 10) : 0;
	if (number < 1 || number > 10000) {
		fail(r, 400, "InvalidArgument");
		return;
	}
	struct part *p = calloc(1, sizeof(*p));
	p->size = r->received;
	p->file = r->file;
	snprintf(p->etag, sizeof(p->etag), "%s", r->md5_hex);
	r->file = 0;
	if (u->parts[number])
		store_remove_file(b->name, u->parts[number]->file);
	free(u->parts[number]);
	u->parts[number] = p;
	r->status = 200;
	add_etag(r, p->etag);
}

static void list_parts(struct request *r, struct upload *u)
{
	buf_add_str(&r->answer, "<ListPartsResult><IsTruncated>false</IsTruncated>");
	for (unsigned i = 1; i <= 10000; i++)
		if (u->parts[i])
			buf_addf(&r->answer, "<Part><PartNumber>%u</PartNumber><ETag>&quot;%s&quot;</ETag>"
					     "<Size>%llu</Size></Part>", i, u->parts[i]->etag,
				 (unsigned long long)u->parts[i]->size);
	buf_add_str(&r->answer, "</ListPartsResult>");
	r->status = 200;
}

/* The parts that the client names must be exactly those that are there. */
static int check_parts(struct request *r, const struct upload *u, unsigned *ret_count)
{
	unsigned named = 0, there = 0, last = 0;
	for (char *at = r->body.data; at && (at = strstr(at, "<Part>")); at += 6, named++) {
		char *number = strstr(at, "<PartNumber>"), *etag = strstr(at, "<ETag>");
		if (!number || !etag)
			return fail(r, 400, "MalformedXML");
		unsigned n = strtoul(number + 12, NULL, 10);
		if (n <= last)
			return fail(r, 400, "InvalidPartOrder");
		last = n;
		if (n > 10000 || !u->parts[n] || !strstr(etag, u->parts[n]->etag))
			return fail(r, 400, "InvalidPart");
	}
	for (unsigned i = 1; i <= 10000; i++)
		there += u->parts[i] != NULL;
	if (!named || named != there)
		return fail(r, 400, "InvalidPart");
	for (unsigned i = 1; i < last; i++)
		if (u->parts[i] && u->parts[i]->size < PART_MIN)
			return fail(r, 400, "EntityTooSmall");
	*ret_count = there;
	return 0;
}

static int join_parts(struct bucket *b, struct upload *u, unsigned count, struct object **ret)
{
	unsigned char sum[16], whole[16];
	uint64_t number, size = 0;
	char etag[48];
	int to = store_new_file(b->name, &number);
	EVP_MD_CTX *md5 = EVP_MD_CTX_new();
	if (to < 0)
		return to;
	EVP_DigestInit_ex(md5, EVP_md5(), NULL);
	for (unsigned i = 1; i <= 10000; i++) {
		if (!u->parts[i])
			continue;
		int from = store_open_file(b->name, u->parts[i]->file);
		for (ssize_t n; (n = copy_file_range(from, NULL, to, NULL, 1 << 30, 0)) > 0;)
			;
		close(from);
		size += u->parts[i]->size;
		for (int j = 0; j < 16; j++)
			sscanf(u->parts[i]->etag + 2 * j, "%2hhx", &sum[j]);
		EVP_DigestUpdate(md5, sum, sizeof(sum));
	}
	close(to);
	EVP_DigestFinal_ex(md5, whole, NULL);
	EVP_MD_CTX_free(md5);
	for (int j = 0; j < 16; j++)
		snprintf(etag + 2 * j, 3, "%02x", whole[j]);
	snprintf(etag + 32, sizeof(etag) - 32, "-%u", count);
	*ret = object_new(u->key, number, size, etag);
	return 0;
}

static void complete(struct request *r, struct bucket *b, struct upload *u)
{
	unsigned count = 0;
	struct object *o;
	if (check_write_conditions(r, store_get_locked(b, u->key)) || check_parts(r, u, &count))
		return;
	if (r->fault.error_in_200) {
		buf_add_str(&r->answer, "   <Error><Code>InternalError</Code><Message>late</Message></Error>");
		r->status = 200;
		return;
	}
	if (join_parts(b, u, count, &o) < 0) {
		fail(r, 500, "InternalError");
		return;
	}
	o->content_type = strdup(u->content_type);
	o->meta = strdup(u->meta);
	buf_addf(&r->answer, "<CompleteMultipartUploadResult><ETag>&quot;%s&quot;</ETag>"
			     "</CompleteMultipartUploadResult>", o->etag);
	r->status = 200;
	store_put_locked(b, o);
	upload_free(b, u, true);
}

void serve_multipart(struct request *r, struct bucket *b)
{
	const char *id = argument(r, "uploadId"), *k = r->kind;
	struct upload *u = NULL;
	if (!strcmp(k, "CreateMultipartUpload")) {
		create(r, b);
		return;
	}
	if (id)
		HASH_FIND_STR(b->uploads, id, u);
	if (!strcmp(k, "AbortMultipartUpload")) { /* of an unknown one: fine */
		if (u)
			upload_free(b, u, true);
		r->status = 204;
	} else if (!u)
		fail(r, 404, "NoSuchUpload");
	else if (!strcmp(k, "UploadPartCopy"))
		fail(r, 501, "NotImplemented");
	else if (!strcmp(k, "UploadPart"))
		put_part(r, b, u);
	else if (!strcmp(k, "ListParts"))
		list_parts(r, u);
	else if (!strcmp(k, "CompleteMultipartUpload"))
		complete(r, b, u);
	else
		fail(r, 405, "MethodNotAllowed");
}
