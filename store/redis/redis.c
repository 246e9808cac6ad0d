/*
 * redis - the engine whose data is in a Redis server or a Redis Cluster. Runs in store-redis.
 *
 * submit() appends a command to the connection of its database or node, settle() writes once per
 * connection, answers complete as they come. Nothing waits for Redis: the store's loop watches the
 * engine's epoll descriptor, and a timer wakes it for what is due.
 *
 * What can go wrong, for a request:
 *     Redis refuses it                 it was not carried out: see fault.h; by a server that is the
 *                                      wrong one, it is sent once more when we have connected anew
 *     the connection ends before it    it was not carried out: sent again
 *       was all written
 *     the connection ends after that   what must not be done twice (ONCE in its row) is answered
 *                                      STATUS_UNKNOWN; everything else is sent again
 *     it is due                        STATUS_UNKNOWN for one of those that was sent, else
 *                                      STATUS_UNAVAILABLE
 * New requests for a server that is away, or refuses us, are refused at once.
 *
 * DIAGNOSTICS  Errors of Redis that an operator must see to are logged, at most one per second.
 */
#include "store/redis/redis.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "store/redis/alarm.h"
#include "store/redis/answer.h"
#include "store/redis/call.h"
#include "store/redis/figures.h"
#include "store/redis/layout.h"
#include "store/redis/script.h"
#include "store/redis/slot.h"

#define MS       1000000ull
#define RETRY_NS (5 * MS)    /* between looks at requests that wait for a server */
#define PAUSE_NS (20 * MS)   /* before what Redis would not do now is tried again */
#define QUIET_NS (1000 * MS) /* between complaints */

enum {
    BATCH = 128,        /* requests of one channel before the next has its turn */
    EVENTS = 64,        /* taken from epoll at once */
    REDIRECTED_MAX = 8, /* times that a request is sent on without a pause */
};

struct engine {
    struct engine_callbacks callbacks;
    const struct conf *conf;
    struct conf_url url;
    int epoll_fd;
    struct redis_alarm alarm;
    uint64_t now_ns; /* of this round */
    struct redis_links links;
    struct redis_map *map;      /* of a cluster, or NULL */
    struct redis_checks checks; /* knows the links of a single server */
    bool stalled;               /* the single server: it is the same for all databases */
    struct redis_open open;
    struct redis_queue waiting; /* for a server */
    struct buffer scratch;
    struct api_pool pool; /* a message of a request or an answer */
    uint64_t quiet_ns;    /* no complaint before this */
    struct redis_figures figures;
};

/* ---- The end of a call ---- */

static void finish(struct engine *engine, struct redis_call *call, const struct reply *reply)
{
    engine->callbacks.complete(engine->callbacks.context, call->channel, call->sequence, reply);
    redis_open_remove(&engine->open, call);
    call->answered = true;
    if (reply->status == STATUS_UNKNOWN)
        engine->figures.unknown++;
    if (!call->linked)
        free(call);
}

static void finish_with(struct engine *engine, struct redis_call *call, enum status status)
{
    struct reply reply = {.status = status};
    finish(engine, call, &reply);
}

/* The text goes to the client; empty: the text of the status does. */
static void finish_saying(struct engine *engine, struct redis_call *call, enum status status,
                          const char *text)
{
    char said[2 * REDIS_TEXT_MAX];
    snprintf(said, sizeof said, "%s%s", call->asked ? "" : "redis: ", text);
    struct reply reply = {.status = status, .value = bytes_of(*text ? said : "")};
    finish(engine, call, &reply);
}

/* The server is away, or refuses us. */
static void finish_hopeless(struct engine *engine, struct redis_call *call,
                            const struct redis_link *link)
{
    const char *why;
    bool refused = redis_link_trouble(link, &why) == STATUS_REFUSED;
    finish_saying(engine, call, refused ? STATUS_REFUSED : STATUS_UNAVAILABLE, refused ? why : "");
}

/* Everything else leaves the same behind when it is done twice. */
static bool once_only(const struct redis_call *call)
{
    return op_info(call->request.op)->repeat == OP_ONCE;
}

/* ---- On its way ---- */

static void call_done(struct redis_item *item, struct redis_link *link, const redisReply *answer,
                      bool sent);

static void wait_for_server(struct engine *engine, struct redis_call *call)
{
    redis_queue_add(&engine->waiting, call);
}

static bool takes_message(const struct redis_call *call)
{
    return op_info(call->request.op)->takes == OP_TAKES_MESSAGE;
}

