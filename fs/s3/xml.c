/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/s3/xml.h"

#include <errno.h>
#include <libxml/SAX2.h>
#include <libxml/parser.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fs/s3/error.h"
#include "fs/s3/header.h"
#include "fs/s3/sign.h"

static void doc_free(xmlDoc **doc)
{
	xmlFreeDoc(*doc);
}

static void text_free(xmlChar **text)
{
	xmlFree(*text);
}

#define _cleanup_doc_ _cleanup_(doc_free)
#define _cleanup_text_ _cleanup_(text_free)

/* ---- parsing, within bounds ---- */

/* A page of 1,000 keys has some 12,000 elements, 10,000 parts 60,000; each node
 * takes 240 bytes with its text, whatever the 8 MiB of an answer hold. */
#define NODES_MAX 150000

/* xmlStopParser alone would hand out what it has so far: a short listing. */
static void refuse(xmlParserCtxt *ctxt)
{
	xmlStopParser(ctxt);
	ctxt->wellFormed = 0;
}

static void refuse_dtd(void *arg, const xmlChar *name, const xmlChar *id, const xmlChar *uri)
{
	refuse(arg);
}

static void count_element(void *arg, const xmlChar *name, const xmlChar *prefix,
			  const xmlChar *uri, int spaces, const xmlChar **space, int count,
			  int defaulted, const xmlChar **attributes)
{
	xmlParserCtxt *ctxt = arg;
	size_t *left = ctxt->_private;
	size_t more = 1 + spaces + count;
	if (*left < more) {
		refuse(ctxt);
		return;
	}
	*left -= more;
	xmlSAX2StartElementNs(arg, name, prefix, uri, spaces, space, count, defaulted, attributes);
}

static xmlNode *parse(const struct buf *body, const char *root_name, xmlDoc **ret_doc)
{
	size_t left = NODES_MAX;
	xmlParserCtxt *ctxt = body->length ? xmlNewParserCtxt() : NULL;
	if (!ctxt)
		return NULL;
	ctxt->_private = &left;
	ctxt->sax->internalSubset = refuse_dtd;
	ctxt->sax->startElementNs = count_element;
	ctxt->sax->comment = NULL; /* nodes that nobody counts */
	ctxt->sax->processingInstruction = NULL;
	xmlDoc *doc = xmlCtxtReadMemory(ctxt, body->data, body->length, NULL, NULL,
					XML_PARSE_NONET | XML_PARSE_NOERROR |
						XML_PARSE_NOWARNING | XML_PARSE_NOCDATA |
						XML_PARSE_COMPACT);
	xmlFreeParserCtxt(ctxt);
	*ret_doc = doc;
	if (!doc || doc->intSubset || doc->extSubset)
		return NULL;
	xmlNode *root = xmlDocGetRootElement(doc);
	return root && !strcmp((const char *)root->name, root_name) ? root : NULL;
}

/* ---- reading ---- */

static bool is_element(const xmlNode *n, const char *name)
{
	return n->type == XML_ELEMENT_NODE && !strcmp((const char *)n->name, name);
}

static xmlNode *child(xmlNode *parent, const char *name)
{
	for (xmlNode *n = parent->children; n; n = n->next)
		if (is_element(n, name))
			return n;
	return NULL;
}

/* The text of a child, "" if there is none.  Cut at room. */
static void child_text(xmlNode *parent, const char *name, char *to, size_t room)
{
	xmlNode *n = child(parent, name);
	_cleanup_text_ xmlChar *text = n ? xmlNodeGetContent(n) : NULL;
	snprintf(to, room, "%s", text ? (const char *)text : "");
}

static char *child_dup(xmlNode *parent, const char *name)
{
	xmlNode *n = child(parent, name);
	_cleanup_text_ xmlChar *text = n ? xmlNodeGetContent(n) : NULL;
	return text ? strdup((const char *)text) : NULL;
}

static int child_number(xmlNode *parent, const char *name, int64_t *ret)
{
	char text[32], *end;
	child_text(parent, name, text, sizeof(text));
	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno || end == text || *end || value < 0)
		return -EIO;
	*ret = value;
	return 0;
}

static void child_etag(xmlNode *parent, char to[S3_ETAG_MAX])
{
	char text[S3_ETAG_MAX + 8]; /* with quotes; a longer one is none */
	child_text(parent, "ETag", text, sizeof(text));
	s3_header_etag(text, to);
}

