/* SPDX-License-Identifier: GPL-3.0-or-later */
/* request - libmicrohttpd's callbacks, for main.c. */
#pragma once

#include "gateway.h"

enum MHD_Result request_handle(void *arg, struct MHD_Connection *connection, const char *url,
			       const char *method, const char *version, const char *data,
			       size_t *data_size, void **state);
void *request_seen(void *arg, const char *uri, struct MHD_Connection *connection);
void request_ended(void *arg, struct MHD_Connection *connection, void **state,
		   enum MHD_RequestTerminationCode code);
