/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-xml - answers good, odd and hostile; times; the error table. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <curl/curl.h>

#include "fs/s3/error.h"
#include "fs/s3/xml.h"

static struct buf body_of(const char *text)
{
	struct buf b = { 0 };
	assert_int_equal(buf_add_str(&b, text), 0);
	return b;
}

static int listing_of(const char *text, struct s3_listing **ret)
{
	struct buf b = body_of(text);
	int r = s3_xml_listing(&b, ret);
	buf_free(&b);
	return r;
}

#define LIST(x) "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" x "</ListBucketResult>"
#define OBJECT(key, size)                                                                        \
	"<Contents><Key>" key "</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"        \
	"<ETag>&quot;abc&quot;</ETag><Size>" size "</Size></Contents>"

static void test_listing(void **state)
{
	struct s3_listing *l = NULL;
	(void)state;
	assert_int_equal(listing_of(LIST("<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
					 "<NextContinuationToken>to&amp;ken</NextContinuationToken>"
					 OBJECT("a%20b%2B+", "7")
					 "<CommonPrefixes><Prefix>d%2F</Prefix></CommonPrefixes>"), &l), 0);
	assert_int_equal(l->count, 2);
	assert_string_equal(l->entries[0].key, "a b+ ");
	assert_int_equal(l->entries[0].size_bytes, 7);
	assert_string_equal(l->entries[0].etag, "abc");
	assert_int_equal(l->entries[0].mtime_ns, 1767323045678000000ll);
	assert_true(l->entries[1].is_prefix);
	assert_string_equal(l->entries[1].key, "d/");
	assert_string_equal(l->next_token, "to&ken");
	assert_null(s3_listing_free(l));
	assert_int_equal(listing_of(LIST(""), &l), 0);
	assert_int_equal(l->count, 0);
	assert_null(l->next_token);
	s3_listing_free(l);
}

static void test_hostile_listings(void **state)
{
	static const char *const bad[] = {
		"", "not xml", "<html><body>hello</body></html>", "<ListBucketResult>",
		LIST(OBJECT("a", "-1")), LIST(OBJECT("a", "99999999999999999999999")),
		LIST(OBJECT("a", "1x")), LIST(OBJECT("a", "")),
		LIST("<EncodingType>url</EncodingType>" OBJECT("a%00b", "1")),
		LIST("<EncodingType>url</EncodingType>" OBJECT("a%2", "1")),
		LIST("<Contents><Size>1</Size></Contents>"),
		LIST("<IsTruncated>true</IsTruncated>"),
		"<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>"
		"<ListBucketResult><Prefix>&b;</Prefix></ListBucketResult>",
		LIST("<IsTruncated>yes</IsTruncated>"), LIST("<IsTruncated> true</IsTruncated>"),
		LIST("<IsTruncated>true</IsTruncated><NextContinuationToken/>"),
		LIST(OBJECT("a", "53687091200001")), LIST(OBJECT("a", "9223372036854775807")),
		LIST("<CommonPrefixes><Prefix>d</Prefix></CommonPrefixes>"),
		LIST("<CommonPrefixes><Prefix></Prefix></CommonPrefixes>"),
		LIST(OBJECT("a&#0;b", "1")), LIST(OBJECT("a\x01" "b", "1")), LIST(OBJECT("a&#1;b", "1")),
		LIST(OBJECT("a\xff\xfe", "1")), LIST(OBJECT("&b;", "1")),
		"<!DOCTYPE ListBucketResult><ListBucketResult></ListBucketResult>",
		"<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><ListBucketResult></ListBucketResult>",
	};
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct s3_listing *untouched = (struct s3_listing *)&bad;
		struct s3_listing *l = untouched;
		if (listing_of(bad[i], &l) != -EIO || l != untouched)
			fail_msg("accepted: %.80s", bad[i]);
	}
}

/* What one key says does not spoil the page, where it is only a detail. */
static void test_odd_details(void **state)
{
	struct s3_listing *l = NULL;
	(void)state;
	assert_int_equal(listing_of(LIST(
		"<Contents><Key>a</Key><LastModified>9999-12-31T23:59:59.999999999999999Z</LastModified>"
		"<ETag>&quot;a&#13;&#10;x-evil:1&quot;</ETag><Size>1</Size></Contents>"
		"<Contents><Key>b</Key><LastModified>-999-99-99T99:99:99Z</LastModified>"
		"<ETag>W/&quot;b&quot;</ETag><Size>53687091200000</Size></Contents>"), &l), 0);
	assert_int_equal(l->entries[0].mtime_ns, 0);
	assert_string_equal(l->entries[0].etag, "");
	assert_int_equal(l->entries[1].mtime_ns, 0);
	assert_string_equal(l->entries[1].etag, "b");
	assert_true(l->entries[1].size_bytes == 53687091200000);
	s3_listing_free(l);
}

/* Eight MiB of empty elements would be half a gigabyte of nodes. */
static void test_too_many_elements(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct s3_listing *l;
	(void)state;
	assert_int_equal(buf_add_str(&b, "<ListBucketResult>"), 0);
	for (int i = 0; i < 200000; i++)
		assert_int_equal(buf_add_str(&b, "<a/>"), 0);
	assert_int_equal(buf_add_str(&b, "</ListBucketResult>"), 0);
	assert_int_equal(s3_xml_listing(&b, &l), -EIO);
}

