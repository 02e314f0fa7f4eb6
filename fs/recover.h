/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * recover - what an earlier mount had begun and not finished.
 *
 * Uploads of the journal start again; copies are made and their source deleted
 * if it is still the version that was renamed.  Spool files that no row names
 * were never acknowledged: they go.
 *
 * Blocks on the gateway (copies); before the mount serves.
 */
#pragma once

#include "fs/fs.h"

int recover_run(struct fs *fs);