/* IsTruncated.  What is neither true nor false could hide a page. */
static int child_truncated(xmlNode *root, bool *ret)
{
	char text[8];
	child_text(root, "IsTruncated", text, sizeof(text));
	*ret = !strcmp(text, "true");
	return *ret || !text[0] || !strcmp(text, "false") ? 0 : -EIO;
}

int s3_parse_iso_time(const char *text, int64_t *ret_ns)
{
	struct tm tm = { 0 };
	int n = 0;
	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &n) != 6)
		return -EIO;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	int64_t ns = 0, scale = 100000000;
	if (text[n] == '.')
		for (n++; text[n] >= '0' && text[n] <= '9'; n++, scale /= 10)
			ns += (text[n] - '0') * scale;
	return s3_header_time(timegm(&tm), ns, ret_ns);
}

int s3_xml_error(const struct buf *body, struct s3_reply *reply)
{
	_cleanup_doc_ xmlDoc *doc = NULL;
	xmlNode *root = parse(body, "Error", &doc);
	if (!root)
		return -ENOENT;
	child_text(root, "Code", reply->code, sizeof(reply->code));
	child_text(root, "Message", reply->message, sizeof(reply->message));
	if (!reply->request_id[0])
		child_text(root, "RequestId", reply->request_id, sizeof(reply->request_id));
	return 0;
}

int s3_xml_text(const struct buf *body, const char *root_name, const char *name, char *ret_text,
		size_t room)
{
	_cleanup_doc_ xmlDoc *doc = NULL;
	xmlNode *root = parse(body, root_name, &doc);
	if (!root)
		return -EIO;
	if (!strcmp(name, "ETag")) {
		char etag[S3_ETAG_MAX];
		child_etag(root, etag);
		snprintf(ret_text, room, "%s", etag);
		return 0;
	}
	child_text(root, name, ret_text, room);
	return 0;
}

struct s3_listing *s3_listing_free(struct s3_listing *l)
{
	if (!l)
		return NULL;
	for (size_t i = 0; i < l->count; i++)
		free(l->entries[i].key);
	free(l->entries);
	free(l->next_token);
	free(l);
	return NULL;
}

struct s3_upload_listing *s3_upload_listing_free(struct s3_upload_listing *l)
{
	if (!l)
		return NULL;
	for (size_t i = 0; i < l->count; i++) {
		free(l->entries[i].key);
		free(l->entries[i].upload_id);
	}
	free(l->entries);
	free(l->next_key_marker);
	free(l);
	return NULL;
}

static struct s3_listing *listing_new(xmlNode *root)
{
	struct s3_listing *l = calloc(1, sizeof(*l));
	size_t room = 1;
	for (xmlNode *n = root->children; n; n = n->next)
		room++;
	if (l && !(l->entries = calloc(room, sizeof(*l->entries)))) {
		free(l);
		return NULL;
	}
	return l;
}

static int read_object(xmlNode *n, bool encoded, struct s3_list_entry *e)
{
	char time[64];
	e->key = child_dup(n, "Key");
	if (!e->key)
		return -EIO;
	child_text(n, "LastModified", time, sizeof(time));
	if (s3_parse_iso_time(time, &e->mtime_ns) < 0)
		e->mtime_ns = 0;
	child_etag(n, e->etag);
	int r = child_number(n, "Size", &e->size_bytes);
	if (e->size_bytes > S3_SIZE_MAX)
		return -EIO;
	return r == 0 && encoded ? s3_uri_decode(e->key) : r;
}

static int read_prefix(xmlNode *n, bool encoded, struct s3_list_entry *e)
{
	e->is_prefix = true;
	e->key = child_dup(n, "Prefix");
	if (!e->key || (encoded && s3_uri_decode(e->key) < 0))
		return -EIO;
	size_t n_key = strlen(e->key);
	return n_key && e->key[n_key - 1] == '/' ? 0 : -EIO;
}

static void listing_cleanup(struct s3_listing **l)
{
	s3_listing_free(*l);
}

