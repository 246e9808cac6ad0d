/*
 * policy - when to restart, when to give up. Pure: no clock, no randomness of its own.
 */
#ifndef STRATO_SUPERVISOR_POLICY_H
#define STRATO_SUPERVISOR_POLICY_H

#include <stdbool.h>
#include <stdint.h>

enum {
    POLICY_LONG_RUN_MS = 2000,   /* a run this long, ready, clears the memory of failures */
    POLICY_CRASH_FIRST_MS = 10,  /* second restart after deaths of a process that was ready */
    POLICY_CRASH_CAP_MS = 250,   /* short, because requests are waiting */
    POLICY_START_FIRST_MS = 100, /* first restart after a failed start */
    POLICY_START_CAP_MS = 30000,
    POLICY_START_TRIES = 3, /* deaths of one process before stratod was ever ready */
};

/* What is remembered of one process slot; all zero to begin with. */
struct policy {
    unsigned short_runs;     /* deaths in a row soon after it was ready */
    unsigned start_failures; /* deaths in a row before it was ready */
};

/*
 * Notes a death and says after how many ms to start again. ready_for_ms is how long it had been
 * ready, if was_ready. random is any number; it spreads the restarts of several processes.
 */
uint64_t policy_restart(struct policy *policy, bool was_ready, uint64_t ready_for_ms,
                        uint32_t random);

/* Whether stratod, not ready yet, stops: the process died so often, or exited with this code
 * (-1: by a signal). */
bool policy_gives_up(unsigned deaths, int exit_code);

/* How much of something is let through; all zero to begin with. */
struct policy_rate {
    uint64_t used, at_ms; /* of the burst, at that time */
    uint64_t dropped;     /* the caller's count of what was not, until it is told */
};

/* Whether cost more is let through: burst at once, per_s again each second. */
bool policy_allows(struct policy_rate *rate, uint64_t cost, uint64_t per_s, uint64_t burst,
                   uint64_t now_ms);

/* When a process last heard of at heard_ms is taken for stuck. */
uint64_t policy_stuck_at(bool ready, uint64_t heard_ms);

#endif
