/*
 * limits - whether a configuration fits what the system allows to a process: descriptors.
 */
#ifndef STRATO_SUPERVISOR_LIMITS_H
#define STRATO_SUPERVISOR_LIMITS_H

#include "proto/conf/conf.h"

/*
 * Lowers max_connections in conf to what the limit of open descriptors (RLIMIT_NOFILE, the hard
 * one) has room for, and appends one line to notes for each. On failure, when not even the
 * processes themselves could run, appends what is needed and what there is to why.
 */
enum status limits_fit(struct conf *conf, struct buffer *notes, struct buffer *why) MUST_CHECK;

#endif