int s3_xml_listing(const struct buf *body, struct s3_listing **ret_listing)
{
	_cleanup_doc_ xmlDoc *doc = NULL;
	xmlNode *root = parse(body, "ListBucketResult", &doc);
	_cleanup_(listing_cleanup) struct s3_listing *l = root ? listing_new(root) : NULL;
	char encoding[8];
	bool truncated;
	if (!l)
		return root ? -ENOMEM : -EIO;
	if (child_truncated(root, &truncated) < 0)
		return -EIO;
	child_text(root, "EncodingType", encoding, sizeof(encoding));
	bool encoded = !strcmp(encoding, "url");
	for (xmlNode *n = root->children; n; n = n->next) {
		int r = 0;
		if (is_element(n, "Contents"))
			r = read_object(n, encoded, &l->entries[l->count++]);
		else if (is_element(n, "CommonPrefixes"))
			r = read_prefix(n, encoded, &l->entries[l->count++]);
		if (r < 0)
			return -EIO;
	}
	if (truncated) {
		l->next_token = child_dup(root, "NextContinuationToken");
		if (!l->next_token || !l->next_token[0])
			return -EIO;
	}
	*ret_listing = steal_pointer(&l);
	return 0;
}

int s3_xml_parts(const struct buf *body, struct s3_listing **ret_listing)
{
	_cleanup_doc_ xmlDoc *doc = NULL;
	xmlNode *root = parse(body, "ListPartsResult", &doc);
	_cleanup_(listing_cleanup) struct s3_listing *l = root ? listing_new(root) : NULL;
	if (!l)
		return root ? -ENOMEM : -EIO;
	for (xmlNode *n = root->children; n; n = n->next) {
		int64_t number;
		if (!is_element(n, "Part"))
			continue;
		struct s3_list_entry *e = &l->entries[l->count];
		if (child_number(n, "PartNumber", &number) < 0 ||
		    number != (int64_t)l->count + 1 || child_number(n, "Size", &e->size_bytes) < 0)
			return -EIO;
		child_etag(n, e->etag);
		l->count++;
	}
	*ret_listing = steal_pointer(&l);
	return 0;
}

static struct s3_upload_listing *upload_listing_new(xmlNode *root)
{
	struct s3_upload_listing *l = calloc(1, sizeof(*l));
	size_t room = 1;
	for (xmlNode *n = root->children; n; n = n->next)
		room++;
	if (l && !(l->entries = calloc(room, sizeof(*l->entries)))) {
		free(l);
		return NULL;
	}
	return l;
}

static void upload_listing_cleanup(struct s3_upload_listing **l)
{
	s3_upload_listing_free(*l);
}

int s3_xml_uploads(const struct buf *body, struct s3_upload_listing **ret_listing)
{
	_cleanup_doc_ xmlDoc *doc = NULL;
	xmlNode *root = parse(body, "ListMultipartUploadsResult", &doc);
	_cleanup_(upload_listing_cleanup) struct s3_upload_listing *l =
		root ? upload_listing_new(root) : NULL;
	bool truncated;
	if (!l)
		return root ? -ENOMEM : -EIO;
	if (child_truncated(root, &truncated) < 0)
		return -EIO;
	for (xmlNode *n = root->children; n; n = n->next) {
		if (!is_element(n, "Upload"))
			continue;
		struct s3_upload_entry *e = &l->entries[l->count++];
		e->key = child_dup(n, "Key");
		e->upload_id = child_dup(n, "UploadId");
		if (!e->key || !e->upload_id)
			return -EIO;
	}
	if (truncated) {
		l->next_key_marker = child_dup(root, "NextKeyMarker");
		if (!l->next_key_marker || !l->next_key_marker[0])
			return -EIO;
	}
	*ret_listing = steal_pointer(&l);
	return 0;
}

int s3_xml_deleted(const struct buf *body, const char *const *keys, int *errors, unsigned count)
{
	_cleanup_doc_ xmlDoc *doc = NULL;
	xmlNode *root = parse(body, "DeleteResult", &doc);
	if (!root)
		return -EIO;
	memset(errors, 0, count * sizeof(*errors));
	for (xmlNode *n = root->children; n; n = n->next) {
		if (!is_element(n, "Error"))
			continue;
		char key[S3_KEY_MAX + 1], code[64];
		child_text(n, "Key", key, sizeof(key));
		child_text(n, "Code", code, sizeof(code));
		for (unsigned i = 0; i < count; i++)
			if (!strcmp(keys[i], key))
				errors[i] = s3_error_of_answer(0, code, -EIO);
	}
	return 0;
}

int s3_xml_escape(struct buf *out, const char *text)
{
	int r = 0;
	for (; r == 0 && *text; text++) {
		const char *as = *text == '&' ? "&amp;" : *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : NULL;
		if (!as && (unsigned char)*text < 0x20)
			r = buf_addf(out, "&#%d;", *text);
		else
			r = as ? buf_add_str(out, as) : buf_add(out, text, 1);
	}
	return r;
}
