/*
 * lines - whole lines from a pipe, and their way to our own standard error.
 */
#ifndef STRATO_SUPERVISOR_LINES_H
#define STRATO_SUPERVISOR_LINES_H

#include <stddef.h>

#include "proto/base/log.h"

/* The reading end of a pipe (non-blocking) and the line begun; fd -1 when closed. */
struct lines {
    int fd;
    size_t len;
    char text[LOG_LINE_MAX];
};

/* Takes one line, NUL-terminated, without its newline; a longer one comes in pieces. */
typedef void lines_handler(void *context, char *line);

/* Takes over fd. */
void lines_open(struct lines *lines, int fd);
/* Hands on what is there, at most a fair share at once. Does not block. */
void lines_read(struct lines *lines, lines_handler *handler, void *context);
/* Hands on all that is left, the unfinished line too, and closes. For a writer that is dead. */
void lines_close(struct lines *lines, lines_handler *handler, void *context);

/* Writes a child's line to standard error, without controls. What it does not take at once is
 * dropped and counted: a terminal that someone stopped must not stop the supervisor. */
void lines_relay(const char *line);

#endif
