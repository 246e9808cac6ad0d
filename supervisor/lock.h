/*
 * lock - one stratod per run directory.
 */
#ifndef STRATO_SUPERVISOR_LOCK_H
#define STRATO_SUPERVISOR_LOCK_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"

/*
 * Makes the directory (0700, with its parents) if it is missing and takes the lock in it. *fd_r
 * stays open as long as the lock shall be held; the kernel frees it however the process ends.
 * On failure appends one line to why: who holds it, or what is wrong with the directory.
 */
enum status lock_take(const char *run_dir, int *fd_r, struct buffer *why) MUST_CHECK;

/* Takes our number out of the lock file and frees the lock. */
void lock_release(int fd);

#endif