/* False: the message does not parse. */
static bool make_command(struct engine *engine, const struct redis_call *call,
                         struct redis_command *command_r)
{
    const struct redis_terms terms = {clock_service_ms(), engine->conf->max_set,
                                      engine->conf->max_value};
    if (takes_message(call))
        return redis_script_make(command_r, &call->request, call->key, &terms, &engine->pool);
    redis_command_make(command_r, &call->request, call->key, &terms);
    return true;
}

static void send_to(struct engine *engine, struct redis_call *call, struct redis_link *link,
                    bool asking)
{
    struct redis_command command;
    if (!make_command(engine, call, &command)) {
        finish_with(engine, call, STATUS_INVALID);
        return;
    }
    call->item.done = call_done;
    call->item.asking = asking;
    call->linked = true;
    engine->figures.repeated += call->repeated;
    redis_link_append(link, &call->item, &command, engine->now_ns);
}

static struct redis_link *link_of(struct engine *engine, const struct redis_call *call)
{
    if (engine->map)
        return redis_map_link(engine->map, redis_slot(call->key));
    return engine->checks.databases[op_info(call->request.op)->service];
}

/* Whether the backend works: it waits until all that is needed was tried. */
static void probe(struct engine *engine, struct redis_call *call)
{
    const char *why;
    enum status status = STATUS_RETRY;
    if (call->asked)
        status = redis_checks_result(&engine->checks, &why);
    else
        redis_checks_ask(&engine->checks, engine->now_ns);
    call->asked = true;
    if (status == STATUS_RETRY)
        wait_for_server(engine, call);
    else
        finish_saying(engine, call, status, why);
}

/* A worker of 0.2.0 asks the key/value service, also where that is kept elsewhere. */
static bool is_probe(const struct engine *engine, const struct redis_call *call)
{
    const struct op_info *info = op_info(call->request.op);
    return !info->write &&
           (call->request.number == KV_GET_PROBE || !engine->checks.used[info->service]);
}

static void route(struct engine *engine, struct redis_call *call)
{
    if (is_probe(engine, call)) {
        probe(engine, call);
        return;
    }
    struct redis_link *link = link_of(engine, call);
    if (!link)
        finish_with(engine, call, STATUS_INVALID); /* a service that is not kept here */
    else if (engine->now_ns >= call->deadline_ns)
        finish_with(engine, call, STATUS_DEADLINE);
    else if (redis_link_ready(link) && !engine->stalled)
        send_to(engine, call, link, false);
    else if (call->patient || !(redis_link_hopeless(link) || engine->stalled))
        wait_for_server(engine, call);
    else
        finish_hopeless(engine, call, link);
}

/* ---- When Redis refuses ---- */

static void complain(struct engine *engine, const struct redis_call *call,
                     const struct redis_link *link, const char *text)
{
    if (engine->now_ns < engine->quiet_ns)
        return;
    engine->quiet_ns = engine->now_ns + QUIET_NS;
    log_error("redis %s:%u refuses %s: %s", redis_link_host(link), redis_link_port(link),
              op_info(call->request.op)->name, text);
}

static void pause_call(struct engine *engine, struct redis_call *call)
{
    call->patient = true;
    call->pause_ns = engine->now_ns + PAUSE_NS;
    wait_for_server(engine, call);
}

static void redirect(struct engine *engine, struct redis_call *call, struct redis_link *from,
                     enum redis_fault fault, struct bytes text)
{
    struct redis_target target;
    if (!engine->map || !redis_fault_target(text, &target)) {
        const char *why =
            engine->map ? "garbled redirection" : "it is a cluster: set cluster = yes in [redis]";
        complain(engine, call, from, why);
        finish_saying(engine, call, engine->map ? STATUS_UNAVAILABLE : STATUS_REFUSED, why);
        return;
    }
    engine->figures.redirected++;
    if (fault == FAULT_MOVED)
        redis_map_moved(engine->map, &target, from);
    struct redis_link *link = redis_map_node(engine->map, &target, from);
    call->patient = true;
    if (++call->redirected % REDIRECTED_MAX == 0 || !link)
        pause_call(engine, call);
    else if (redis_link_ready(link))
        send_to(engine, call, link, fault == FAULT_ASK);
    else
        wait_for_server(engine, call);
}

