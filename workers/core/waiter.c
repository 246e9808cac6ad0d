/*
 * waiter - who waits for the answer to a probe: a list in order of arrival. Runs in
 * every worker; fails only by panic when memory runs out.
 */
#include <stdlib.h>

#include "workers/core/internal.h"

void core_waiter_add(struct core_waiter **list, struct core_waiter waiter)
{
    struct core_waiter *added = malloc(sizeof *added);
    if (!added)
        panic("out of memory: a waiter");
    *added = waiter;
    added->next = NULL;
    while (*list)
        list = &(*list)->next;
    *list = added;
}

void core_waiter_remove(struct core_waiter **list, const void *context)
{
    while (*list && (*list)->context != context)
        list = &(*list)->next;
    struct core_waiter unused;
    core_waiter_take(list, &unused);
}

bool core_waiter_take(struct core_waiter **list, struct core_waiter *waiter_r)
{
    struct core_waiter *first = *list;
    if (!first)
        return false;
    *waiter_r = *first;
    *list = first->next;
    free(first);
    return true;
}
