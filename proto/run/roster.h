/*
 * roster - the processes as the supervisor sees them, for /metrics on any HTTP worker.
 *
 * A memfd of one struct roster, which the supervisor alone writes; HTTP workers have it at
 * RUN_FD_ROSTER. Both use pread() and pwrite(), so that no process trusts another's memory.
 */
#ifndef STRATO_PROTO_RUN_ROSTER_H
#define STRATO_PROTO_RUN_ROSTER_H

#include "proto/run/run.h"

enum {
    ROSTER_MAGIC = 0x74737273, /* "srst" */
    ROSTER_VERSION = 1,
    ROSTER_ROWS = 1 + BACKEND_COUNT + 2 * CONF_WORKERS_MAX,
};

struct roster_row {
    char name[RUN_NAME_MAX]; /* "stratod", "http-0" */
    int32_t pid;             /* 0: there is none at the moment */
    uint32_t ready;          /* 0 or 1 */
    uint32_t restarts;       /* since the supervisor started, planned or not */
    uint32_t deaths;         /* of which nobody had asked for */
    uint64_t started_ms;     /* wall clock */
};

struct roster {
    uint32_t magic, version;
    uint64_t round; /* odd while it is being written */
    uint32_t count, unused;
    struct roster_row rows[ROSTER_ROWS];
};

/* A memfd for one; -1 and errno. */
int roster_create(void);
/* Writes it, if it differs from what *last holds, and remembers it there. */
void roster_write(int fd, struct roster *last, const struct roster *roster);
/* False when there is none (an older supervisor's), or never one at rest. Names end with a NUL. */
bool roster_read(int fd, struct roster *roster_r) MUST_CHECK;

#endif
