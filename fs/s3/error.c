/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/s3/error.h"

#include <curl/curl.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct {
	const char *code;
	int error;
} codes[] = {
	{ "NoSuchKey", -ENOENT },
	{ "NoSuchBucket", -ENOENT },
	{ "NoSuchUpload", -ENOENT },
	{ "AccessDenied", -EACCES },
	{ "SignatureDoesNotMatch", -EACCES },
	{ "InvalidAccessKeyId", -EACCES },
	{ "ExpiredToken", -EACCES },
	{ "RequestTimeTooSkewed", -EACCES },
	{ "StorageLimitExceeded", -EDQUOT },
	{ "SegmentsLimitExceeded", -EDQUOT },
	{ "BandwidthLimitExceeded", -EDQUOT },
	{ "QuotaExceeded", -EDQUOT },
	{ "KeyTooLongError", -ENAMETOOLONG },
	{ "EntityTooLarge", -EFBIG },
	{ "NotImplemented", -ENOSYS },
	{ "BadDigest", -EIO },
	{ "BucketAlreadyExists", -EEXIST },
	{ "BucketAlreadyOwnedByYou", -EEXIST },
};

static const struct {
	int status, error;
} statuses[] = {
	{ 401, -EACCES }, { 403, -EACCES }, { 404, -ENOENT }, { 405, -EPERM },
	{ 416, -EIO },	  { 501, -ENOSYS }, { 507, -EDQUOT },
};

int s3_error_of_answer(int status, const char *code, int conditional)
{
	if (status >= 200 && status < 300 && !code[0])
		return 0;
	if (status == 412)
		return conditional;
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		if (!strcmp(code, codes[i].code))
			return codes[i].error;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
		if (status == statuses[i].status)
			return statuses[i].error;
	return -EIO;
}

bool s3_error_retry(int status, const char *code)
{
	if (!strcmp(code, "BadDigest") || !strcmp(code, "RequestTimeout") ||
	    !strcmp(code, "SlowDown") || !strcmp(code, "InternalError"))
		return true;
	return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
}

int s3_error_of_curl(int code)
{
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	default:
		return -EIO;
	}
}

bool s3_error_curl_retry(int code)
{
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_OUT_OF_MEMORY:
		return false;
	default:
		return code != CURLE_OK;
	}
}
