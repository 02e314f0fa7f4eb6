/* SPDX-License-Identifier: GPL-3.0-or-later */
/* digest - hashes of local files.  Blocks on the disk; no state. */
#pragma once

#include <stdint.h>

#include "fs/layout.h"

/* Lower-case hex of the first `size` bytes.  alg: OpenSSL's name ("sha256",
 * "md5").  -EIO: the file is shorter. */
int digest_of_fd(int fd, int64_t size, const char *alg, char ret_hex[LAYOUT_HEX_MAX]);
