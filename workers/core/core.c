/*
 * core - see core.h. Runs in every worker; ends the process when what the supervisor handed down
 * cannot be used, and by panic when memory runs out.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "proto/base/clock.h"
#include "workers/core/internal.h"
#include "workers/core/namespace.h"

/* Bytes of the scratch buffer that are kept for the next value. */
enum { SCRATCH_MAX = 8 << 20 };

/* ---- Opening ---- */

static struct core_store *open_store(struct core *core, enum backend backend)
{
    const struct run_child *child = core->child;
    int fd = RUN_FD_BACKEND + RUN_BACKEND_FDS * (int)backend;
    char reason[256], url[600];
    struct core_store *store = calloc(1, sizeof *store);
    if (!store)
        panic("out of memory: a store's state");
    store->core = core;
    TAILQ_INIT(&store->for_slot);
    TAILQ_INIT(&store->for_stage);
    TAILQ_INIT(&store->for_fetch);
    TAILQ_INIT(&store->for_turn);
    store->backend = backend;
    store->absent_is_final = core_absent_is_final(backend);
    if (run_has_arena(backend) &&
        !arena_reader_open(&store->reader, fd + RUN_BACKEND_ARENA, reason, sizeof reason))
        run_child_fail(RUN_EXIT_FAILURE, "the arena of the %s backend: %s", backend_name(backend),
                       reason);
    struct channel_memory *memory =
        channel_map(fd + RUN_BACKEND_CHANNEL, false, reason, sizeof reason);
    if (!memory)
        run_child_fail(RUN_EXIT_FAILURE, "the channel to the %s backend: %s", backend_name(backend),
                       reason);
    channel_worker_open(&store->channel, memory, fd + RUN_BACKEND_DOORBELL);
    store->places = channel_places_open(fd + RUN_BACKEND_CHANNEL);
    channel_places_clear(&store->places); /* of what a predecessor did not read */
    run_link_url(&child->conf, backend, url);
    store->transfer =
        transfer_open(url, child->name, child->channel, memory, reason, sizeof reason);
    if (!store->transfer)
        run_child_fail(RUN_EXIT_FAILURE, "the link to the %s backend: %s", backend_name(backend),
                       reason);
    core->stores[backend] = store;
    return store;
}

struct core *core_open(const struct run_child *child)
{
    struct core *core = calloc(1, sizeof *core);
    if (!core)
        panic("out of memory: the core");
    core->child = child;
    core_figures_open(core);
    struct core_store **end = &core->first;
    for (enum backend backend = 0; backend < BACKEND_COUNT; backend++)
        if (conf_uses(&child->conf, backend)) {
            *end = open_store(core, backend);
            end = &(*end)->next;
        }
    if (!core->first)
        panic("no backend is in use");
    core_budget_open(core, protocol_of(&child->conf, child->protocol)->max_memory);
    return core;
}

static void close_store(struct core_store *store)
{
    if (store->probe.state.phase != PHASE_CLOSED)
        core_detach(&store->probe);
    transfer_close(&store->transfer);
    channel_unmap(&store->channel.memory);
    if (store->reader.base)
        arena_reader_close(&store->reader);
    free(store);
}

void core_close(struct core **core)
{
    core_budget_close(*core);
    for (struct core_store *store = (*core)->first, *next; store; store = next) {
        next = store->next;
        close_store(store);
    }
    deadlines_free(&(*core)->deadlines);
    buffer_free(&(*core)->scratch);
    buffer_free(&(*core)->answer);
    free(*core);
    *core = NULL;
}

/* ---- A call's beginning ---- */

/* Answered at once: status, and error unless it is STATUS_OK. */
static bool answer(struct core *core, struct core_call *call, enum status status, const char *error)
{
    call->reply.status = status;
    call->error = error;
    core_count_ended(core, call);
    if (log_level() == LOG_DEBUG)
        core_trace(core, call, "local");
    return true;
}

static uint64_t deadline_of(const struct core *core, const struct core_call *call)
{
    uint64_t latest = call->state.started_ns + core->child->conf.request_timeout_ms * 1000000;
    return call->deadline_ns != 0 && call->deadline_ns < latest ? call->deadline_ns : latest;
}

bool core_start(struct core *core, struct core_call *call)
{
    const struct op_info *info = op_info(call->request.op);
    if (!info)
        panic("operation %d does not exist", (int)call->request.op);
    call->state = (struct core_state){.started_ns = clock_ns()};
    call->reply = (struct reply){0};
    core_find_namespace(&call->request);
    enum status status =
        core_check(&call->request, core->child->conf.max_value, core->error, sizeof core->error);
    if (status != STATUS_OK)
        return answer(core, call, status, core->error);
    struct core_store *store = core->stores[core->child->conf.services[info->service]];
    if (!info->write && info->takes != OP_TAKES_MESSAGE) {
        status = core_read_local(store, &call->request, &call->reply);
        if (status == STATUS_OK && call->value_max > 0 && call->reply.value.len > call->value_max) {
            call->reply.status = STATUS_RETRY;
            return true;
        }
        figures_count(core->figures,
                      status == STATUS_RETRY ? FIGURE_READS_FORWARDED : FIGURE_READS_LOCAL, 1);
        if (status != STATUS_RETRY)
            return answer(core, call, status, status_info(status)->text);
    }
    call->state.deadline_ns = deadline_of(core, call);
    if (call->state.deadline_ns <= call->state.started_ns)
        return answer(core, call, STATUS_DEADLINE, status_info(STATUS_DEADLINE)->text);
    core_enter(core, store, call);
    return false;
}

void core_cancel(struct core *core, struct core_call *call)
{
    core_detach(call);
    core_leave(core, call);
}

