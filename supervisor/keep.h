/*
 * keep - run_dir as it shall be, also after a program has emptied it.
 *
 * Cleaners of temporary files remove what nobody has written to for days. Processes that run hold
 * what they need, but stratoctl, a second stratod and new workers look for files by name.
 */
#ifndef STRATO_SUPERVISOR_KEEP_H
#define STRATO_SUPERVISOR_KEEP_H

#include "supervisor/state.h"

/* Makes the control socket and begins to watch run_dir, which is locked. The caller has keep.fd
 * watched. On failure appends why. */
enum status keep_open(struct supervisor *s, uint64_t now_ms, struct buffer *why) MUST_CHECK;
/* keep.fd is readable. */
void keep_event(struct supervisor *s, uint64_t now_ms);
/* At keep.at_ms: makes anew what is missing in run_dir, and asks for listening sockets without a
 * file. */
void keep_check(struct supervisor *s, uint64_t now_ms);

#endif
