/* SPDX-License-Identifier: GPL-3.0-or-later */
/* waiting - see waiting.h */
#include "base/waiting.h"

_Thread_local struct waiting *waiting_current;