unsigned core_open_calls(const struct core *core)
{
    return core->deadlines.count - core->probes;
}

/* ---- The event loop's side ---- */

static void add_fd(int epoll_fd, int fd, uint32_t events, void *tag)
{
    struct epoll_event event = {.events = events, .data.ptr = tag};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        run_child_fail(RUN_EXIT_FAILURE, "epoll_ctl: %s", strerror(errno));
}

void core_add_fds(struct core *core, int epoll_fd, void *tag)
{
    /* Edge-triggered: each ring is an edge, so the doorbell need never be read. */
    add_fd(epoll_fd, RUN_FD_DOORBELL, EPOLLIN | EPOLLET, tag);
    struct core_store *store;
    CORE_EACH_STORE(core, store)
    {
        add_fd(epoll_fd, transfer_fd(store->transfer), EPOLLIN, tag);
    }
}

static void expire(struct core *core, uint64_t now_ns)
{
    struct core_call *call;
    while ((call = deadlines_next(&core->deadlines)) && call->state.deadline_ns <= now_ns) {
        core_detach(call);
        core_end(call, STATUS_DEADLINE);
    }
}

static void poll_link(struct core_store *store, uint64_t now_ms)
{
    const char *why;
    transfer_poll(store->transfer, now_ms);
    bool refused = !transfer_accepted(store->transfer, &why);
    if (refused && !store->refused)
        log_error("store-%s refuses this worker: %s", backend_name(store->backend), why);
    store->refused = refused;
}

static bool has_message(const struct core_store *store)
{
    struct pollfd link = {.fd = transfer_fd(store->transfer), .events = POLLIN};
    return poll(&link, 1, 0) > 0;
}

/* The links want attention when they are in use or have something for us, else now and then. Most
 * of what is noticed is the doorbell, and asking nng costs ten times what poll() does. */
static void poll_links(struct core *core, uint64_t now_ms)
{
    struct core_store *store;
    bool due = now_ms - core->links_polled_ms >= CORE_LINK_POLL_MS;
    if (due)
        core->links_polled_ms = now_ms;
    CORE_EACH_STORE(core, store)
    {
        if (due || transfer_busy(store->transfer) || (core->noticed && has_message(store)))
            poll_link(store, now_ms);
    }
    core->noticed = false;
}

/* The links come last: they send what the others started. */
unsigned core_poll(struct core *core, uint64_t now_ns)
{
    struct core_store *store;
    core->ended = 0;
    if (core->scratch.capacity > SCRATCH_MAX)
        buffer_free(&core->scratch);
    if (core->answer.capacity > SCRATCH_MAX)
        buffer_free(&core->answer);
    CORE_EACH_STORE(core, store)
    {
        core_take_completions(store);
    }
    expire(core, now_ns);
    if (core->ready_waiters)
        core_ready_poll(core, now_ns);
    CORE_EACH_STORE(core, store)
    {
        core_admit(store);
    }
    poll_links(core, now_ns / 1000000);
    return core->ended;
}

void core_flush(struct core *core)
{
    struct core_store *store;
    CORE_EACH_STORE(core, store)
    {
        channel_worker_flush(&store->channel);
    }
}

static bool has_completion(struct core *core)
{
    struct core_store *store;
    CORE_EACH_STORE(core, store)
    {
        if (channel_worker_peek(&store->channel))
            return true;
    }
    return false;
}

/* Answers that were left for the next round. */
static bool has_more(const struct core *core)
{
    const struct core_store *store;
    CORE_EACH_STORE(core, store)
    {
        if (store->more)
            return true;
    }
    return false;
}

static bool in_rings(const struct core *core)
{
    const struct core_store *store;
    CORE_EACH_STORE(core, store)
    {
        if (store->submitted > 0)
            return true;
    }
    return false;
}

/* Waits a moment for a completion, awake: that spares both sides a ring and a wake-up. It yields,
 * in case the store is to run on this very processor. */
static bool spin(struct core *core, uint64_t now_ns)
{
    if (!in_rings(core))
        return false;
    for (uint64_t end = now_ns + CORE_SPIN_NS; clock_ns() < end;) {
        if (has_completion(core))
            return true;
        sched_yield();
    }
    return false;
}

/* Publishes that we sleep; false when a completion came meanwhile. */
static bool fall_asleep(struct core *core)
{
    struct core_store *store;
    CORE_EACH_STORE(core, store)
    {
        if (!channel_worker_sleep(&store->channel))
            return false;
    }
    return true;
}

static bool links_busy(const struct core *core)
{
    const struct core_store *store;
    CORE_EACH_STORE(core, store)
    {
        if (transfer_busy(store->transfer))
            return true;
    }
    return false;
}

int core_sleep(struct core *core, uint64_t now_ns)
{
    if (has_more(core) || has_completion(core) || spin(core, now_ns) || !fall_asleep(core))
        return 0;
    uint64_t wait_ms = CORE_SLEEP_MAX_MS;
    if (links_busy(core))
        wait_ms = CORE_LINK_POLL_MS;
    const struct core_call *next = deadlines_next(&core->deadlines);
    if (next) {
        uint64_t left = next->state.deadline_ns > now_ns ? next->state.deadline_ns - now_ns : 0;
        uint64_t left_ms = (left + 999999) / 1000000;
        wait_ms = left_ms < wait_ms ? left_ms : wait_ms;
    }
    return (int)wait_ms;
}

void core_awake(struct core *core, bool noticed)
{
    struct core_store *store;
    core->noticed = core->noticed || noticed;
    CORE_EACH_STORE(core, store)
    {
        channel_worker_awake(&store->channel);
    }
}
