/*
 * slot - see slot.h. The supervisor. Whatever goes wrong with a process ends in a scheduled start
 * and a line in the log.
 */
#include "supervisor/slot.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

void slot_init(struct slot *slot, const struct role *role, unsigned number)
{
    *slot = (struct slot){.role = role, .number = number, .waiting = true, .program = -1};
    for (unsigned lane = 0; lane < RUN_LANES; lane++)
        slot->child[lane].status.fd = slot->child[lane].log.fd = slot->child[lane].program = -1;
    role->name(role, number, slot->name);
}

void slot_free(struct slot *slot)
{
    if (slot->program >= 0)
        close(slot->program);
    slot->program = -1;
    slot->role = NULL;
}

/* ---- Starting ---- */

/* Decides about the next start after a death. */
static void schedule(struct slot *slot, bool was_ready, uint64_t ready_for_ms, uint64_t now_ms)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (uint32_t)now_ms;
    uint64_t delay = policy_restart(&slot->policy, was_ready, ready_for_ms, random);
    slot->waiting = true;
    slot->start_at_ms = now_ms + delay;
    if (slot->plan == SLOT_RESTARTING) { /* roll.c decides what happens now */
        slot->plan = SLOT_RESTART_FAILED;
        log_warn("%s could not start (%s)", slot->name, slot->reason);
        return;
    }
    slot->untold = true;
}

void slot_tell(struct slot *slot, uint64_t now_ms)
{
    if (slot->untold)
        log_warn("%s ended (%s); starting it again in %" PRIu64 " ms", slot->name, slot->reason,
                 slot->start_at_ms - now_ms);
    slot->untold = false;
}

/* The successor never served: its predecessor goes on. */
static void fail_successor(struct slot *slot)
{
    slot->plan = SLOT_RESTART_FAILED;
    log_warn("%s: the successor could not start (%s); all goes on as it was", slot->name,
             slot->reason);
}

static struct child *start_on(struct slot *slot, unsigned lane, const struct slot_world *world,
                              uint64_t now_ms)
{
    struct fd_map map = {0};
    struct buffer why = {0};
    struct child *child = &slot->child[lane];
    slot->starts++;
    struct child_plan plan = {.directory = world->directory,
                              .program = role_program(slot->role),
                              .name = slot->name,
                              .has_lane = slot->role->worker,
                              .lane = lane,
                              .serial = slot->starts,
                              .shared = world->shared,
                              .map = &map,
                              .executable = slot->old_program ? slot->program : -1};
    slot->role->descriptors(slot->role, world->conf, world->shared, slot->number, lane, &map);
    if (child_start(child, &plan, now_ms, &why) != STATUS_OK) {
        snprintf(slot->reason, sizeof slot->reason, "%.*s", (int)why.len, (const char *)why.data);
        slot->deaths++;
        child = NULL;
    }
    if (child)
        child->level = world->conf->log_level;
    buffer_free(&why);
    return child;
}

struct child *slot_start(struct slot *slot, const struct slot_world *world, uint64_t now_ms)
{
    slot->waiting = false;
    struct child *child = start_on(slot, slot->lane, world, now_ms);
    if (!child)
        schedule(slot, false, 0, now_ms);
    return child;
}

struct child *slot_start_successor(struct slot *slot, const struct slot_world *world,
                                   uint64_t now_ms)
{
    struct child *child = start_on(slot, slot->lane ^ 1, world, now_ms);
    if (!child)
        fail_successor(slot);
    return child;
}

/* ---- Ending ---- */

/* The process that served is gone, and was not asked to go. */
static void died(struct slot *slot, const struct child *child, bool for_good, uint64_t now_ms)
{
    slot->deaths++;
    if (for_good)
        return;
    if (slot_other(slot)->state == CHILD_STARTING) { /* the successor is on its way already */
        slot->lane ^= 1;
        log_warn("%s ended (%s); its successor is starting", slot->name, slot->reason);
        return;
    }
    schedule(slot, child->was_ready, child->was_ready ? now_ms - child->ready_ms : 0, now_ms);
}

/* It did what it was asked to do; how well, reason says unless it is empty. */
static void stopped(struct slot *slot, const struct child *child, pid_t pid, const char *reason,
                    uint64_t now_ms)
{
    if (*reason)
        log_warn("%s[%d] stopped, but not in order: %s", slot->name, (int)pid, reason);
    else
        log_info("%s[%d] stopped", slot->name, (int)pid);
    if (child != slot_child(slot) || slot->plan != SLOT_RESTARTING)
        return;
    slot->waiting = true; /* a store: its successor goes on in the rings */
    slot->start_at_ms = now_ms;
}

int slot_ended(struct slot *slot, unsigned lane, int wait_status, bool running, uint64_t now_ms)
{
    struct child *child = &slot->child[lane];
    bool asked = child->state == CHILD_STOPPING;
    pid_t pid = child->pid;
    char reason[sizeof slot->reason];
    child_end(child, slot->name, wait_status, now_ms, reason, sizeof reason);
    int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    bool in_order = asked && code == RUN_EXIT_OK;
    if (!in_order)
        snprintf(slot->reason, sizeof slot->reason, "%s", reason);
    if (asked) {
        stopped(slot, child, pid, in_order ? "" : reason, now_ms);
    } else if (lane != slot->lane) {
        slot->deaths++;
        fail_successor(slot);
    } else {
        died(slot, child, !running && policy_gives_up(slot->deaths + 1, code), now_ms);
    }
    return code;
}

