/*
 * figures - a worker's counters, kept in its channel so that they outlive it and so that any
 * process can show every worker's. One row each: position, metric name, label, help.
 *
 * Positions index channel_memory.counters of the worker's channel to the first backend in use.
 * All count up only, but for the gauges named so.
 */
#ifndef STRATO_PROTO_CHANNEL_FIGURES_H
#define STRATO_PROTO_CHANNEL_FIGURES_H

#include "proto/base/op.h"

enum {
    FIGURE_LATENCY_BUCKETS = 16, /* upper bounds 2^k microseconds, k = 4..18, then +Inf */
    FIGURE_LATENCY_FIRST_LOG2 = 4,
    FIGURE_STATUSES = 13, /* those of 0.2.0; later ones are counted behind all else */
};

enum figure {
    FIGURE_CONNECTIONS_OPEN = 0, /* gauge; reset by a new worker */
    FIGURE_CONNECTIONS_TOTAL,
    FIGURE_CONNECTIONS_REFUSED, /* over max_connections */
    FIGURE_BYTES_IN,
    FIGURE_BYTES_OUT,
    FIGURE_BAD_REQUESTS, /* no operation could be made of it */
    FIGURE_READS_LOCAL,  /* answered from the arena in the worker */
    FIGURE_READS_FORWARDED,
    FIGURE_ENDED_STATUS, /* + enum status: operations ended, by outcome */
    FIGURE_REQUESTS = FIGURE_ENDED_STATUS + FIGURE_STATUSES, /* + enum op */
    FIGURE_LATENCY = FIGURE_REQUESTS + OP_COUNT, /* + 17 * write: buckets, then the sum in ns */
    FIGURE_BUDGET_USED = FIGURE_LATENCY + 2 * (FIGURE_LATENCY_BUCKETS + 1), /* gauge: bytes */
    FIGURE_BUDGET_LIMIT,                                                    /* gauge: bytes */
    FIGURE_BUDGET_REFUSED,  /* requests that there was no memory for */
    FIGURE_CONNECTIONS_CUT, /* by the worker, for a client's sake that holds too much or too long */
    FIGURE_COUNT,
    FIGURE_MORE_STATUSES = 320, /* + enum status - FIGURE_STATUSES */
    FIGURE_END = 384,
};
_Static_assert(FIGURE_COUNT <= FIGURE_MORE_STATUSES, "the figures do not overlap");

/* Where operations that ended with a status are counted. Figures outlive an upgrade, so statuses
 * that came later have not moved the others. */
static inline unsigned figure_ended(enum status status)
{
    return (unsigned)status < FIGURE_STATUSES
               ? FIGURE_ENDED_STATUS + (unsigned)status
               : FIGURE_MORE_STATUSES + (unsigned)status - FIGURE_STATUSES;
}

#endif
