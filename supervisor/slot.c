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

void slot_init(struct slot *slot, const struct role *role, const struct conf *conf, unsigned number)
{
    *slot = (struct slot){.role = role, .number = number, .waiting = true};
    slot->child.status.fd = slot->child.log.fd = -1;
    role->name(conf, number, slot->name);
}

/* Decides about the next start after a death. */
static void schedule(struct slot *slot, bool was_ready, uint64_t ready_for_ms, uint64_t now_ms)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (uint32_t)now_ms;
    uint64_t delay = policy_restart(&slot->policy, was_ready, ready_for_ms, random);
    slot->deaths++;
    slot->waiting = true;
    slot->start_at_ms = now_ms + delay;
    log_warn("%s ended (%s); starting it again in %" PRIu64 " ms", slot->name, slot->reason, delay);
}

void slot_start(struct slot *slot, const struct slot_world *world, uint64_t now_ms)
{
    struct fd_map map = {0};
    struct buffer why = {0};
    struct child_plan plan = {.directory = world->directory,
                              .program = slot->role->program,
                              .name = slot->name,
                              .has_lane = slot->role->worker,
                              .lane = slot->lane,
                              .shared = world->shared,
                              .map = &map};
    slot->role->descriptors(world->conf, world->shared, slot->number, slot->lane, &map);
    slot->waiting = false;
    slot->starts++;
    if (child_start(&slot->child, &plan, now_ms, &why) != STATUS_OK) {
        snprintf(slot->reason, sizeof slot->reason, "%.*s", (int)why.len, (const char *)why.data);
        schedule(slot, false, 0, now_ms);
    }
    buffer_free(&why);
}

int slot_ended(struct slot *slot, int wait_status, uint64_t now_ms)
{
    struct child *child = &slot->child;
    bool asked = child->state == CHILD_STOPPING;
    pid_t pid = child->pid;
    child_end(child, wait_status, slot->reason, sizeof slot->reason);
    if (asked)
        log_info("%s[%d] stopped", slot->name, (int)pid);
    else
        schedule(slot, child->was_ready, child->was_ready ? now_ms - child->ready_ms : 0, now_ms);
    return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
}

void slot_stop(struct slot *slot)
{
    slot->waiting = false;
    if (!slot_alive(slot))
        return;
    slot->child.state = CHILD_STOPPING;
    kill(slot->child.pid, SIGTERM);
}

void slot_kill(struct slot *slot)
{
    if (slot_alive(slot))
        kill(slot->child.pid, SIGKILL);
}

struct status_context {
    struct slot *slot;
    uint64_t now_ms;
};

static void take_status(void *context, char *line)
{
    struct status_context *status = context;
    struct slot *slot = status->slot;
    if (child_told(&slot->child, slot->name, line, status->now_ms))
        log_info("%s[%d] is ready after %" PRIu64 " ms", slot->name, (int)slot->child.pid,
                 status->now_ms - slot->child.started_ms);
}

void slot_read_status(struct slot *slot, uint64_t now_ms)
{
    struct status_context context = {slot, now_ms};
    lines_read(&slot->child.status, take_status, &context);
}

static void take_log(void *context, char *line)
{
    struct slot *slot = context;
    snprintf(slot->child.last_line, sizeof slot->child.last_line, "%s", line);
    lines_relay(line);
}

void slot_read_log(struct slot *slot)
{
    lines_read(&slot->child.log, take_log, slot);
}

uint64_t slot_silence_ends(const struct slot *slot)
{
    const struct child *child = &slot->child;
    if (child->state != CHILD_STARTING && child->state != CHILD_READY)
        return UINT64_MAX;
    return policy_stuck_at(child->state == CHILD_READY, child->heard_ms);
}

void slot_check_silence(struct slot *slot, uint64_t now_ms)
{
    struct child *child = &slot->child;
    if (now_ms < slot_silence_ends(slot))
        return;
    log_warn("%s[%d] has said nothing for %" PRIu64 " s: killed", slot->name, (int)child->pid,
             (now_ms - child->heard_ms) / 1000);
    child->heard_ms = now_ms; /* once */
    slot_kill(slot);
}

void slot_log(const struct slot *slot, uint64_t now_ms)
{
    static const char *const states[] = {"down", "starting", "ready", "stopping"};
    const struct child *child = &slot->child;
    uint64_t up = slot_alive(slot) ? (now_ms - child->started_ms) / 1000 : 0;
    log_info("status: %s pid %d %s, up %" PRIu64 " s, %u restarts, last end: %s", slot->name,
             slot_alive(slot) ? (int)child->pid : 0, states[child->state], up,
             slot->starts > 0 ? slot->starts - 1 : 0, *slot->reason ? slot->reason : "none");
}
