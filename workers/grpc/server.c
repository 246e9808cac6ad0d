/*
 * server - see server.h. Runs in the gRPC workers; ends the process when epoll or a thread cannot
 * be had.
 *
 * Stopping: health says NOT_SERVING, no connection is accepted, and every connection gets GOAWAY
 * while its calls are still served: a client that has not read it yet, because it is slow or idle,
 * may go on calling. gRPC closes each connection when its client has, or has answered the ping that
 * comes with GOAWAY and has no call open. Then gRPC is shut down. What has not ended by
 * drain_timeout is cut off.
 */
#include "workers/grpc/server.h"

#include <errno.h>
#include <grpc/support/log.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/os.h"
#include "proto/figures/figures.h"
#include "workers/grpc/goaway.h"
#include "workers/grpc/reflection.h"
#include "workers/grpc/stream.h"
#include "workers/grpc/unknown.h"

enum {
    EVENTS = 16,
    METADATA_MAX = RPC_BLOCK_BYTES, /* beyond which gRPC closes the connection; see call.c */
    READ_MAX = 65536,  /* read from a socket at once; all of it is worked on before the next look */
    STREAMS_MAX = 256, /* calls at once on one connection */
    QUOTA = 2,         /* times the budget: beyond that gRPC itself closes connections */
    PING_STRIKES = 2,  /* pings too many, before a connection is closed */
    PING_INTERVAL_MS = 10000,  /* how often a client without calls may ping */
    KEEPALIVE_MS = 60000,      /* silence after which the server asks whether a client is there */
    KEEPALIVE_WAIT_MS = 20000, /* how long it waits for the answer */
    DRAIN_TURN_MS = 20,        /* how often draining is looked at */
    SWEEP_NS = 100000000,      /* how often connections are */
};
#define TURN_NS  1000000000u /* each thread comes round at least so often */
#define QUIET_NS 1000000000u /* draining without GOAWAY: no client will send a call any more */

static char tag_stop, tag_core;

/* ---- Opening ---- */

/* What gRPC logs is about its peers, and helps to find a fault. */
static void log_grpc(gpr_log_func_args *args)
{
    log_debug("gRPC: %s", args->message);
}

static grpc_arg setting(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

unsigned long long rpc_message_max(const struct conf *conf)
{
    return conf->max_value + MESSAGE_SPARE;
}

static grpc_server *create_server(const struct conf *conf, uint64_t budget)
{
    grpc_resource_quota *quota = grpc_resource_quota_create("grpc");
    grpc_resource_quota_resize(quota, QUOTA * budget);
    grpc_arg settings[] = {
        setting(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)rpc_message_max(conf)),
        setting(GRPC_ARG_MAX_METADATA_SIZE, METADATA_MAX),
        setting(GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_MAX),
        setting(GRPC_ARG_HTTP2_MAX_PING_STRIKES, PING_STRIKES),
        setting(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, PING_INTERVAL_MS),
        setting(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_MS),
        setting(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_WAIT_MS),
        setting(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        /* A compressed message may be a thousand times as long as the limit once it is inflated. */
        setting(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE),
        setting(GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0),
        setting(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0),
        setting(GRPC_ARG_ENABLE_CHANNELZ, 0),
        setting(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, READ_MAX),
        {.type = GRPC_ARG_POINTER,
         .key = GRPC_ARG_RESOURCE_QUOTA,
         .value.pointer = {quota, grpc_resource_quota_arg_vtable()}},
    };
    grpc_channel_args args = {sizeof settings / sizeof *settings, settings};
    grpc_server *server = grpc_server_create(&args, NULL);
    grpc_resource_quota_unref(quota);
    return server;
}

static void add_fd(struct rpc_server *server, int fd, void *tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        run_child_fail(RUN_EXIT_FAILURE, "epoll_ctl on descriptor %d: %s", fd, strerror(errno));
}

static void run_shut_down(struct rpc_tag *tag, bool ok)
{
    (void)ok;
    RPC_OF(tag, struct rpc_server, shut_down)->shut = true;
}

/* Abseil as Debian builds it follows the order of all locks, under one lock for the whole process:
 * a twentieth of a small call. This is absl::SetMutexDeadlockDetectionMode(kIgnore), where the
 * gRPC library has brought it. */
__attribute__((weak)) void
set_mutex_deadlock_detection(int mode) __asm__("_ZN4absl7debian329SetMutexDeadlockDetectionMode"
                                               "ENS0_15OnDeadlockCycleE");

static void quicken_locks(void)
{
    if (set_mutex_deadlock_detection)
        set_mutex_deadlock_detection(0);
}

/* Both are private symbols of C++ libraries, which another version may not have. */
static void log_symbols(void)
{
    log_info("gRPC %s: GOAWAY before stopping: %s; checks of the locks' order off: %s",
             grpc_version_string(), rpc_goaway_known() ? "yes" : "no, symbol not found",
             set_mutex_deadlock_detection ? "yes" : "no, symbol not found");
}

void rpc_server_open(struct rpc_server *server, struct run_child *child, struct core *core)
{
    *server = (struct rpc_server){.child = child, .core = core, .shut_down.run = run_shut_down};
    pthread_mutex_init(&server->lock, NULL);
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll_fd < 0)
        run_child_fail(RUN_EXIT_FAILURE, "epoll_create1: %s", strerror(errno));
    setenv("GRPC_POLL_STRATEGY", "epoll1", 1);
    gpr_set_log_function(log_grpc);
    quicken_locks();
    log_symbols();
    grpc_init();
    server->queue = grpc_completion_queue_create_for_next(NULL);
    server->grpc = create_server(&child->conf, core_budget_limit(core));
    grpc_server_register_completion_queue(server->grpc, server->queue, NULL);
    rpc_unary_register(server);
    rpc_health_register(server);
    rpc_reflection_register(server);
    grpc_server_start(server->grpc);
    rpc_unary_post(server);
    rpc_health_post(server);
    rpc_reflection_post(server);
    rpc_unknown_post(server);
    add_fd(server, child->stop_fd, &tag_stop);
    core_add_fds(core, server->epoll_fd, &tag_core);
    rpc_accept_open(server, (unsigned)child->conf.grpc.max_connections);
    rpc_intake_open(server->accept.descriptors, rpc_message_max(&child->conf),
                    core_budget_limit(core));
}

