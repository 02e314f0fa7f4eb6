/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ops - what ops.c, list.c and multipart.c share. */
#pragma once

#include "gateway.h"

int64_t now_ms(void);
void http_date(int64_t ms, char *to, size_t room);
void iso_date(int64_t ms, char *to, size_t room);

/* The caller holds store.lock in all of these. */
void list_objects(struct request *r, struct bucket *b);
void list_uploads(struct request *r, struct bucket *b);
void serve_multipart(struct request *r, struct bucket *b);
int check_write_conditions(struct request *r, const struct object *there);

struct object *object_new(const char *key, uint64_t file, uint64_t size, const char *etag);
char *request_meta(struct request *r);
char *request_type(struct request *r);
void add_etag(struct request *r, const char *etag);
void add_header(struct request *r, const char *name, const char *value);
void xml_unescape(char *text);
