/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-header - answers' headers, good, odd and hostile. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/s3/header.h"

struct answer {
	struct s3_reply reply;
	struct s3_header header;
};

static int take(struct answer *a, const char *line)
{
	*a = (struct answer){ .reply.size_bytes = -1, .header.range_start = -1 };
	return s3_header_take(line, strlen(line), &a->reply, &a->header);
}

static void test_sizes(void **state)
{
	static const char *const bad[] = {
		"Content-Length: -1", "Content-Length: +1", "Content-Length: 1 2", "Content-Length:",
		"Content-Length: 9223372036854775807", "Content-Length: 99999999999999999999",
		"Content-Length: 53687091200001", "Content-Range: bytes 5-4/10",
		"Content-Range: bytes 0-9/9", "Content-Range: bytes -1-4/10", "Content-Range: bytes 0-4",
		"Content-Range: bytes 0-4/*", "Content-Range: bytes 0-4/10x", "Content-Range: lines 0-4/10",
		"Content-Range: bytes 0-9223372036854775807/9223372036854775808",
	};
	struct answer a;
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (take(&a, bad[i]) != -EIO || a.reply.size_bytes != -1 || a.header.range_start != -1)
			fail_msg("accepted: %s", bad[i]);
	assert_int_equal(take(&a, "content-length:\t 53687091200000 \r\n"), 0);
	assert_true(a.reply.size_bytes == 53687091200000);
	assert_int_equal(take(&a, "Content-Range: bytes 3-4/10\r\n"), 0);
	assert_int_equal(a.header.range_start, 3);
	assert_int_equal(a.reply.size_bytes, 10);
	assert_int_equal(take(&a, "Content-Range: bytes */10"), 0);
	assert_int_equal(a.reply.size_bytes, -1);
	assert_int_equal(take(&a, "Content-Lengthy: x"), 0);
}

static void test_etags(void **state)
{
	static const char *const table[][2] = {
		{ "ETag: \"abc\"", "abc" }, { "etag:abc\r\n", "abc" }, { "ETag: W/\"abc\"", "abc" },
		{ "ETag: \"a\"b\"", "" }, { "ETag: \"a b\"", "" }, { "ETag: \"a\x01\"", "" },
		{ "ETag: \"\xc3\xa4\"", "" }, { "ETag: \"\"", "" }, { "ETag: \"", "" }, { "ETag:", "" },
		{ "ETag: 0123456789012345678901234567890123456789012345678901234567890123456789012345678",
		  "0123456789012345678901234567890123456789012345678901234567890123456789012345678" },
		{ "ETag: 01234567890123456789012345678901234567890123456789012345678901234567890123456789",
		  "" },
	};
	struct answer a;
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		assert_int_equal(take(&a, table[i][0]), 0);
		assert_string_equal(a.reply.etag, table[i][1]);
	}
}

static void test_times(void **state)
{
	static const struct {
		const char *line;
		int64_t ns;
	} table[] = {
		{ "x-amz-meta-mtime: 1.5", 1500000000 }, { "X-Amz-Meta-Mtime: 7", 7000000000 },
		{ "x-amz-meta-mtime: 1.1234567891", 1123456789 }, { "x-amz-meta-mtime: -1", 0 },
		{ "x-amz-meta-mtime: 253402300799", 0 }, { "x-amz-meta-mtime: 99999999999999999999", 0 },
		{ "x-amz-meta-mtime: yesterday", 0 },
		{ "Last-Modified: Thu, 01 Jan 1970 00:00:09 GMT", 9000000000 },
		{ "Last-Modified: Fri, 31 Dec 9999 23:59:59 GMT", 0 }, { "Last-Modified: never", 0 },
	};
	struct answer a;
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		assert_int_equal(take(&a, table[i].line), 0);
		if (a.reply.mtime_ns != table[i].ns)
			fail_msg("%s: %lld", table[i].line, (long long)a.reply.mtime_ns);
	}
	a.reply.mtime_ns = 5;
	assert_int_equal(s3_header_take("Last-Modified: Thu, 01 Jan 1970 00:00:09 GMT", 44, &a.reply,
					&a.header), 0);
	assert_int_equal(a.reply.mtime_ns, 5);
	assert_int_equal(take(&a, "Date: never"), 0);
	assert_int_equal(a.header.date_s, 0);
	assert_int_equal(take(&a, "Date: Thu, 01 Jan 1970 00:00:09 GMT"), 0);
	assert_int_equal(a.header.date_s, 9);
}

static void test_retry_after(void **state)
{
	static const struct {
		const char *line;
		unsigned s;
	} table[] = {
		{ "Retry-After: 12", 12 }, { "Retry-After: 31", 30 }, { "Retry-After: -5", 0 },
		{ "Retry-After: -9223372036854775808", 0 }, { "Retry-After: 99999999999999999999", 30 },
		{ "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", 0 }, { "Retry-After:", 0 },
	};
	struct answer a;
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		assert_int_equal(take(&a, table[i].line), 0);
		if (a.header.retry_after_s != table[i].s)
			fail_msg("%s: %u", table[i].line, a.header.retry_after_s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_etags),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_retry_after),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
