/*
 * prepare - what the supervisor finds and asks of the system before it starts anything.
 */
#ifndef STRATO_SUPERVISOR_PREPARE_H
#define STRATO_SUPERVISOR_PREPARE_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/conf/conf.h"

/* Writes the directory of the children's programs: BUILD/bin/stratod and /usr/sbin/stratod both
 * find ../libexec/strato. On failure appends why. */
enum status prepare_programs(char *directory, size_t size, struct buffer *why) MUST_CHECK;
/* Raises what limits files, as far as it is allowed. */
void prepare_limits(void);

#endif
