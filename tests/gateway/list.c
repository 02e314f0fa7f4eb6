/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * list - listings, in no order that a client could guess (Storj lists in the
 * order of its ciphertext): by a hash of the name.  plain_s3: sorted.
 *
 * A continuation token is the last name of its page, encoded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/s3/sign.h"
#include "fs/s3/xml.h"
#include "ops.h"

struct item {
	uint64_t order;
	char *name;		     /* owned where it is a prefix */
	const struct object *object; /* NULL: a common prefix */
};

struct items {
	struct item *all;
	size_t count, room;
};

static uint64_t order_of(const char *name)
{
	uint64_t h = 0xcbf29ce484222325ull;
	if (settings.plain_s3)
		return 0;
	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3ull;
	return h ^ h >> 29;
}

static int by_order(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	if (x->order != y->order)
		return x->order < y->order ? -1 : 1;
	return strcmp(x->name, y->name);
}

static void add(struct items *items, const char *name, size_t length, const struct object *o)
{
	if (items->count == items->room) {
		items->room = items->room ? 2 * items->room : 256;
		items->all = realloc(items->all, items->room * sizeof(*items->all));
	}
	struct item *item = &items->all[items->count++];
	item->name = strndup(name, length);
	item->order = order_of(item->name);
	item->object = o;
}

static void gather(const struct bucket *b, const char *prefix, bool delimited, struct items *items)
{
	size_t skip = strlen(prefix);
	for (const struct object *o = b->objects; o; o = o->hh.next) {
		if (strncmp(o->key, prefix, skip))
			continue;
		const char *slash = delimited ? strchr(o->key + skip, '/') : NULL;
		if (slash)
			add(items, o->key, slash + 1 - o->key, NULL);
		else
			add(items, o->key, strlen(o->key), o);
	}
	if (items->count)
		qsort(items->all, items->count, sizeof(*items->all), by_order);
}

static void add_encoded(struct buf *out, const char *text, bool encoded)
{
	if (encoded)
		s3_uri_encode(out, text, true);
	else
		s3_xml_escape(out, text);
}

static void add_item(struct buf *out, const struct item *i, bool encoded)
{
	char date[64];
	buf_add_str(out, i->object ? "<Contents><Key>" : "<CommonPrefixes><Prefix>");
	add_encoded(out, i->name, encoded);
	if (!i->object) {
		buf_add_str(out, "</Prefix></CommonPrefixes>");
		return;
	}
	iso_date(i->object->mtime_ms, date, sizeof(date));
	buf_addf(out, "</Key><LastModified>%s</LastModified><ETag>&quot;%s&quot;</ETag>"
		      "<Size>%llu</Size></Contents>", date, i->object->etag,
		 (unsigned long long)i->object->size);
}

static bool refused(struct request *r, const char *prefix, const char *delimiter)
{
	size_t n = strlen(prefix);
	if (settings.plain_s3)
		return false;
	if ((n && prefix[n - 1] != '/') || (*delimiter && strcmp(delimiter, "/")))
		return fail(r, 501, "NotImplemented");
	return false;
}

void list_objects(struct request *r, struct bucket *b)
{
	const char *prefix = argument(r, "prefix"), *delimiter = argument(r, "delimiter");
	const char *max_text = argument(r, "max-keys"), *encoding = argument(r, "encoding-type");
	const char *token = argument(r, "continuation-token");
	const char *after = token ? token : argument(r, "start-after");
	bool v1 = !argument(r, "list-type");
	long max = max_text ? strtol(max_text, NULL, 10) : 1000;
	bool encoded = encoding && !strcmp(encoding, "url");
	if (v1)
		after = argument(r, "marker");
	prefix = prefix ? prefix : "";
	delimiter = delimiter ? delimiter : "";
	if (max < 0) {
		fail(r, 400, "InvalidArgument");
		return;
	}
	if (refused(r, prefix, delimiter))
		return;
	struct items items = { 0 };
	gather(b, prefix, *delimiter, &items);
	size_t limit = max > 1000 ? 1000 : max, shown = 0;
	const char *last = NULL;
	struct item mark = { .name = (char *)(after ? after : ""), .order = after ? order_of(after) : 0 };
	bool more = false;

	buf_add_str(&r->answer, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>");
	if (encoded)
		buf_add_str(&r->answer, "<EncodingType>url</EncodingType>");
	for (size_t i = 0; i < items.count && !more; i++) {
		struct item *item = &items.all[i];
		if ((after && by_order(item, &mark) <= 0) || (last && !strcmp(last, item->name)))
			continue;
		more = shown == limit;
		if (more)
			break;
		add_item(&r->answer, item, encoded);
		last = item->name;
		shown++;
	}
	buf_addf(&r->answer, "<KeyCount>%zu</KeyCount><IsTruncated>%s</IsTruncated>", shown,
		 more ? "true" : "false");
	if (more && last) {
		buf_add_str(&r->answer, v1 ? "<NextMarker>" : "<NextContinuationToken>");
		s3_xml_escape(&r->answer, last);
		buf_add_str(&r->answer, v1 ? "</NextMarker>" : "</NextContinuationToken>");
	}
	buf_add_str(&r->answer, "</ListBucketResult>");
	for (size_t i = 0; i < items.count; i++)
		free(items.all[i].name);
	free(items.all);
	r->status = 200;
}

void list_uploads(struct request *r, struct bucket *b)
{
	buf_add_str(&r->answer, "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>");
	for (struct upload *u = b->uploads; u; u = u->hh.next) {
		buf_add_str(&r->answer, "<Upload><Key>");
		s3_xml_escape(&r->answer, u->key);
		buf_addf(&r->answer, "</Key><UploadId>%s</UploadId></Upload>", u->id);
	}
	buf_add_str(&r->answer, "</ListMultipartUploadsResult>");
	r->status = 200;
}

void xml_unescape(char *text)
{
	static const struct {
		const char *name;
		char c;
	} names[] = { { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' }, { "&quot;", '"' },
		      { "&apos;", '\'' } };
	char *to = text;
	while (*text) {
		size_t n = 1;
		char c = *text;
		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
			if (!strncmp(text, names[i].name, strlen(names[i].name))) {
				c = names[i].c;
				n = strlen(names[i].name);
			}
		int code, used;
		if (sscanf(text, "&#%d;%n", &code, &used) == 1) {
			c = code;
			n = used;
		}
		*to++ = c;
		text += n;
	}
	*to = 0;
}
