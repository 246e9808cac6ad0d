/*
 * fleet - see fleet.h. The supervisor.
 *
 * Fails: a process that cannot be started is tried again later (slot.h). Until all of them
 * were ready once, a few failures of one process end the supervisor, so that its start fails.
 */
#include "supervisor/fleet.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>

#include "supervisor/in_force.h"
#include "supervisor/notify.h"

struct slot *fleet_slot(struct supervisor *s, const struct role *role, unsigned number)
{
    struct slot *slot = s->slots;
    for (const struct role *before = roles; before < role; before++)
        slot += before->limit;
    return slot + number;
}

uint64_t fleet_token(enum source source, unsigned slot, unsigned lane)
{
    return (uint64_t)source << 32 | slot << 8 | lane;
}

enum status fleet_watch(struct supervisor *s, int fd, uint64_t data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};
    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? STATUS_OK : STATUS_INTERNAL;
}

/* ---- Stopping ---- */

static void stop_slots(struct supervisor *s, bool workers, uint64_t kill_at_ms)
{
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        if (slot->role->worker == workers)
            slot_stop(slot, RUN_STOP_SERVICE, kill_at_ms);
    }
}

void fleet_enter_stop(struct supervisor *s, enum phase phase, uint64_t now_ms)
{
    s->phase = phase;
    stop_slots(s, phase == STOP_WORKERS, now_ms + s->conf->drain_timeout_ms + SLOT_KILL_AFTER_MS);
}

/* Forgets what is planned: everything stops. */
static void cancel_plan(struct supervisor *s)
{
    if (s->rolling)
        snprintf(s->roll_error, sizeof s->roll_error, "everything is stopping");
    s->rolling = false;
    in_force_settle(s);
}

void fleet_stop(struct supervisor *s, int exit_code, uint64_t now_ms)
{
    if (s->phase >= STOP_WORKERS)
        return;
    notify_send("STOPPING=1\nSTATUS=stopping");
    s->exit_code = exit_code;
    s->told_at_ms = now_ms;
    cancel_plan(s);
    shared_stop_listening(&s->shared);
    fleet_enter_stop(s, STOP_WORKERS, now_ms);
}

bool fleet_any_alive(struct supervisor *s, bool workers)
{
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        if (slot->role->worker == workers && slot_alive(slot))
            return true;
    }
    return false;
}

/* ---- Starting ---- */

void fleet_judge_start(struct supervisor *s, struct slot *slot, int code, uint64_t now_ms)
{
    if (s->phase >= RUNNING || !policy_gives_up(slot->deaths, code)) {
        slot_tell(slot, now_ms);
        return;
    }
    log_error("%s cannot be started: %s", slot->name, slot->reason);
    fleet_stop(s, 1, now_ms);
}

void fleet_start(struct supervisor *s, struct slot *slot, bool successor, uint64_t now_ms)
{
    unsigned i = (unsigned)(slot - s->slots);
    struct child *child = successor ? slot_start_successor(slot, &s->world, now_ms)
                                    : slot_start(slot, &s->world, now_ms);
    if (!child) {
        fleet_judge_start(s, slot, -1, now_ms);
        return;
    }
    if (fleet_watch(s, child->status.fd, fleet_token(FROM_STATUS, i, child->lane)) != STATUS_OK ||
        fleet_watch(s, child->log.fd, fleet_token(FROM_LOG, i, child->lane)) != STATUS_OK) {
        log_error("%s cannot be watched: %s", slot->name, strerror(errno));
        kill(child->pid, SIGKILL);
    }
}

bool fleet_all_ready(struct supervisor *s, bool workers)
{
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        if (slot->role->worker == workers && !slot_ready(slot))
            return false;
    }
    return true;
}
