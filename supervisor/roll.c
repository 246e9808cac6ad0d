/*
 * roll - planned restarts. The supervisor.
 *
 * One process at a time, stores first: a worker's successor must find the channels laid out. The
 * next one's turn comes when the successor serves; predecessors drain beside it. What is planned
 * stands in the slots (enum slot_plan).
 *
 * Fails: the first process whose successor does not start ends it; what was not touched yet stays
 * as it is, and whatever died is restarted as ever.
 */
#include "supervisor/internal.h"

static bool is_meant(const struct slot *slot, const char *name)
{
    return strcmp(name, "all") == 0 || strcmp(name, slot->name) == 0 ||
           strcmp(name, slot->role->kind) == 0;
}

bool roll_plan(struct supervisor *s, const char *name)
{
    struct slot *slot;
    bool found = false;
    EACH_SLOT(s, slot)
    {
        if (!is_meant(slot, name) || slot->plan == SLOT_TO_LEAVE)
            continue;
        slot->plan = SLOT_TO_RESTART;
        found = true;
    }
    return found;
}

void roll_begin(struct supervisor *s)
{
    s->rolling = true;
    *s->roll_error = '\0';
}

void roll_cancel(struct supervisor *s)
{
    if (s->rolling)
        snprintf(s->roll_error, sizeof s->roll_error, "everything is stopping");
    s->rolling = false;
}

/* Forgets what was not begun. A process that was to be added is started as ever, later. */
static void give_up(struct supervisor *s, const struct slot *failed)
{
    struct slot *slot;
    snprintf(s->roll_error, sizeof s->roll_error, "%s: %s", failed->name, failed->reason);
    EACH_SLOT(s, slot)
    {
        if (slot->plan == SLOT_TO_RESTART && !slot_alive(slot))
            slot->waiting = true;
        if (slot->plan != SLOT_TO_LEAVE)
            slot->plan = SLOT_NO_PLAN;
    }
}

static void begin(struct supervisor *s, struct slot *slot, uint64_t now_ms)
{
    slot->plan_serial = slot->starts;
    slot->plan = SLOT_RESTARTING;
    if (!slot_alive(slot)) {
        slot->waiting = true;
        slot->start_at_ms = now_ms;
    } else if (slot->role->worker) {
        supervisor_start(s, slot, true, now_ms);
    } else {
        slot_stop_child(slot_child(slot), RUN_STOP_ONE,
                        now_ms + s->conf->drain_timeout_ms + SLOT_KILL_AFTER_MS);
    }
}

/* Whether nothing else of the slot is under way. */
static bool is_free(struct slot *slot)
{
    bool alone = slot_other(slot)->state == CHILD_NONE;
    return alone && (slot_ready(slot) || slot_child(slot)->state == CHILD_NONE);
}

/* Takes a slot a step further. True when the next slot's turn has come. */
static bool step_slot(struct supervisor *s, struct slot *slot, uint64_t now_ms)
{
    if (slot->plan == SLOT_TO_RESTART && is_free(slot))
        begin(s, slot, now_ms);
    if (slot->plan == SLOT_RESTART_FAILED) {
        give_up(s, slot);
        return true;
    }
    if (slot->plan == SLOT_RESTARTING && slot_ready(slot) &&
        slot_child(slot)->serial > slot->plan_serial)
        slot->plan = SLOT_NO_PLAN;
    return slot->plan == SLOT_NO_PLAN;
}

/* Whether those that leave are gone. They go first: their numbers may mean nothing afterwards. */
static bool left(struct supervisor *s)
{
    struct slot *slot;
    bool gone = true;
    EACH_SLOT(s, slot)
    {
        if (slot->plan != SLOT_TO_LEAVE)
            continue;
        if (slot_alive(slot))
            gone = false;
        else
            slot->role = NULL;
    }
    return gone;
}

static bool any_draining(struct supervisor *s)
{
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        if (slot_other(slot)->state != CHILD_NONE)
            return true;
    }
    return false;
}

void roll_step(struct supervisor *s, uint64_t now_ms)
{
    struct slot *slot;
    if (!s->rolling || !left(s))
        return;
    EACH_SLOT(s, slot)
    {
        if (!step_slot(s, slot, now_ms))
            return;
    }
    if (!any_draining(s))
        s->rolling = false;
}
