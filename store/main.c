/*
 * main - a store process: one backend's engine behind every worker's rings. Started by the
 * supervisor as   strato-store store-BACKEND   (proto/run/run.h).
 *
 * One thread, one loop: take what waits in the rings, answer it, now and then look after the link
 * and expired records; when there is nothing to do, say so in every channel and block. Killed at
 * any instant, its successor takes up exactly where it stopped.
 *
 * DIAGNOSTICS  A channel or arena that cannot be used is reported as "fail" and ends the process.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "proto/base/clock.h"
#include "store/disk/disk.h"
#include "store/dispatch.h"
#include "store/memory/memory.h"
#include "store/redis/redis.h"
#include "store/talk.h"

enum {
    IDLE_MS = 200,    /* longest sleep, and between looks at the link's trouble */
    TEND_MS = 100,    /* between looks at what has expired */
    BUSY_ROUNDS = 64, /* rounds of work between looks at the link and at stopping, */
    LOOK_MS = 20,     /* or after so long */
    LINGER_MS = 1000, /* at the end, for long answers to be fetched */
    FIGURES_MS = 100, /* between times that the figures are written down */
};

struct store {
    struct run_child child;
    const struct engine_ops *ops;
    unsigned channels;
    struct channel_memory **memories;
    struct bulk *bulk;
    struct dispatch *dispatch;
    struct talk *talk;
    struct figures_page *figures;
    int epoll_fd;
    uint64_t tended_ms, talked_ms, looked_ms, figures_ms;
};

/* One line per backend that is built. */
static const struct engine_ops *const engines[BACKEND_COUNT] = {
    [BACKEND_MEMORY] = &memory_engine,
    [BACKEND_DISK] = &disk_engine,
    [BACKEND_REDIS] = &redis_engine,
};

static const struct engine_ops *engine_called(const char *name)
{
    for (int i = 0; i < BACKEND_COUNT; i++)
        if (engines[i] && strcmp(name + strlen("store-"), backend_name((enum backend)i)) == 0)
            return engines[i];
    return NULL;
}

static void map_channels(struct store *store)
{
    store->channels = run_channel_count(&store->child.conf);
    store->memories = calloc(store->channels, sizeof(struct channel_memory *));
    if (!store->memories)
        run_child_fail(RUN_EXIT_FAILURE, "out of memory: %u channels", store->channels);
    for (unsigned i = 0; i < store->channels; i++) {
        int fd = RUN_FD_CHANNEL + (int)i * RUN_CHANNEL_FDS + RUN_CHANNEL_MEMORY;
        char reason[256];
        store->memories[i] = channel_map(fd, true, reason, sizeof reason);
        if (!store->memories[i])
            run_child_fail(RUN_EXIT_FAILURE, "channel %u: %s", i, reason);
    }
}

static enum status make_snapshot(void *context, const char *name, struct engine_snapshot *result_r)
{
    const struct store *store = context;
    if (store->dispatch)
        return dispatch_snapshot(store->dispatch, name, result_r);
    *result_r = (struct engine_snapshot){.error = "the store is being restarted; try again"};
    return STATUS_UNAVAILABLE;
}

static void open_talk(struct store *store)
{
    char url[600], reason[256];
    run_link_url(&store->child.conf, store->ops->backend, url);
    const struct talk_options options = {
        .url = url,
        .name = store->child.name,
        .backend = store->ops->backend,
        .conf = &store->child.conf,
        .bulk = store->bulk,
        .channels = store->channels,
        .memories = store->memories,
        .snapshot = make_snapshot,
        .context = store,
    };
    store->talk = talk_open(&options, reason, sizeof reason);
    if (!store->talk)
        run_child_fail(RUN_EXIT_FAILURE, "cannot listen on %s: %s", url, reason);
}

