/*
 * child - one running process: how it is started and what it has told.
 */
#ifndef STRATO_SUPERVISOR_CHILD_H
#define STRATO_SUPERVISOR_CHILD_H

#include <sys/types.h>

#include "supervisor/lines.h"
#include "supervisor/policy.h"
#include "supervisor/roles.h"

enum child_state { CHILD_NONE, CHILD_STARTING, CHILD_READY, CHILD_STOPPING };

struct child {
    enum child_state state;
    pid_t pid; /* valid unless CHILD_NONE */
    unsigned lane;
    bool was_ready;
    unsigned serial;      /* which start of its slot this is */
    enum log_level level; /* what it was told last */
    uint64_t started_ms, ready_ms, heard_ms;
    uint64_t kill_at_ms; /* when stopping: UINT64_MAX after it was killed */
    struct lines status, log;
    int program; /* the file that it executes, kept open; -1 once it is given away */
    struct policy_rate words, logged; /* what it says that means nothing; its log, in bytes */
    char fail[RUN_STATUS_MAX];        /* its "fail TEXT" */
    char last_line[256];              /* of its log that was no chatter */
};

/* Everything that a start needs; borrowed. */
struct child_plan {
    const char *directory; /* of the program */
    const char *program;
    const char *name;
    bool has_lane;
    unsigned lane;
    unsigned serial;
    const struct shared *shared;
    const struct fd_map *map;
    int executable; /* to be executed in place of the file; -1: none */
};

/* Forks and executes. Both pipes are open then. On failure appends the reason to why. */
enum status child_start(struct child *child, const struct child_plan *plan, uint64_t now_ms,
                        struct buffer *why) MUST_CHECK;

/* Takes a status line. True when the child has just become ready. */
bool child_told(struct child *child, const char *name, const char *line, uint64_t now_ms);
/* Takes a line of its log: relays it, and keeps it as a possible reason for its end. One that logs
 * without end is heard in part, and what was dropped is counted. */
void child_logged(struct child *child, const char *name, const char *line, uint64_t now_ms);

/* Writes why it ended, from what wait() gave and what it told last: one line. Closes its pipes
 * before, so that the last words are in. */
void child_end(struct child *child, const char *name, int wait_status, uint64_t now_ms,
               char *reason, size_t size);

#endif