/* ---- The queue thread ---- */

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

static void work_on_core(struct rpc_server *server)
{
    uint64_t now_ns = clock_ns();
    server->attend = false;
    core_poll(server->core, now_ns);
    rpc_health_poll(server, now_ns);
    core_flush(server->core);
}

/* Works on the core and lets the thread that calls it block. Returns how long, in ns; 0 when there
 * is more to do at once. */
static uint64_t rest(struct rpc_server *server)
{
    work_on_core(server);
    rpc_cork_release(&server->cork);
    uint64_t now_ns = clock_ns();
    uint64_t core_ns = (uint64_t)core_sleep(server->core, now_ns) * 1000000;
    uint64_t watch_ns = rpc_unary_watch(server, now_ns);
    return earlier(core_ns, watch_ns);
}

/* The doorbell need not be rung for answers to what an event has started: they are looked for
 * before the thread blocks. */
static void stay_awake(struct rpc_server *server)
{
    if (server->busy || (core_open_calls(server->core) == 0 && !server->attend))
        return;
    server->busy = true;
    core_awake(server->core, false);
}

static gpr_timespec after(uint64_t ns)
{
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_nanos((int64_t)ns, GPR_TIMESPAN));
}

static void *run_queue(void *context)
{
    struct rpc_server *server = context;
    const gpr_timespec at_once = gpr_inf_past(GPR_CLOCK_MONOTONIC);
    gpr_timespec rest_at = at_once; /* asking the clock at each event would be dear */
    bool block = false;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(server->queue, block ? rest_at : at_once, NULL);
        server->turned = true;
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        pthread_mutex_lock(&server->lock);
        if (event.type == GRPC_OP_COMPLETE) {
            ((struct rpc_tag *)event.tag)->run(event.tag, event.success);
            core_flush(server->core);
            stay_awake(server);
            block = !server->busy && server->cork.count == 0;
        } else {
            uint64_t wait_ns = rest(server);
            server->busy = wait_ns == 0;
            block = !server->busy;
            rest_at = after(earlier(wait_ns, TURN_NS));
        }
        pthread_mutex_unlock(&server->lock);
    }
}

/* ---- Draining ---- */

static void start_draining(struct rpc_server *server, uint64_t now_ns)
{
    rpc_accept_stop(server);
    server->drain_end_ns = now_ns + server->child->conf.drain_timeout_ms * 1000000;
    pthread_mutex_lock(&server->lock);
    server->draining = true;
    server->last_call_ns = now_ns;
    rpc_health_drain(server);
    rpc_stream_end_all(server);
    pthread_mutex_unlock(&server->lock);
    rpc_goaway_send(server->grpc);
    log_info("draining: %u connections are open", rpc_intake_count());
}