/* A full page of all that S3 tells of a key is not too much. */
static void test_full_page(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct s3_listing *l;
	(void)state;
	assert_int_equal(buf_add_str(&b, "<ListBucketResult>"), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_addf(&b, "<Contents><Key>%d</Key><Size>1</Size><ETag>\"x\"</ETag>"
					      "<StorageClass>STANDARD</StorageClass><Owner><ID>i</ID>"
					      "<DisplayName>d</DisplayName></Owner><ChecksumAlgorithm>c"
					      "</ChecksumAlgorithm><ChecksumType>t</ChecksumType>"
					      "<UserMetadata><Items/></UserMetadata></Contents>", i), 0);
	assert_int_equal(buf_add_str(&b, "</ListBucketResult>"), 0);
	assert_int_equal(s3_xml_listing(&b, &l), 0);
	assert_int_equal(l->count, 1000);
	s3_listing_free(l);
}

static int uploads_of(const char *text, struct s3_upload_listing **ret)
{
	struct buf b = body_of(text);
	int r = s3_xml_uploads(&b, ret);
	buf_free(&b);
	return r;
}

#define UPLOADS(x) "<ListMultipartUploadsResult>" x "</ListMultipartUploadsResult>"

static void test_uploads(void **state)
{
	struct s3_upload_listing *l = NULL;
	(void)state;
	assert_int_equal(uploads_of(UPLOADS("<Upload><Key>k</Key><UploadId>u</UploadId></Upload>"
					    "<IsTruncated>true</IsTruncated>"
					    "<NextKeyMarker>k</NextKeyMarker>"), &l), 0);
	assert_int_equal(l->count, 1);
	assert_string_equal(l->next_key_marker, "k");
	assert_null(s3_upload_listing_free(l));
	assert_int_equal(uploads_of(UPLOADS("<IsTruncated>true</IsTruncated>"), &l), -EIO);
	assert_int_equal(uploads_of(UPLOADS("<Upload><Key>k</Key></Upload>"), &l), -EIO);
}

static void test_errors(void **state)
{
	struct s3_reply reply = { 0 };
	struct buf b = body_of("<Error><Code>NoSuchKey</Code><Message>m</Message>"
			       "<RequestId>r</RequestId></Error>");
	(void)state;
	assert_int_equal(s3_xml_error(&b, &reply), 0);
	assert_string_equal(reply.code, "NoSuchKey");
	assert_string_equal(reply.request_id, "r");
	buf_free(&b);
	b = body_of("<CompleteMultipartUploadResult/>");
	assert_int_equal(s3_xml_error(&b, &reply), -ENOENT);
	buf_free(&b);
}

static void test_deleted(void **state)
{
	const char *const keys[] = { "a", "b", "c" };
	int errors[] = { 7, 7, 7 };
	struct buf b = body_of("<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key>"
			       "<Code>AccessDenied</Code></Error></DeleteResult>");
	(void)state;
	assert_int_equal(s3_xml_deleted(&b, keys, errors, 3), 0);
	assert_int_equal(errors[0], 0);
	assert_int_equal(errors[1], -EACCES);
	assert_int_equal(errors[2], 0);
	buf_free(&b);
}

static void test_error_table(void **state)
{
	static const struct {
		int status;
		const char *code;
		int error;
		bool retry;
	} table[] = {
		{ 200, "", 0, false }, { 206, "", 0, false }, { 404, "", -ENOENT, false },
		{ 404, "NoSuchBucket", -ENOENT, false }, { 403, "", -EACCES, false },
		{ 403, "StorageLimitExceeded", -EDQUOT, false },
		{ 403, "SegmentsLimitExceeded", -EDQUOT, false },
		{ 403, "BandwidthLimitExceeded", -EDQUOT, false },
		{ 400, "KeyTooLongError", -ENAMETOOLONG, false },
		{ 412, "PreconditionFailed", -EEXIST, false }, { 429, "SlowDown", -EIO, true },
		{ 429, "", -EIO, true }, { 500, "InternalError", -EIO, true }, { 503, "", -EIO, true },
		{ 501, "NotImplemented", -ENOSYS, false }, { 200, "InternalError", -EIO, true },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (s3_error_of_answer(table[i].status, table[i].code, -EEXIST) != table[i].error ||
		    (table[i].error && s3_error_retry(table[i].status, table[i].code) != table[i].retry))
			fail_msg("%d %s", table[i].status, table[i].code);
	}
	assert_int_equal(s3_error_of_curl(CURLE_OK), 0);
	assert_int_equal(s3_error_of_curl(CURLE_OPERATION_TIMEDOUT), -ETIMEDOUT);
	assert_true(s3_error_curl_retry(CURLE_COULDNT_CONNECT));
	assert_false(s3_error_curl_retry(CURLE_PEER_FAILED_VERIFICATION));
}

static void test_escape(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	(void)state;
	assert_int_equal(s3_xml_escape(&b, "a<b>&\n"), 0);
	assert_string_equal(b.data, "a&lt;b&gt;&amp;&#10;");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listing),	    cmocka_unit_test(test_hostile_listings),
		cmocka_unit_test(test_odd_details), cmocka_unit_test(test_too_many_elements),
		cmocka_unit_test(test_full_page),   cmocka_unit_test(test_uploads),
		cmocka_unit_test(test_errors),	    cmocka_unit_test(test_deleted),
		cmocka_unit_test(test_error_table), cmocka_unit_test(test_escape),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