static void refused(struct engine *engine, struct redis_call *call, struct redis_link *link,
                    const redisReply *answer)
{
    struct bytes text = {(const uint8_t *)answer->str, answer->len};
    enum redis_fault fault = redis_fault_of(text);
    char shown[REDIS_TEXT_MAX];
    redis_fault_text(text, shown, sizeof shown);
    engine->figures.faults[fault]++;
    bool renews = redis_checks_blame(&engine->checks, link, text, engine->now_ns);
    if (engine->map && (renews || fault == FAULT_WAIT || fault == FAULT_READ_ONLY))
        redis_map_doubt(engine->map);
    if (fault == FAULT_MOVED || fault == FAULT_ASK) {
        redirect(engine, call, link, fault, text);
        return;
    }
    if (renews || fault == FAULT_WAIT || fault == FAULT_ELSEWHERE) {
        pause_call(engine, call);
        return;
    }
    if (fault == FAULT_ACCESS || fault == FAULT_OTHER)
        complain(engine, call, link, shown);
    enum status status = redis_fault_status(fault);
    bool says = status == STATUS_REFUSED || status == STATUS_UNAVAILABLE;
    finish_saying(engine, call, status, says ? shown : "");
}

/* ---- When Redis answers, or will not any more ---- */

static void lost(struct engine *engine, struct redis_call *call, bool sent)
{
    if (sent && once_only(call)) {
        finish_with(engine, call, STATUS_UNKNOWN);
        return;
    }
    call->repeated |= sent;
    call->patient = true;
    wait_for_server(engine, call);
}

static void call_done(struct redis_item *item, struct redis_link *link, const redisReply *answer,
                      bool sent)
{
    struct redis_call *call = (struct redis_call *)item;
    struct engine *engine = call->engine;
    call->linked = false;
    if (call->answered) {
        free(call);
    } else if (!answer) {
        lost(engine, call, sent);
    } else if (answer->type == REDIS_REPLY_ERROR) {
        refused(engine, call, link, answer);
    } else {
        const struct redis_asked asked = {.op = call->request.op,
                                          .number = call->request.number,
                                          .repeated = call->repeated,
                                          .max_value = engine->conf->max_value,
                                          .max_items = engine->links.options.answer_max};
        struct reply reply = takes_message(call)
                                 ? redis_script_answer(asked.op, answer, &engine->pool)
                                 : redis_answer(&asked, answer, &engine->scratch);
        if (reply.status == STATUS_INTERNAL)
            complain(engine, call, link, "an answer of the wrong kind");
        finish(engine, call, &reply);
    }
}

/* ---- Time ---- */

static void retry_waiting(struct engine *engine)
{
    struct redis_queue waiting = engine->waiting;
    struct redis_call *call;
    engine->waiting = (struct redis_queue){0};
    while ((call = redis_queue_take(&waiting))) {
        if (engine->now_ns >= call->due_ns)
            finish_with(engine, call, STATUS_UNAVAILABLE);
        else if (engine->now_ns < call->pause_ns)
            wait_for_server(engine, call);
        else
            route(engine, call);
    }
}

/* Those that a link still has stay there, so that their answers are known when they come. Those
 * that wait were seen to just before. */
static void expire(struct engine *engine)
{
    struct redis_call *call;
    while ((call = engine->open.oldest) && engine->now_ns >= call->due_ns)
        finish_with(engine, call, once_only(call) ? STATUS_UNKNOWN : STATUS_UNAVAILABLE);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void take_events(struct engine *engine)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(engine->epoll_fd, events, EVENTS, 0);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr)
            redis_link_event(events[i].data.ptr, events[i].events, engine->now_ns);
        else
            redis_alarm_rang(&engine->alarm);
    }
}

static void poll(struct engine *engine, uint64_t now_ns)
{
    engine->now_ns = now_ns;
    take_events(engine);
    uint64_t next = redis_links_tend(&engine->links, now_ns);
    if (engine->map)
        next = sooner(next, redis_map_tend(engine->map, now_ns));
    else
        engine->stalled = redis_links_stalled(&engine->links);
    next = sooner(next, redis_checks_tend(&engine->checks, now_ns));
    retry_waiting(engine);
    expire(engine);
    redis_links_flush(&engine->links);
    if (engine->open.oldest)
        next = sooner(next, engine->open.oldest->due_ns);
    if (engine->waiting.first)
        next = sooner(next, now_ns + RETRY_NS);
    redis_alarm_set(&engine->alarm, next);
}

/* ---- The engine's table ---- */

static struct redis_call *admit(struct engine *engine, const struct engine_call *from)
{
    enum service service = op_info(from->request.op)->service;
    struct redis_call *call =
        redis_call_new(from, engine->checks.prefixed ? redis_prefix(service) : "");
    call->engine = engine;
    call->due_ns = engine->now_ns + engine->conf->redis_timeout_ms * MS;
    redis_open_add(&engine->open, call);
    return call;
}