void slot_stop_child(struct child *child, enum run_stop why, uint64_t kill_at_ms)
{
    if (child->state == CHILD_NONE || child->state == CHILD_STOPPING)
        return;
    child->state = CHILD_STOPPING;
    child->kill_at_ms = kill_at_ms;
    if (sigqueue(child->pid, SIGTERM, (union sigval){.sival_int = (int)why}) != 0)
        kill(child->pid, SIGTERM);
}

void slot_stop(struct slot *slot, enum run_stop why, uint64_t kill_at_ms)
{
    slot->waiting = false;
    slot->plan = SLOT_NO_PLAN;
    for (unsigned lane = 0; lane < RUN_LANES; lane++)
        slot_stop_child(&slot->child[lane], why, kill_at_ms);
}

static void kill_child(struct child *child)
{
    if (child->state != CHILD_NONE)
        kill(child->pid, SIGKILL);
}

void slot_kill(struct slot *slot)
{
    for (unsigned lane = 0; lane < RUN_LANES; lane++)
        kill_child(&slot->child[lane]);
}

/* ---- What they say ---- */

struct status_context {
    struct slot *slot;
    struct child *child;
    const struct conf *conf;
    uint64_t now_ms;
};

/* Both serve the listening socket for a moment; then only the successor takes connections. */
static void take_over(struct slot *slot, uint64_t kill_at_ms)
{
    slot_stop_child(slot_child(slot), RUN_STOP_ONE, kill_at_ms);
    slot->lane ^= 1;
}

/* Its program works: what may be started again when another one does not. */
static void keep_program(struct slot *slot, struct child *child)
{
    if (child->program < 0)
        return;
    if (slot->program >= 0)
        close(slot->program);
    slot->program = child->program;
    child->program = -1;
}

static void take_status(void *context, char *line)
{
    struct status_context *status = context;
    struct slot *slot = status->slot;
    struct child *child = status->child;
    if (!child_told(child, slot->name, line, status->now_ms))
        return;
    log_info("%s[%d] is ready after %" PRIu64 " ms", slot->name, (int)child->pid,
             status->now_ms - child->started_ms);
    keep_program(slot, child);
    if (child != slot_child(slot) && child->state == CHILD_READY)
        take_over(slot, status->now_ms + status->conf->drain_timeout_ms + SLOT_KILL_AFTER_MS);
    slot_log_level(slot, status->conf->log_level); /* it may have changed meanwhile */
}

void slot_read_status(struct slot *slot, unsigned lane, const struct conf *conf, uint64_t now_ms)
{
    struct status_context context = {slot, &slot->child[lane], conf, now_ms};
    lines_read(&slot->child[lane].status, take_status, &context);
}

static void take_log(void *context, char *line)
{
    const struct status_context *status = context;
    child_logged(status->child, status->slot->name, line, status->now_ms);
}

void slot_read_log(struct slot *slot, unsigned lane, uint64_t now_ms)
{
    struct status_context context = {slot, &slot->child[lane], NULL, now_ms};
    lines_read(&slot->child[lane].log, take_log, &context);
}

/* ---- Time ---- */

static uint64_t child_deadline(const struct child *child)
{
    if (child->state == CHILD_STOPPING)
        return child->kill_at_ms;
    if (child->state == CHILD_NONE)
        return UINT64_MAX;
    return policy_stuck_at(child->state == CHILD_READY, child->heard_ms);
}

uint64_t slot_deadline(const struct slot *slot)
{
    uint64_t one = child_deadline(&slot->child[0]), other = child_deadline(&slot->child[1]);
    return one < other ? one : other;
}

static void check_child(const struct slot *slot, struct child *child, uint64_t now_ms)
{
    if (now_ms < child_deadline(child))
        return;
    if (child->state == CHILD_STOPPING) {
        log_warn("%s did not stop in time: killed", slot->name);
        child->kill_at_ms = UINT64_MAX;
    } else {
        log_warn("%s[%d] has said nothing for %" PRIu64 " s: killed", slot->name, (int)child->pid,
                 (now_ms - child->heard_ms) / 1000);
        child->heard_ms = now_ms; /* once */
    }
    kill_child(child);
}

void slot_check(struct slot *slot, uint64_t now_ms)
{
    for (unsigned lane = 0; lane < RUN_LANES; lane++)
        check_child(slot, &slot->child[lane], now_ms);
}

void slot_forgive(struct slot *slot, uint64_t now_ms)
{
    for (unsigned lane = 0; lane < RUN_LANES; lane++)
        slot->child[lane].heard_ms = now_ms;
}

void slot_log_level(struct slot *slot, enum log_level level)
{
    const union sigval value = {.sival_int = (int)level};
    for (unsigned lane = 0; lane < RUN_LANES; lane++) {
        struct child *child = &slot->child[lane];
        if (child->state != CHILD_READY || child->level == level)
            continue;
        child->level = level;
        sigqueue(child->pid, SIGRTMIN, value);
    }
}

const char *slot_state(const struct slot *slot)
{
    static const char *const states[] = {"down", "starting", "ready", "stopping"};
    return states[slot->child[slot->lane].state];
}

void slot_log(const struct slot *slot, uint64_t now_ms)
{
    const struct child *child = &slot->child[slot->lane];
    bool alive = child->state != CHILD_NONE;
    uint64_t up = alive ? (now_ms - child->started_ms) / 1000 : 0;
    log_info("status: %s pid %d %s, up %" PRIu64 " s, %u restarts, last end: %s", slot->name,
             alive ? (int)child->pid : 0, slot_state(slot), up,
             slot->starts > 0 ? slot->starts - 1 : 0, *slot->reason ? slot->reason : "none");
}
