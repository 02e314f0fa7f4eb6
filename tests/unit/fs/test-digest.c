/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test-digest - known hashes, and files that are not what they were. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/digest.h"

static FILE *file_of(const char *text)
{
	FILE *f = tmpfile();
	assert_non_null(f);
	fputs(text, f);
	fflush(f);
	return f;
}

static void test_known(void **state)
{
	char hex[LAYOUT_HEX_MAX];
	FILE *f = file_of("abc");
	(void)state;
	assert_int_equal(digest_of_fd(fileno(f), 3, "sha256", hex), 0);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223"
				 "b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(digest_of_fd(fileno(f), 3, "md5", hex), 0);
	assert_string_equal(hex, "900150983cd24fb0d6963f7d28e17f72");
	assert_int_equal(digest_of_fd(fileno(f), 0, "md5", hex), 0);
	assert_string_equal(hex, "d41d8cd98f00b204e9800998ecf8427e");
	fclose(f);
}

static void test_errors(void **state)
{
	char hex[LAYOUT_HEX_MAX];
	FILE *f = file_of("abc");
	(void)state;
	assert_int_equal(digest_of_fd(fileno(f), 4, "sha256", hex), -EIO);
	assert_int_equal(digest_of_fd(fileno(f), 3, "no-such", hex), -EOPNOTSUPP);
	assert_int_equal(digest_of_fd(-1, 3, "sha256", hex), -EBADF);
	fclose(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
