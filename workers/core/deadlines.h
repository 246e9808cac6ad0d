/*
 * deadlines - the open calls of a worker by deadline: a binary heap. With equal timeouts, the usual
 * case, adding costs one step; clients' own deadlines may come in any order.
 */
#ifndef STRATO_WORKERS_CORE_DEADLINES_H
#define STRATO_WORKERS_CORE_DEADLINES_H

#include "workers/core/core.h"

struct deadlines {
    struct core_call **calls; /* calls[i]->state.timer == i + 1 */
    uint32_t count;
    uint32_t capacity;
};

/* Adds a call by its state.deadline_ns. Borrowed until it is removed. */
void deadlines_add(struct deadlines *deadlines, struct core_call *call);
/* Removes a call that was added. */
void deadlines_remove(struct deadlines *deadlines, struct core_call *call);
/* The call whose deadline is next; NULL when there is none. */
static inline struct core_call *deadlines_next(const struct deadlines *deadlines)
{
    return deadlines->count > 0 ? deadlines->calls[0] : NULL;
}
void deadlines_free(struct deadlines *deadlines);

#endif
