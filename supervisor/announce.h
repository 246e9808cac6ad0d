/*
 * announce - what stratod says once: that it is ready and where, or why it did not start; in the
 * form of the log.
 */
#ifndef STRATO_SUPERVISOR_ANNOUNCE_H
#define STRATO_SUPERVISOR_ANNOUNCE_H

#include "supervisor/shared.h"

/* "strato is ready: HTTP on http://127.0.0.1:8081, gRPC on ...", and what to try. On standard
 * output; as a line of the log where that is JSON, whatever its level. */
void announce_ready(const struct conf *conf, const struct shared *shared);
/* Why it did not start, on standard error. */
void announce_failure(const char *program, bool json, const struct buffer *why);
/* Appends the addresses of every protocol in use: "HTTP on ..., gRPC on ...". */
void announce_addresses(const struct conf *conf, const struct shared *shared, struct buffer *text);

/* Logs each line of a text. */
void announce_lines(enum log_level level, const struct buffer *text);

#endif
