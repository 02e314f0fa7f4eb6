/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/s3/sign.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define SHA256_BYTES 32

static void to_hex(const unsigned char *bytes, size_t n, char *hex)
{
	for (size_t i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

static int hmac(const void *key, size_t key_length, const char *text, unsigned char *out)
{
	unsigned n;
	return HMAC(EVP_sha256(), key, key_length, (const unsigned char *)text, strlen(text), out, &n)
		       ? 0
		       : -ENOMEM;
}

int s3_uri_encode(struct buf *out, const char *text, bool keep_slash)
{
	for (; *text; text++) {
		unsigned char c = *text;
		bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
			     (c >= '0' && c <= '9') || strchr("-_.~", c) || (c == '/' && keep_slash);
		int r = plain ? buf_add(out, text, 1) : buf_addf(out, "%%%02X", c);
		if (r < 0)
			return r;
	}
	return 0;
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef0123456789ABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;
	return at ? (at - digits) % 16 : -1;
}

int s3_uri_decode(char *text)
{
	char *to = text;
	for (; *text; text++) {
		if (*text != '%') {
			*to++ = *text == '+' ? ' ' : *text;
			continue;
		}
		int high = hex_digit(text[1]), low = high < 0 ? -1 : hex_digit(text[2]);
		if (low < 0 || !(high | low))
			return -EINVAL;
		*to++ = high << 4 | low;
		text += 2;
	}
	*to = 0;
	return 0;
}

static int add_signed_names(struct buf *out, const struct s3_sign_input *in)
{
	for (size_t i = 0; i < in->header_count; i++) {
		const char *colon = strchr(in->headers[i], ':');
		int r = i ? buf_add_str(out, ";") : 0;
		if (r == 0)
			r = buf_add(out, in->headers[i], colon - in->headers[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int canonical_request(const struct s3_sign_input *in, const char *names, struct buf *out)
{
	int r = buf_addf(out, "%s\n%s\n%s\n", in->method, in->path, in->query);
	for (size_t i = 0; r == 0 && i < in->header_count; i++)
		r = buf_addf(out, "%s\n", in->headers[i]);
	return r < 0 ? r : buf_addf(out, "\n%s\n%s", names, in->payload_hash);
}

static int signing_key(const struct s3_sign_input *in, const char *day, unsigned char *key)
{
	_cleanup_buf_ struct buf secret = { 0 };
	int r = buf_addf(&secret, "AWS4%s", in->secret_key);
	if (r == 0)
		r = hmac(secret.data, secret.length, day, key);
	if (secret.data)
		memset(secret.data, 0, secret.length);
	if (r == 0)
		r = hmac(key, SHA256_BYTES, in->region, key);
	if (r == 0)
		r = hmac(key, SHA256_BYTES, in->service, key);
	return r < 0 ? r : hmac(key, SHA256_BYTES, "aws4_request", key);
}

int s3_sign(const struct s3_sign_input *in, struct buf *ret_value)
{
	_cleanup_buf_ struct buf names = { 0 }, request = { 0 }, text = { 0 };
	unsigned char sum[SHA256_BYTES], key[SHA256_BYTES];
	char hex[2 * SHA256_BYTES + 1], day[9];
	snprintf(day, sizeof(day), "%.8s", in->amz_date);

	int r = add_signed_names(&names, in);
	if (r == 0)
		r = canonical_request(in, names.data, &request);
	if (r == 0 && !EVP_Digest(request.data, request.length, sum, NULL, EVP_sha256(), NULL))
		r = -ENOMEM;
	if (r < 0)
		return r;
	to_hex(sum, sizeof(sum), hex);
	r = buf_addf(&text, "AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n%s", in->amz_date, day,
		     in->region, in->service, hex);
	if (r == 0)
		r = signing_key(in, day, key);
	if (r == 0)
		r = hmac(key, sizeof(key), text.data, sum);
	if (r < 0)
		return r;
	to_hex(sum, sizeof(sum), hex);
	return buf_addf(ret_value,
			"AWS4-HMAC-SHA256 Credential=%s/%s/%s/%s/aws4_request, SignedHeaders=%s, "
			"Signature=%s",
			in->access_key, day, in->region, in->service, names.data, hex);
}