static void watch(struct store *store, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(store->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        run_child_fail(RUN_EXIT_FAILURE, "cannot watch descriptor %d: %s", fd, strerror(errno));
}

static void start(struct store *store, int argc, char **argv)
{
    run_child_start(&store->child, argc, argv);
    store->ops = engine_called(store->child.name);
    if (!store->ops)
        run_child_fail(RUN_EXIT_CONFIG, "%s: this backend is not built", store->child.name);
    map_channels(store);
    store->figures = figures_begin(run_store_figures_fd(store->channels), store->ops->backend);
    const struct conf *conf = &store->child.conf;
    store->bulk = bulk_open(store->channels, conf->max_value + MESSAGE_SPARE,
                            conf->max_set > conf->max_value ? conf->max_set : conf->max_value);
    const struct dispatch_options options = {
        .ops = store->ops,
        .child = &store->child,
        .bulk = store->bulk,
        .channels = store->channels,
        .memories = store->memories,
    };
    store->dispatch = dispatch_open(&options);
    open_talk(store);
    store->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(store, RUN_FD_DOORBELL);
    watch(store, store->child.stop_fd);
    watch(store, talk_fd(store->talk));
    if (dispatch_fd(store->dispatch) >= 0)
        watch(store, dispatch_fd(store->dispatch));
}

/* Takes what epoll has to say. False when the process shall stop. */
static bool look(struct store *store, int timeout_ms)
{
    struct epoll_event events[4];
    int n = epoll_wait(store->epoll_fd, events, 4, timeout_ms);
    bool stop = false, spoken_to = false;
    for (int i = 0; i < n; i++) {
        if (events[i].data.fd == talk_fd(store->talk))
            spoken_to = true;
        else if (events[i].data.fd == RUN_FD_DOORBELL)
            doorbell_clear(RUN_FD_DOORBELL);
        else if (events[i].data.fd == store->child.stop_fd)
            stop = run_child_stopping(&store->child);
    }
    uint64_t now_ms = clock_ms();
    store->looked_ms = now_ms;
    if (spoken_to || now_ms - store->talked_ms >= IDLE_MS) {
        store->talked_ms = now_ms;
        talk_poll(store->talk, now_ms);
    }
    return !stop;
}

static void write_figures(struct store *store, uint64_t now_ms)
{
    store->figures_ms = now_ms;
    dispatch_figures(store->dispatch, store->figures);
    talk_figures(store->talk, store->figures);
}

/* Housekeeping, every TEND_MS or while there is more of it. */
static bool tend(struct store *store, uint64_t now_ms, bool more)
{
    if (!more && now_ms - store->tended_ms < TEND_MS)
        return false;
    store->tended_ms = now_ms;
    run_child_beat(now_ms);
    if (now_ms - store->figures_ms >= FIGURES_MS)
        write_figures(store, now_ms);
    return dispatch_tend(store->dispatch, clock_service_ms());
}

static bool block(struct store *store)
{
    int timeout = dispatch_sleep(store->dispatch) ? IDLE_MS : 0;
    bool go_on = look(store, timeout);
    dispatch_awake(store->dispatch);
    return go_on;
}

static void run(struct store *store)
{
    bool go_on = true, more = false;
    for (unsigned round = 1; go_on; round++) {
        unsigned taken = dispatch_round(store->dispatch);
        uint64_t now_ms = clock_ms();
        more = tend(store, now_ms, more);
        if (taken == 0 && !more)
            go_on = block(store);
        else if (round % BUSY_ROUNDS == 0 || now_ms - store->looked_ms >= LOOK_MS)
            go_on = look(store, 0);
    }
}

/* Waits until workers have fetched the long answers that would be lost with this process. */
static void linger(struct store *store)
{
    uint64_t now_ms = clock_ms(), end_ms = now_ms + LINGER_MS;
    for (; bulk_has_kept(store->bulk) && now_ms < end_ms; now_ms = clock_ms()) {
        struct pollfd talk = {.fd = talk_fd(store->talk), .events = POLLIN};
        (void)poll(&talk, 1, (int)(end_ms - now_ms));
        talk_poll(store->talk, clock_ms());
    }
}

int main(int argc, char **argv)
{
    static struct store store;
    start(&store, argc, argv);
    write_figures(&store, clock_ms());
    run_child_ready();
    run(&store);
    write_figures(&store, clock_ms());
    /* What is taken is answered: the rings hold the rest for the successor. */
    dispatch_close(&store.dispatch);
    linger(&store);
    talk_close(&store.talk);
    bulk_close(&store.bulk);
    return RUN_EXIT_OK;
}
