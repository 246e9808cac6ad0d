/*
 * supervisor - see supervisor.h. The process that must never die: one thread, one epoll loop, no
 * shared memory mapped.
 *
 * Phases go one way: stores start, workers start, running, workers stop, stores stop, done. Before
 * "running" a process that cannot start ends it all (exit 1); after that everything that ends is
 * started again.
 *
 * Signals: SIGTERM and SIGINT stop in order, a second one at once; SIGHUP reads the configuration
 * file again; SIGUSR1 logs one line per process.
 */
#include "supervisor/supervisor.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "supervisor/announce.h"
#include "supervisor/command.h"
#include "supervisor/epoch.h"
#include "supervisor/fleet.h"
#include "supervisor/keep.h"
#include "supervisor/limits.h"
#include "supervisor/notify.h"
#include "supervisor/prepare.h"
#include "supervisor/roll.h"
#include "supervisor/roster.h"

enum {
    EVENTS_MAX = 64,
    SAME_SIGNAL_MS = 500, /* timeout(1) and others signal a process and its group: that is one */
    LOOK_MS = 1000,       /* between two looks for addresses that no interface has */
    LATE_MS = 1000,       /* the loop itself was stopped or starved for this long */
};

/* One per process: too large for a stack that should stay small. */
static struct supervisor supervisor;

static void kill_all(struct supervisor *s)
{
    struct slot *slot;
    log_warn("told to stop a second time: killing what still runs");
    s->exit_code = 1;
    s->phase = STOP_STORES;
    EACH_SLOT(s, slot)
    {
        slot_stop(slot, RUN_STOP_SERVICE, UINT64_MAX);
        slot_kill(slot);
    }
}

/* ---- Phases ---- */

/* Draining workers still need their stores; else nothing is started while stopping. */
static bool may_start(const struct supervisor *s, const struct slot *slot)
{
    if (slot->role->worker)
        return s->phase == START_WORKERS || s->phase == RUNNING;
    return s->phase <= STOP_WORKERS;
}

static void start_due(struct supervisor *s, uint64_t now_ms)
{
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        if (slot->waiting && slot->start_at_ms <= now_ms && may_start(s, slot))
            fleet_start(s, slot, false, now_ms);
    }
}

static void announce(const struct supervisor *s)
{
    announce_ready(s->conf, &s->shared);
    notify_send("READY=1\nSTATUS=running");
}

static void advance(struct supervisor *s, uint64_t now_ms)
{
    if (s->phase == START_STORES && fleet_all_ready(s, false))
        s->phase = START_WORKERS;
    roll_step(s, now_ms);
    command_step(s, now_ms);
    start_due(s, now_ms);
    if (s->phase == START_WORKERS && fleet_all_ready(s, false) && fleet_all_ready(s, true)) {
        s->phase = RUNNING;
        announce(s);
    }
    if (s->phase == STOP_WORKERS && !fleet_any_alive(s, true))
        fleet_enter_stop(s, STOP_STORES, now_ms);
    if (s->phase == STOP_STORES && !fleet_any_alive(s, false) && !fleet_any_alive(s, true))
        s->phase = DONE;
}

static void reap_child(struct supervisor *s, pid_t pid, int wait_status, uint64_t now_ms)
{
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        for (unsigned lane = 0; lane < RUN_LANES; lane++) {
            if (slot->child[lane].state == CHILD_NONE || slot->child[lane].pid != pid)
                continue;
            int code = slot_ended(slot, lane, wait_status, s->phase >= RUNNING, now_ms);
            fleet_judge_start(s, slot, code, now_ms);
            return;
        }
    }
}

static void reap_children(struct supervisor *s, uint64_t now_ms)
{
    int wait_status;
    pid_t pid;
    s->reap = false;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0)
        reap_child(s, pid, wait_status, now_ms);
}

/* ---- Signals ---- */

static void log_slots(struct supervisor *s, uint64_t now_ms)
{
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        slot_log(slot, now_ms);
    }
}

