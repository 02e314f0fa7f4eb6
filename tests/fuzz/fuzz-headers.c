/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz-headers - any lines as the headers of one answer. */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "fs/s3/header.h"

static void check(const struct s3_reply *reply, const struct s3_header *header)
{
	char again[S3_ETAG_MAX];
	REQUIRE(reply->size_bytes >= -1 && reply->size_bytes <= S3_SIZE_MAX);
	REQUIRE(header->range_start >= -1 && header->range_start <= S3_SIZE_MAX);
	REQUIRE(header->range_start < 0 || header->range_start < reply->size_bytes);
	REQUIRE(reply->mtime_ns >= 0 && header->date_s >= 0);
	REQUIRE(header->retry_after_s <= S3_RETRY_AFTER_MAX_S);
	REQUIRE(memchr(reply->request_id, 0, sizeof(reply->request_id)));
	REQUIRE(strlen(reply->etag) < S3_ETAG_MAX && !strpbrk(reply->etag, "\r\n\" "));
	s3_header_etag(reply->etag, again);
	REQUIRE(!strcmp(again, reply->etag));
	REQUIRE(!reply->error && !reply->status && !reply->code[0] && !reply->listing);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct s3_reply reply = { .size_bytes = -1 };
	struct s3_header header = { .range_start = -1 };
	while (size) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) + 1 : size;
		/* Of its own: a byte behind it is ASan's. */
		_cleanup_free_ char *line = malloc(n);
		REQUIRE(line);
		memcpy(line, data, n);
		int r = s3_header_take(line, n, &reply, &header);
		REQUIRE(r == 0 || r == -EIO);
		check(&reply, &header);
		data += n;
		size -= n;
	}
	return 0;
}
