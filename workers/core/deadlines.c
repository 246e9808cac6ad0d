/*
 * deadlines - see deadlines.h. Runs in every worker; fails only by panic when memory runs out.
 */
#include "workers/core/deadlines.h"

#include <stdlib.h>

static void put(struct deadlines *deadlines, uint32_t at, struct core_call *call)
{
    deadlines->calls[at] = call;
    call->state.timer = at + 1;
}

static void move_up(struct deadlines *deadlines, uint32_t at, struct core_call *call)
{
    while (at > 0) {
        struct core_call *parent = deadlines->calls[(at - 1) / 2];
        if (parent->state.deadline_ns <= call->state.deadline_ns)
            break;
        put(deadlines, at, parent);
        at = (at - 1) / 2;
    }
    put(deadlines, at, call);
}

static void move_down(struct deadlines *deadlines, uint32_t at, struct core_call *call)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= deadlines->count)
            break;
        if (child + 1 < deadlines->count && deadlines->calls[child + 1]->state.deadline_ns <
                                                deadlines->calls[child]->state.deadline_ns)
            child++;
        if (call->state.deadline_ns <= deadlines->calls[child]->state.deadline_ns)
            break;
        put(deadlines, at, deadlines->calls[child]);
        at = child;
    }
    put(deadlines, at, call);
}

static void grow(struct deadlines *deadlines)
{
    uint32_t capacity = deadlines->capacity ? 2 * deadlines->capacity : 256;
    struct core_call **calls = realloc(deadlines->calls, capacity * sizeof *calls);
    if (!calls)
        panic("out of memory: %u deadlines", capacity);
    deadlines->calls = calls;
    deadlines->capacity = capacity;
}

void deadlines_add(struct deadlines *deadlines, struct core_call *call)
{
    if (deadlines->count == deadlines->capacity)
        grow(deadlines);
    move_up(deadlines, deadlines->count++, call);
}

void deadlines_remove(struct deadlines *deadlines, struct core_call *call)
{
    uint32_t at = call->state.timer - 1;
    struct core_call *last = deadlines->calls[--deadlines->count];
    call->state.timer = 0;
    if (last == call)
        return;
    move_down(deadlines, at, last);
    if (last->state.timer == at + 1)
        move_up(deadlines, at, last);
}

void deadlines_free(struct deadlines *deadlines)
{
    free(deadlines->calls);
    *deadlines = (struct deadlines){0};
}
