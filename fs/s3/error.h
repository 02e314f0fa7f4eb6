/* SPDX-License-Identifier: GPL-3.0-or-later */
/* s3/error - S3 codes, HTTP statuses and curl's codes as errno.  One table. */
#pragma once

#include <stdbool.h>

/* Of an answer; code may be "".  conditional: the errno of a 412. */
int s3_error_of_answer(int status, const char *code, int conditional);
/* May the same request succeed a little later? */
bool s3_error_retry(int status, const char *code);
/* Of a transfer that got no complete answer. */
int s3_error_of_curl(int curl_code);
bool s3_error_curl_retry(int curl_code);