static void take_signal(struct supervisor *s, int number, uint64_t now_ms)
{
    switch (number) {
    case SIGCHLD:
        s->reap = true;
        break;
    case SIGHUP:
        s->reload_asked = true;
        s->keep.at_ms = now_ms;
        break;
    case SIGUSR1:
        log_slots(s, now_ms);
        break;
    default:
        if (s->phase < STOP_WORKERS) {
            log_info("%s: stopping", number == SIGINT ? "SIGINT" : "SIGTERM");
            fleet_stop(s, 0, now_ms);
        } else if (now_ms - s->told_at_ms >= SAME_SIGNAL_MS) {
            kill_all(s);
        }
    }
}

static void read_signals(struct supervisor *s, uint64_t now_ms)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == sizeof info)
        take_signal(s, (int)info.ssi_signo, now_ms);
}

static enum status open_signals(struct supervisor *s)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaddset(&set, numbers[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGUSR2, SIG_IGN);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->signal_fd < 0 || s->epoll_fd < 0)
        return STATUS_INTERNAL;
    return fleet_watch(s, s->signal_fd, fleet_token(FROM_SIGNALS, 0, 0));
}

/* ---- The loop ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When something is to be done even if nothing happens. */
static uint64_t next_deadline(struct supervisor *s)
{
    uint64_t next = earlier(ctl_deadline(&s->ctl), earlier(s->watchdog_at_ms, s->keep.at_ms));
    next = earlier(next, s->look_at_ms);
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        if (slot->waiting && may_start(s, slot))
            next = earlier(next, slot->start_at_ms);
        next = earlier(next, slot_deadline(slot));
    }
    return next;
}

static void dispatch(struct supervisor *s, uint64_t data, uint64_t now_ms)
{
    struct slot *slot = &s->slots[data >> 8 & 0xff];
    unsigned lane = data & 1;
    switch ((enum source)(data >> 32)) {
    case FROM_SIGNALS:
        read_signals(s, now_ms);
        break;
    case FROM_STATUS:
        slot_read_status(slot, lane, s->conf, now_ms);
        break;
    case FROM_LOG:
        slot_read_log(slot, lane, now_ms);
        break;
    case FROM_CTL:
        ctl_event(&s->ctl, data & 0xff, now_ms);
        break;
    case FROM_RUN_DIR:
        keep_event(s, now_ms);
        break;
    }
}

/*
 * What stopped us (a debugger, a suspended machine) may have stopped the children too. Then their
 * silence does not mean that they hang.
 */
static void judge_silence(struct supervisor *s, bool late, uint64_t now_ms)
{
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        if (late)
            slot_forgive(slot, now_ms);
        else
            slot_check(slot, now_ms);
    }
}

/* Whether every process that serves has given a sign of life, or is being dealt with. */
static bool all_heard(struct supervisor *s, uint64_t now_ms)
{
    struct slot *slot;
    EACH_SLOT(s, slot)
    {
        if (now_ms > slot_deadline(slot) && now_ms - slot_deadline(slot) > LATE_MS)
            return false;
    }
    return true;
}

/* The watchdog hears of us only while we do what we are for. */
static void feed_watchdog(struct supervisor *s, uint64_t now_ms)
{
    if (now_ms < s->watchdog_at_ms)
        return;
    s->watchdog_at_ms = now_ms + notify_watchdog_ms();
    if (all_heard(s, now_ms))
        notify_send("WATCHDOG=1");
}

/* Addresses that were away may have come. */
static void look_at_addresses(struct supervisor *s, uint64_t now_ms)
{
    bool away = false;
    if (now_ms < s->look_at_ms)
        return;
    for (unsigned i = 0; i < PROTOCOL_COUNT; i++)
        away |= listen_look((enum protocol)i, &s->shared.listen[i]);
    s->look_at_ms = away ? now_ms + LOOK_MS : UINT64_MAX;
}