static void drain(struct rpc_server *server, uint64_t now_ns)
{
    bool late = now_ns >= server->drain_end_ns;
    unsigned connections = rpc_intake_count();
    pthread_mutex_lock(&server->lock);
    bool quiet =
        !rpc_goaway_known() && server->calls == 0 && now_ns >= server->last_call_ns + QUIET_NS;
    bool close = !server->closing && (late || quiet || connections == 0);
    server->closing = server->closing || close;
    if (server->closing)
        rpc_unary_watch(server, UINT64_MAX); /* what is still open ends when it is cancelled */
    server->gone = server->shut && server->calls == 0;
    pthread_mutex_unlock(&server->lock);
    if (!close)
        return;
    if (late)
        log_warn("drain_timeout: %u connections are cut off", connections);
    grpc_server_shutdown_and_notify(server->grpc, server->queue, &server->shut_down);
    grpc_server_cancel_all_calls(server->grpc);
}

/* ---- The epoll thread ---- */

static void wait_for_events(struct rpc_server *server, uint64_t wait_ns)
{
    struct epoll_event events[EVENTS];
    bool noticed = false;
    int n = os_epoll_wait(server->epoll_fd, events, EVENTS, wait_ns);
    if (n < 0 && errno != EINTR)
        panic("epoll: %s", strerror(errno));
    uint64_t now_ns = clock_ns();
    for (int i = 0; i < n; i++) {
        if (rpc_accept_notice(server, events[i].data.ptr, now_ns))
            continue;
        if (events[i].data.ptr == &tag_core)
            noticed = true;
        else if (run_child_stopping(server->child) && server->drain_end_ns == 0)
            start_draining(server, now_ns);
    }
    pthread_mutex_lock(&server->lock);
    core_awake(server->core, noticed);
    pthread_mutex_unlock(&server->lock);
}

/* Shows in the core's budget what waits for messages. */
static void show_waiting(struct rpc_server *server)
{
    uint64_t waiting = rpc_intake_waiting();
    if (waiting < server->waiting)
        core_budget_give(server->core, server->waiting - waiting);
    else if (waiting == server->waiting ||
             !core_budget_take(server->core, waiting - server->waiting))
        return;
    server->waiting = waiting;
}

/* Looks through the connections when it is time; returns when it is, in ns. */
static uint64_t sweep(struct rpc_server *server, uint64_t now_ns)
{
    unsigned connections = rpc_intake_count();
    if (now_ns < server->swept_ns + SWEEP_NS)
        return connections > 0 ? server->swept_ns + SWEEP_NS - now_ns : UINT64_MAX;
    server->swept_ns = now_ns;
    pthread_mutex_lock(&server->lock);
    rpc_intake_sweep(now_ns);
    show_waiting(server);
    core_gauge(server->core, FIGURE_CONNECTIONS_OPEN, connections);
    core_count(server->core, FIGURE_CONNECTIONS_CUT, rpc_intake_cuts() - server->cuts);
    server->cuts = rpc_intake_cuts();
    pthread_mutex_unlock(&server->lock);
    return SWEEP_NS;
}

/* Returns how long to wait, in ns. */
static uint64_t turn(struct rpc_server *server)
{
    uint64_t now_ns = clock_ns();
    uint64_t wait_ns = TURN_NS;
    pthread_mutex_lock(&server->lock);
    if (server->busy) { /* the queue thread will come back to it, and may still block */
        work_on_core(server);
        rpc_cork_release(&server->cork);
    } else {
        wait_ns = rest(server);
    }
    pthread_mutex_unlock(&server->lock);
    rpc_accept_poll(server, now_ns);
    wait_ns = earlier(wait_ns, sweep(server, now_ns));
    if (server->drain_end_ns != 0) {
        drain(server, now_ns);
        wait_ns = earlier(wait_ns, DRAIN_TURN_MS * 1000000);
    }
    return earlier(wait_ns, rpc_accept_wait(server, now_ns));
}

static void beat(struct rpc_server *server)
{
    if (!server->turned)
        return;
    server->turned = false;
    run_child_beat(clock_ms());
}

void rpc_server_run(struct rpc_server *server)
{
    if (pthread_create(&server->queue_thread, NULL, run_queue, server) != 0)
        run_child_fail(RUN_EXIT_FAILURE, "pthread_create: %s", strerror(errno));
    while (!server->gone) {
        wait_for_events(server, turn(server));
        beat(server);
    }
    rpc_goaway_finish();
    grpc_completion_queue_shutdown(server->queue);
    pthread_join(server->queue_thread, NULL);
    grpc_server_destroy(server->grpc);
    grpc_completion_queue_destroy(server->queue);
    rpc_accept_close(server);
    rpc_intake_close();
    rpc_unary_free(server);
    buffer_free(&server->scratch);
    grpc_shutdown_blocking();
}
