/*
 * roll - planned restarts. The supervisor.
 *
 * One process at a time, stores first: a worker's successor must find the channels laid out. The
 * next one's turn comes when the successor serves; predecessors drain beside it. What is planned
 * stands in the slots (enum slot_plan).
 *
 * Fails: the first process whose successor does not start ends it. What was not touched yet stays
 * as it is; what was stopped for a successor is started again at once, from the program that served
 * last, which is kept open for that; and after a reload everything goes back to the configuration
 * from before (in_force.h).
 */
#include "supervisor/roll.h"

#include "supervisor/fleet.h"
#include "supervisor/in_force.h"

static bool is_meant(const struct slot *slot, const char *name)
{
    return strcmp(name, "all") == 0 || strcmp(name, slot->name) == 0 ||
           strcmp(name, role_kind(slot->role)) == 0;
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
    s->going_back = false;
    *s->roll_error = '\0';
}

/* Forgets what was not begun. A process that was to be added is started as ever, later. */
static void forget_plan(struct supervisor *s)
{
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        if (slot->plan == SLOT_TO_RESTART && !slot_alive(slot))
            slot->waiting = true;
        if (slot->plan != SLOT_TO_LEAVE)
            slot->plan = SLOT_NO_PLAN;
    }
}

/* Starts what worked before, if nothing of it is left. */
static void bring_back(struct slot *slot, uint64_t now_ms)
{
    slot->old_program = true;
    if (slot_alive(slot))
        return;
    slot->waiting = true;
    slot->start_at_ms = now_ms;
    slot->plan = SLOT_RESTARTING;
    slot->plan_serial = slot->starts;
}

static void give_up_plan(struct supervisor *s, struct slot *failed, uint64_t now_ms)
{
    size_t len = strlen(s->roll_error);
    snprintf(s->roll_error + len, sizeof s->roll_error - len, "%s%s: %s", len > 0 ? "; " : "",
             failed->name, failed->reason);
    if (s->going_back) { /* it is tried again as ever, later */
        failed->plan = SLOT_NO_PLAN;
        return;
    }
    forget_plan(s);
    bool reloaded = in_force_go_back(s, now_ms);
    s->going_back = true;
    if (failed->role && failed->plan != SLOT_TO_LEAVE)
        bring_back(failed, now_ms);
    len = strlen(s->roll_error);
    snprintf(s->roll_error + len, sizeof s->roll_error - len, "%s",
             reloaded ? "; the configuration from before is in force again" : "");
}

static void begin_slot(struct supervisor *s, struct slot *slot, uint64_t now_ms)
{
    slot->plan_serial = slot->starts;
    slot->plan = SLOT_RESTARTING;
    slot->old_program &= s->going_back;
    if (!slot_alive(slot)) {
        slot->waiting = true;
        slot->start_at_ms = now_ms;
    } else if (slot->role->worker) {
        fleet_start(s, slot, true, now_ms);
    } else {
        slot_stop_child(slot_child(slot), RUN_STOP_ONE,
                        now_ms + s->conf->drain_timeout_ms + SLOT_KILL_AFTER_MS);
    }
}

/* Whether nothing else of the slot is under way. */
static bool is_idle(struct slot *slot)
{
    bool alone = slot_other(slot)->state == CHILD_NONE;
    return alone && (slot_ready(slot) || slot_child(slot)->state == CHILD_NONE);
}

/* Takes a slot a step further. True when the next slot's turn has come. */
static bool step_slot(struct supervisor *s, struct slot *slot, uint64_t now_ms)
{
    if (slot->plan == SLOT_TO_RESTART && is_idle(slot))
        begin_slot(s, slot, now_ms);
    if (slot->plan == SLOT_RESTARTING && slot_ready(slot) &&
        slot_child(slot)->serial > slot->plan_serial)
        slot->plan = SLOT_NO_PLAN;
    return slot->plan == SLOT_NO_PLAN;
}

/* Whether those that leave are gone. They go first: their numbers may mean nothing afterwards. */
static bool leavers_gone(struct supervisor *s)
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
            slot_free(slot);
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

/* Whether all that is planned serves. */
static bool step_all(struct supervisor *s, uint64_t now_ms)
{
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        bool done = step_slot(s, slot, now_ms);
        if (slot->plan == SLOT_RESTART_FAILED) {
            give_up_plan(s, slot, now_ms);
            return step_all(s, now_ms); /* at most once for each slot */
        }
        if (!done)
            return false;
    }
    return true;
}

void roll_step(struct supervisor *s, uint64_t now_ms)
{
    if (!s->rolling || !leavers_gone(s) || !step_all(s, now_ms) || !leavers_gone(s))
        return;
    in_force_settle(s);
    if (!any_draining(s))
        s->rolling = false;
}
