/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/s3/header.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NS_PER_S 1000000000ll

/* A header's value without blanks, if it has this name.  Cut at room. */
static const char *value_of(const char *line, size_t n, const char *name, char *to, size_t room)
{
	size_t length = strlen(name);
	if (n <= length || strncasecmp(line, name, length) || line[length] != ':')
		return NULL;
	const char *from = line + length + 1, *end = line + n;
	while (from < end && (*from == ' ' || *from == '\t'))
		from++;
	while (end > from && strchr(" \t\r\n", end[-1]))
		end--;
	snprintf(to, room, "%.*s", (int)(end - from), from);
	return to;
}

/* Digits only: strtoll alone takes blanks and signs too. */
static int number_of(const char *text, int64_t max, const char **ret_end, int64_t *ret_number)
{
	char *end;
	if (*text < '0' || *text > '9')
		return -EIO;
	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (errno || n > max)
		return -EIO;
	*ret_end = end;
	*ret_number = n;
	return 0;
}

int s3_header_time(int64_t seconds, int64_t ns, int64_t *ret_ns)
{
	if (seconds < 0 || seconds > INT64_MAX / NS_PER_S - 1 || ns < 0 || ns >= NS_PER_S)
		return -EIO;
	*ret_ns = seconds * NS_PER_S + ns;
	return 0;
}

void s3_header_etag(const char *text, char ret_etag[S3_ETAG_MAX])
{
	ret_etag[0] = 0;
	if (!strncmp(text, "W/\"", 3))
		text += 2;
	size_t n = strlen(text);
	if (n >= 2 && text[0] == '"' && text[n - 1] == '"') {
		text++;
		n -= 2;
	}
	if (n >= S3_ETAG_MAX)
		return;
	for (size_t i = 0; i < n; i++)
		if (text[i] <= 0x20 || text[i] >= 0x7f || text[i] == '"')
			return;
	memcpy(ret_etag, text, n);
	ret_etag[n] = 0;
}

/* "seconds[.fraction]" */
static void take_mtime(const char *text, struct s3_reply *reply)
{
	int64_t s, ns = 0, scale = NS_PER_S / 10;
	if (number_of(text, INT64_MAX, &text, &s) < 0)
		return;
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9' && scale; text++, scale /= 10)
			ns += (*text - '0') * scale;
	s3_header_time(s, ns, &reply->mtime_ns);
}

static void take_modified(const char *text, struct s3_reply *reply)
{
	if (!reply->mtime_ns) /* x-amz-meta-mtime knows better */
		s3_header_time(curl_getdate(text, NULL), 0, &reply->mtime_ns);
}

/* "bytes FIRST-LAST/TOTAL"; "bytes * /TOTAL" belongs to a refusal. */
static int take_range(const char *text, struct s3_reply *reply, struct s3_header *header)
{
	int64_t first, last, total;
	if (strncasecmp(text, "bytes ", 6))
		return -EIO;
	text += 6;
	if (*text == '*')
		return 0;
	if (number_of(text, S3_SIZE_MAX, &text, &first) < 0 || *text++ != '-' ||
	    number_of(text, S3_SIZE_MAX, &text, &last) < 0 || *text++ != '/' ||
	    number_of(text, S3_SIZE_MAX, &text, &total) < 0 || *text || first > last || last >= total)
		return -EIO;
	header->range_start = first;
	reply->size_bytes = total;
	return 0;
}

static int take_length(const char *text, struct s3_reply *reply)
{
	int64_t n;
	if (number_of(text, S3_SIZE_MAX, &text, &n) < 0 || *text)
		return -EIO;
	if (reply->size_bytes < 0)
		reply->size_bytes = n;
	return 0;
}

static void take_retry_after(const char *text, struct s3_header *header)
{
	int64_t n;
	if (*text < '0' || *text > '9') /* a date: not worth a clock */
		return;
	bool much = number_of(text, S3_RETRY_AFTER_MAX_S, &text, &n) < 0;
	header->retry_after_s = much ? S3_RETRY_AFTER_MAX_S : n;
}

int s3_header_take(const char *line, size_t n, struct s3_reply *reply, struct s3_header *header)
{
	char v[512];
	if (value_of(line, n, "ETag", v, sizeof(v))) {
		s3_header_etag(v, reply->etag);
	} else if (value_of(line, n, "x-amz-meta-mtime", v, sizeof(v))) {
		take_mtime(v, reply);
	} else if (value_of(line, n, "Last-Modified", v, sizeof(v))) {
		take_modified(v, reply);
	} else if (value_of(line, n, "Content-Length", v, sizeof(v))) {
		return take_length(v, reply);
	} else if (value_of(line, n, "Content-Range", v, sizeof(v))) {
		return take_range(v, reply, header);
	} else if (value_of(line, n, "x-amz-request-id", v, sizeof(v))) {
		snprintf(reply->request_id, sizeof(reply->request_id), "%.63s", v);
	} else if (value_of(line, n, "Retry-After", v, sizeof(v))) {
		take_retry_after(v, header);
	} else if (value_of(line, n, "Date", v, sizeof(v))) {
		time_t date = curl_getdate(v, NULL);
		header->date_s = date > 0 ? date : 0;
	}
	return 0;
}
