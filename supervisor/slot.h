/*
 * slot - one place in the process picture ("http-0"), whoever fills it at the moment.
 *
 * The slot outlives its processes: it keeps what a restart needs and what an operator asks for. A
 * worker's slot has a child on each lane: the one that serves, and during a planned restart its
 * successor that starts or its predecessor that drains. A store's slot has one.
 *
 *      planned restart of a worker               of a store
 *      lane 0   ready ---------> stopping  -     ready -> stopping -> -> starting -> ready
 *      lane 1   -  starting -> ready             (requests wait in the rings)
 */
#ifndef STRATO_SUPERVISOR_SLOT_H
#define STRATO_SUPERVISOR_SLOT_H

#include "supervisor/child.h"
#include "supervisor/policy.h"

enum { SLOT_KILL_AFTER_MS = 1000 }; /* beyond drain_timeout */

/* What is planned for a slot beside keeping it alive. */
enum slot_plan {
    SLOT_NO_PLAN,
    SLOT_TO_RESTART, /* or to start, when there is no process yet */
    SLOT_RESTARTING,
    SLOT_RESTART_FAILED, /* reason says why; the predecessor goes on if it could */
    SLOT_TO_LEAVE,       /* told to stop for good */
};

struct slot {
    const struct role *role; /* NULL: the slot is not in use */
    unsigned number;
    char name[RUN_NAME_MAX];
    unsigned lane; /* of the child that serves, or is to; a dead process's lane is free */
    struct child child[RUN_LANES];
    struct policy policy;
    bool waiting; /* to be started at start_at_ms */
    bool untold;  /* that it will be: slot_tell() logs it */
    uint64_t start_at_ms;
    int program;      /* the file of the process that became ready last, kept open; -1: none */
    bool old_program; /* start from it: what the path leads to did not start */
    enum slot_plan plan;
    unsigned plan_serial;              /* starts when the planned restart began */
    unsigned starts, deaths;           /* deaths: those that were not planned; always <= starts */
    char reason[RUN_STATUS_MAX + 128]; /* of the last death */
};

/* Makes a slot that is to be started at once. */
void slot_init(struct slot *slot, const struct role *role, unsigned number);

/* Gives back a slot without processes; it is not in use then. */
void slot_free(struct slot *slot);

/* What every start has in common; borrowed for the supervisor's life. */
struct slot_world {
    const struct conf *conf;
    const struct shared *shared;
    const char *directory; /* of the programs */
};

/* The child that serves, or is to; and the one on the other lane. */
static inline struct child *slot_child(struct slot *slot)
{
    return &slot->child[slot->lane];
}

static inline struct child *slot_other(struct slot *slot)
{
    return &slot->child[slot->lane ^ 1];
}

/* Whether any process of the slot exists. */
static inline bool slot_alive(const struct slot *slot)
{
    return slot->child[0].state != CHILD_NONE || slot->child[1].state != CHILD_NONE;
}

static inline bool slot_ready(struct slot *slot)
{
    return slot_child(slot)->state == CHILD_READY;
}

/* Starts the slot's process, or its successor beside it. A failure counts as a death, and is
 * scheduled anew or fails the plan. The child, for its pipes to be watched; NULL on failure. */
struct child *slot_start(struct slot *slot, const struct slot_world *world, uint64_t now_ms);
struct child *slot_start_successor(struct slot *slot, const struct slot_world *world,
                                   uint64_t now_ms);

/* Takes note of the end of the slot's process on a lane: logs it and, unless it was asked to stop,
 * schedules the next start; running false: unless policy_gives_up(). Gives the exit code, -1 for a
 * signal. */
int slot_ended(struct slot *slot, unsigned lane, int wait_status, bool running, uint64_t now_ms);

/* Logs that the process ended and when it is started again, if that was just decided: the caller
 * may decide otherwise first. */
void slot_tell(struct slot *slot, uint64_t now_ms);

/* Asks the processes, if there are any, to stop until kill_at_ms, and forgets what was planned. */
void slot_stop(struct slot *slot, enum run_stop why, uint64_t kill_at_ms);
/* Asks one of them. */
void slot_stop_child(struct child *child, enum run_stop why, uint64_t kill_at_ms);
void slot_kill(struct slot *slot);

/* Reads the status pipe, the log pipe, of the child on a lane. A successor that is ready takes
 * over there and then: its predecessor is told to drain, within drain_timeout. */
void slot_read_status(struct slot *slot, unsigned lane, const struct conf *conf, uint64_t now_ms);
void slot_read_log(struct slot *slot, unsigned lane, uint64_t now_ms);

/* When slot_check() has something to do; UINT64_MAX for never. */
uint64_t slot_deadline(const struct slot *slot);
/* Kills a process that has said nothing for too long, or does not stop. */
void slot_check(struct slot *slot, uint64_t now_ms);
/* Forgives the silence: we were not there to hear. */
void slot_forgive(struct slot *slot, uint64_t now_ms);
/* Tells ready processes the log level. */
void slot_log_level(struct slot *slot, enum log_level level);

/* "down", "starting", "ready", "stopping". */
const char *slot_state(const struct slot *slot);
/* Logs one line: name, pid, state, since when, restarts, last reason. */
void slot_log(const struct slot *slot, uint64_t now_ms);

#endif
