/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "base/cleanup.h"

#define STEP (256u << 10)

static void md_ctx_free(EVP_MD_CTX **ctx)
{
	EVP_MD_CTX_free(*ctx);
}

int digest_of_fd(int fd, int64_t size, const char *alg, char ret_hex[LAYOUT_HEX_MAX])
{
	const EVP_MD *md = EVP_get_digestbyname(alg);
	_cleanup_(md_ctx_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	_cleanup_free_ unsigned char *step = malloc(STEP);
	if (!md)
		return -EOPNOTSUPP;
	if (!ctx || !step || !EVP_DigestInit_ex(ctx, md, NULL))
		return -ENOMEM;

	for (int64_t at = 0; at < size;) {
		size_t want = size - at < STEP ? size - at : STEP;
		ssize_t n = pread(fd, step, want, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		EVP_DigestUpdate(ctx, step, n);
		at += n;
	}
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned length = 0;
	EVP_DigestFinal_ex(ctx, sum, &length);
	for (unsigned i = 0; i < length; i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", sum[i]);
	return 0;
}