/* It was never sent, so it does not matter whether a predecessor had it. */
static bool refuse_unsupported(struct engine *engine, const struct engine_call *from)
{
    const struct op_info *info = op_info(from->request.op);
    if (info->takes != OP_TAKES_MESSAGE || redis_script_has(from->request.op))
        return false;
    char text[128];
    snprintf(text, sizeof text, "the redis backend cannot do %s; memory and disk can", info->name);
    const struct reply reply = {.status = STATUS_UNSUPPORTED, .value = bytes_of(text)};
    engine->callbacks.complete(engine->callbacks.context, from->channel, from->sequence, &reply);
    return true;
}

static void submit(struct engine *engine, const struct engine_call *from)
{
    if (!refuse_unsupported(engine, from))
        route(engine, admit(engine, from));
}

/* A predecessor may have sent it. */
static void replay(struct engine *engine, const struct engine_call *from)
{
    if (refuse_unsupported(engine, from))
        return;
    struct redis_call *call = admit(engine, from);
    if (once_only(call)) {
        finish_with(engine, call, STATUS_UNKNOWN);
        return;
    }
    call->repeated = true;
    call->patient = true;
    route(engine, call);
}

static void settle(struct engine *engine)
{
    redis_links_flush(&engine->links);
    if (engine->open.oldest)
        redis_alarm_set(&engine->alarm, engine->open.oldest->due_ns);
}

static void forget(struct engine *engine, uint32_t channel)
{
    (void)engine; /* what was sent for a channel is written in the channel */
    (void)channel;
}

static void hit(struct engine *engine, uint64_t word)
{
    (void)engine; /* no arena, no hits */
    (void)word;
}

static bool tend(struct engine *engine, uint64_t now_wall_ms)
{
    (void)engine; /* Redis does its own housekeeping */
    (void)now_wall_ms;
    return false;
}

static int engine_fd(const struct engine *engine)
{
    return engine->epoll_fd;
}

static void set_figures(const struct engine *engine, struct figures_page *page)
{
    redis_figures_set(page, &engine->figures, &engine->links);
}

/* ---- Opening and closing ---- */

static struct engine *open_engine(const struct run_child *child,
                                  const struct engine_callbacks *callbacks)
{
    const char *why;
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        panic("out of memory");
    engine->callbacks = *callbacks;
    engine->conf = &child->conf;
    if (!conf_url_parse(child->conf.redis_url, &engine->url, &why))
        run_child_fail(RUN_EXIT_CONFIG, "[redis] url %s", why);
    engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (engine->epoll_fd < 0 || !redis_alarm_open(&engine->alarm, engine->epoll_fd))
        run_child_fail(RUN_EXIT_FAILURE, "no descriptors for Redis: %s", strerror(errno));
    const struct redis_link_options options = {
        .epoll_fd = engine->epoll_fd, .url = &engine->url, .figures = &engine->figures.links};
    engine->map = redis_layout_open(&engine->links, &engine->checks, engine->conf, &options);
    engine->now_ns = clock_ns();
    api_pool_open(&engine->pool);
    return engine;
}

/* Waits for the answers to what is under way, which takes [redis] timeout at most. */
static void drain(struct engine *engine)
{
    uint64_t end = clock_ns() + engine->conf->drain_timeout_ms * MS / 2;
    while (engine->open.oldest && clock_ns() < end) {
        struct epoll_event event;
        (void)epoll_wait(engine->epoll_fd, &event, 1, 10);
        poll(engine, clock_ns());
    }
}

/* What could not be answered in time is the successor's. */
static void close_engine(struct engine **engine)
{
    struct redis_call *call;
    drain(*engine);
    redis_links_close(&(*engine)->links);
    while ((call = redis_queue_take(&(*engine)->waiting)))
        free(call);
    if ((*engine)->map)
        redis_map_close(&(*engine)->map);
    close((*engine)->epoll_fd);
    redis_alarm_close(&(*engine)->alarm);
    buffer_free(&(*engine)->scratch);
    api_pool_reset(&(*engine)->pool);
    free(*engine);
    *engine = NULL;
}

const struct engine_ops redis_engine = {
    .backend = BACKEND_REDIS,
    .batch = BATCH,
    .open = open_engine,
    .close = close_engine,
    .forget = forget,
    .submit = submit,
    .replay = replay,
    .settle = settle,
    .hit = hit,
    .tend = tend,
    .fd = engine_fd,
    .poll = poll,
    .figures = set_figures,
};
