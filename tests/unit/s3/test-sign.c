/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-sign - AWS's published Signature Version 4 examples, and the encoding. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/s3/sign.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* From "Signature Calculations for the Authorization Header" of S3's API
 * reference, and the sigv4 test suite (service "service"). */
static const struct {
	const char *what, *method, *path, *query, *headers[6], *payload, *service, *access, *secret;
	const char *date, *signature;
} vectors[] = {
	{ "GET Object", "GET", "/test.txt", "",
	  { "host:examplebucket.s3.amazonaws.com", "range:bytes=0-9", "x-amz-content-sha256:" EMPTY,
	    "x-amz-date:20130524T000000Z" },
	  EMPTY, "s3", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	  "20130524T000000Z", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
	{ "PUT Object", "PUT", "/test%24file.text", "",
	  { "date:Fri, 24 May 2013 00:00:00 GMT", "host:examplebucket.s3.amazonaws.com",
	    "x-amz-content-sha256:"
	    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
	    "x-amz-date:20130524T000000Z", "x-amz-storage-class:REDUCED_REDUNDANCY" },
	  "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", "s3",
	  "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	  "20130524T000000Z", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },
	{ "GET Bucket Lifecycle", "GET", "/", "lifecycle=",
	  { "host:examplebucket.s3.amazonaws.com", "x-amz-content-sha256:" EMPTY,
	    "x-amz-date:20130524T000000Z" },
	  EMPTY, "s3", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	  "20130524T000000Z", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
	{ "List Objects", "GET", "/", "max-keys=2&prefix=J",
	  { "host:examplebucket.s3.amazonaws.com", "x-amz-content-sha256:" EMPTY,
	    "x-amz-date:20130524T000000Z" },
	  EMPTY, "s3", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	  "20130524T000000Z", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
	{ "get-vanilla", "GET", "/", "",
	  { "host:example.amazonaws.com", "x-amz-date:20150830T123600Z" },
	  EMPTY, "service", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
	  "20150830T123600Z", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
	{ "get-vanilla-query-order-key", "GET", "/", "Param1=value1&Param2=value2",
	  { "host:example.amazonaws.com", "x-amz-date:20150830T123600Z" },
	  EMPTY, "service", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
	  "20150830T123600Z", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500" },
	{ "post-vanilla", "POST", "/", "",
	  { "host:example.amazonaws.com", "x-amz-date:20150830T123600Z" },
	  EMPTY, "service", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
	  "20150830T123600Z", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b" },
};

static void test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
		_cleanup_buf_ struct buf value = { 0 };
		struct s3_sign_input in = {
			.method = vectors[i].method, .path = vectors[i].path,
			.query = vectors[i].query, .headers = vectors[i].headers,
			.payload_hash = vectors[i].payload, .amz_date = vectors[i].date,
			.region = "us-east-1", .service = vectors[i].service,
			.access_key = vectors[i].access, .secret_key = vectors[i].secret,
		};
		while (in.header_count < 6 && vectors[i].headers[in.header_count])
			in.header_count++;
		assert_int_equal(s3_sign(&in, &value), 0);
		const char *signature = strstr(value.data, "Signature=");
		assert_non_null(signature);
		if (strcmp(signature + 10, vectors[i].signature))
			fail_msg("%s: %s", vectors[i].what, value.data);
	}
}

static void test_encode(void **state)
{
	_cleanup_buf_ struct buf a = { 0 }, b = { 0 };
	(void)state;
	assert_int_equal(s3_uri_encode(&a, "a b/ü+~%?", true), 0);
	assert_string_equal(a.data, "a%20b/%C3%BC%2B~%25%3F");
	assert_int_equal(s3_uri_encode(&b, "a/b", false), 0);
	assert_string_equal(b.data, "a%2Fb");
}

static void test_decode(void **state)
{
	char good[] = "a%20b+c%2Bd%c3%BC", cut[] = "a%2", bad[] = "a%zz", nul[] = "a%00b";
	(void)state;
	assert_int_equal(s3_uri_decode(good), 0);
	assert_string_equal(good, "a b c+dü");
	assert_int_equal(s3_uri_decode(cut), -EINVAL);
	assert_int_equal(s3_uri_decode(bad), -EINVAL);
	assert_int_equal(s3_uri_decode(nul), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_encode),
		cmocka_unit_test(test_decode),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
