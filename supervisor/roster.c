/*
 * roster - see roster.h. The supervisor. It writes only when a process or its state has changed.
 */
#include "supervisor/roster.h"

#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/run/roster.h"

static uint64_t wall_of(uint64_t at_ms, uint64_t now_ms)
{
    return clock_wall_ms() - (now_ms - at_ms);
}

/* When it started is asked of the clock once only, so that a row changes with its process alone. */
static void set_pid(struct roster_row *row, const struct roster_row *last, pid_t pid,
                    uint64_t started_ms, uint64_t now_ms)
{
    row->pid = pid;
    row->started_ms = row->pid == last->pid ? last->started_ms : wall_of(started_ms, now_ms);
}

static void write_row(struct slot *slot, struct roster_row *row, const struct roster_row *last,
                      uint64_t now_ms)
{
    const struct child *child = slot_child(slot);
    snprintf(row->name, sizeof row->name, "%s", slot->name);
    row->ready = child->state == CHILD_READY;
    row->restarts = slot->starts > 0 ? slot->starts - 1 : 0;
    row->deaths = slot->deaths;
    if (child->state != CHILD_NONE)
        set_pid(row, last, child->pid, child->started_ms, now_ms);
}

void roster_update(struct supervisor *s, uint64_t now_ms)
{
    static struct roster last;
    struct roster roster = {.count = 1};
    struct roster_row *own = &roster.rows[0];
    struct slot *slot;
    snprintf(own->name, sizeof own->name, "%s", s->program);
    own->ready = s->phase == RUNNING;
    set_pid(own, &last.rows[0], getpid(), s->started_ms, now_ms);
    EACH_SLOT(s, slot)
    {
        write_row(slot, &roster.rows[roster.count], &last.rows[roster.count], now_ms);
        roster.count++;
    }
    roster_write(s->shared.roster, &last, &roster);
}
