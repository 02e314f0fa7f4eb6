/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * s3/xml - the gateway's answers.  Untrusted: no network, no DTD, no entities
 * but XML's own, a bounded number of elements, numbers range-checked.
 *
 * -EIO: not what was asked for.  Outputs are owned by the caller.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "fs/s3/list.h"

/* <Error>: fills code, message and request id of the reply, as far as they are
 * there.  0: it was an error document; -ENOENT: something else. */
int s3_xml_error(const struct buf *body, struct s3_reply *reply);
/* The text of the first element of this name below the root. */
int s3_xml_text(const struct buf *body, const char *root, const char *name, char *ret_text,
		size_t room);
int s3_xml_listing(const struct buf *body, struct s3_listing **ret_listing);
int s3_xml_parts(const struct buf *body, struct s3_listing **ret_listing);
int s3_xml_uploads(const struct buf *body, struct s3_upload_listing **ret_listing);
/* DeleteResult: errors[i] of keys[i] from its <Error>s. */
int s3_xml_deleted(const struct buf *body, const char *const *keys, int *errors, unsigned count);

/* "2009-10-12T17:50:30.123Z" */
int s3_parse_iso_time(const char *text, int64_t *ret_ns);
/* Adds text with & < > escaped. */
int s3_xml_escape(struct buf *out, const char *text);
