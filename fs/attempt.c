/* SPDX-License-Identifier: GPL-3.0-or-later */
/* attempt - see attempt.h */
#include "fs/attempt.h"

_Thread_local struct attempt *attempt_current;