static void run_round(struct supervisor *s)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t before_ms = clock_ms();
    uint64_t deadline = next_deadline(s);
    uint64_t wait = deadline > before_ms ? earlier(deadline - before_ms, 60000) : 0;
    int count = epoll_wait(s->epoll_fd, events, EVENTS_MAX, (int)wait);
    uint64_t now_ms = clock_ms();
    for (int i = 0; i < count; i++)
        dispatch(s, events[i].data.u64, now_ms);
    if (s->reap)
        reap_children(s, now_ms);
    if (count < EVENTS_MAX) /* else a sign of life may still be in a pipe */
        judge_silence(s, now_ms > before_ms + wait + LATE_MS, now_ms);
    feed_watchdog(s, now_ms);
    look_at_addresses(s, now_ms);
    ctl_check(&s->ctl, now_ms);
    keep_check(s, now_ms);
    advance(s, now_ms);
    roster_update(s, now_ms);
}

/* ---- Setting up ---- */

static void fill_slots(struct supervisor *s)
{
    for (unsigned r = 0; r < ROLE_COUNT; r++)
        for (unsigned i = 0; i < roles[r].limit; i++)
            if (roles[r].wanted(&roles[r], s->conf, i))
                slot_init(fleet_slot(s, &roles[r], i), &roles[r], i);
}

static enum status open_ctl(struct supervisor *s, struct buffer *why)
{
    s->ctl.epoll_fd = s->epoll_fd;
    s->ctl.token = fleet_token(FROM_CTL, 0, 0);
    s->ctl.handler = command_take;
    s->ctl.context = s;
    if (keep_open(s, clock_ms(), why) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    if (s->keep.fd >= 0 && fleet_watch(s, s->keep.fd, fleet_token(FROM_RUN_DIR, 0, 0)) != STATUS_OK)
        log_warn("run_dir cannot be watched: %s", strerror(errno));
    return STATUS_OK;
}

static enum status fit_limits(struct conf *conf, struct buffer *why)
{
    struct buffer notes = {0};
    conf_notes(conf, &notes);
    enum status status = limits_fit(conf, &notes, why);
    announce_lines(LOG_WARN, &notes);
    buffer_free(&notes);
    return status;
}

static enum status set_up(struct supervisor *s, struct buffer *why)
{
    if (prepare_programs(s->directory, sizeof s->directory, why) != STATUS_OK ||
        lock_take(&s->lock, s->conf, why) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    prepare_limits();
    if (fit_limits(s->conf, why) != STATUS_OK || shared_open(&s->shared, s->conf, why) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    epoch_choose(&s->shared, s->conf);
    if (open_signals(s) != STATUS_OK) {
        buffer_append_format(why, "no descriptor for signals: %s", strerror(errno));
        return STATUS_UNAVAILABLE;
    }
    s->world = (struct slot_world){s->conf, &s->shared, s->directory};
    fill_slots(s);
    return open_ctl(s, why);
}

int supervise(struct conf *conf, const char *path, const char *program)
{
    struct supervisor *s = &supervisor;
    struct buffer why = {0};
    s->conf = conf;
    s->loaded = *conf;
    s->path = path;
    s->program = program;
    s->started_ms = clock_ms();
    s->lock = LOCK_NONE;
    s->ctl.fd = s->keep.fd = -1;
    log_open(program, conf->log_level, conf->log_json);
    if (log_find_journal())
        unsetenv("JOURNAL_STREAM"); /* the children's lines go through us */
    notify_open();
    s->watchdog_at_ms = notify_watchdog_ms() ? s->started_ms : UINT64_MAX;
    if (set_up(s, &why) != STATUS_OK) {
        announce_failure(program, s->conf->log_json, &why);
        s->exit_code = 1;
    } else {
        notify_send("STATUS=starting");
        advance(s, clock_ms());
        while (s->phase != DONE)
            run_round(s);
        log_info("stopped");
    }
    buffer_free(&why);
    ctl_close(&s->ctl, s->conf->run_dir);
    lock_release(&s->lock);
    ctl_finish(&s->ctl); /* a client that waits for the end may start the next stratod now */
    return s->exit_code;
}
