/*
 * slot - one place in the process picture ("http-0"), whoever fills it at the moment.
 *
 * The slot outlives its processes: it keeps what a restart needs and what an operator asks for.
 * A planned restart (a successor beside its predecessor) adds a second child on the other lane.
 */
#ifndef STRATO_SUPERVISOR_SLOT_H
#define STRATO_SUPERVISOR_SLOT_H

#include "supervisor/child.h"
#include "supervisor/policy.h"

struct slot {
    const struct role *role;
    unsigned number;
    char name[RUN_NAME_MAX];
    unsigned lane; /* of the next start; a dead process's lane is free, so it stays */
    struct child child;
    struct policy policy;
    bool waiting; /* to be started at start_at_ms */
    uint64_t start_at_ms;
    unsigned starts, deaths;           /* deaths: those that nobody asked for; always <= starts */
    char reason[RUN_STATUS_MAX + 128]; /* of the last death */
};

/* Makes a slot that is to be started at once. */
void slot_init(struct slot *slot, const struct role *role, const struct conf *conf,
               unsigned number);

/* What every start has in common; borrowed for the supervisor's life. */
struct slot_world {
    const struct conf *conf;
    const struct shared *shared;
    const char *directory; /* of the programs */
};

/* Starts the slot's process. A failure counts as a death and is scheduled anew. */
void slot_start(struct slot *slot, const struct slot_world *world, uint64_t now_ms);

/* Takes note of the end of the slot's process: logs it and, unless it was asked to stop, schedules
 * the next start. Gives the exit code, -1 for a signal. */
int slot_ended(struct slot *slot, int wait_status, uint64_t now_ms);

/* Asks the process, if there is one, to stop. */
void slot_stop(struct slot *slot);
void slot_kill(struct slot *slot);
static inline bool slot_alive(const struct slot *slot)
{
    return slot->child.state != CHILD_NONE;
}

/* Reads the status pipe, the log pipe. */
void slot_read_status(struct slot *slot, uint64_t now_ms);
void slot_read_log(struct slot *slot);

/* When slot_check_silence() has something to do; UINT64_MAX for never. */
uint64_t slot_silence_ends(const struct slot *slot);
/* Kills a process that has said nothing for too long. */
void slot_check_silence(struct slot *slot, uint64_t now_ms);

/* Logs one line: name, pid, state, since when, restarts, last reason. */
void slot_log(const struct slot *slot, uint64_t now_ms);

#endif
