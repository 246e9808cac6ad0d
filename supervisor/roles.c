/*
 * roles - see roles.h. The supervisor. Pure but for panicking when a descriptor is missing that
 * shared_open() must have made.
 */
#include "supervisor/roles.h"

void fd_map_add(struct fd_map *map, int source, int target)
{
    if (source < 0 || map->count == sizeof map->entries / sizeof map->entries[0])
        panic("no descriptor for number %d of a child", target);
    map->entries[map->count].source = source;
    map->entries[map->count].target = target;
    map->count++;
}

static bool store_wanted(const struct conf *conf, unsigned number)
{
    return conf_uses(conf, (enum backend)number);
}

static void store_name(const struct conf *conf, unsigned number, char *name)
{
    (void)conf;
    run_name_store((enum backend)number, name);
}

static void store_descriptors(const struct conf *conf, const struct shared *shared, unsigned number,
                              unsigned lane, struct fd_map *map)
{
    (void)lane;
    fd_map_add(map, shared->store_bell[number], RUN_FD_DOORBELL);
    if (shared->arena[number] >= 0)
        fd_map_add(map, shared->arena[number], RUN_FD_ARENA);
    for (unsigned i = 0; i < run_channel_count(conf); i++) {
        int first = RUN_FD_CHANNEL + RUN_CHANNEL_FDS * (int)i;
        fd_map_add(map, shared->channel[number][i], first + RUN_CHANNEL_MEMORY);
        fd_map_add(map, shared->worker_bell[i], first + RUN_CHANNEL_DOORBELL);
    }
    fd_map_add(map, shared->figures, run_store_figures_fd(run_channel_count(conf)));
}

static void worker_descriptors(const struct conf *conf, const struct shared *shared,
                               unsigned worker, unsigned lane, struct fd_map *map)
{
    unsigned channel = RUN_LANES * worker + lane;
    fd_map_add(map, shared->worker_bell[channel], RUN_FD_DOORBELL);
    fd_map_add(map, shared->figures, RUN_FD_FIGURES);
    for (unsigned i = 0; i < BACKEND_COUNT; i++) {
        int first = RUN_FD_BACKEND + RUN_BACKEND_FDS * (int)i;
        if (!conf_uses(conf, (enum backend)i))
            continue;
        if (shared->arena_readonly[i] >= 0)
            fd_map_add(map, shared->arena_readonly[i], first + RUN_BACKEND_ARENA);
        fd_map_add(map, shared->channel[i][channel], first + RUN_BACKEND_CHANNEL);
        fd_map_add(map, shared->store_bell[i], first + RUN_BACKEND_DOORBELL);
    }
}

static void listen_descriptors(const struct listeners *listeners, struct fd_map *map)
{
    for (unsigned i = 0; i < listeners->count; i++)
        fd_map_add(map, listeners->at[i].fd, run_listen_fd(i));
}

static bool http_wanted(const struct conf *conf, unsigned number)
{
    return conf->http.enabled && number < conf->http.workers;
}

static void http_name(const struct conf *conf, unsigned number, char *name)
{
    run_worker_name(conf, run_worker_number(false, number), name);
}

static void http_descriptors(const struct conf *conf, const struct shared *shared, unsigned number,
                             unsigned lane, struct fd_map *map)
{
    listen_descriptors(&shared->listen[PROTOCOL_HTTP], map);
    fd_map_add(map, shared->roster, RUN_FD_ROSTER);
    worker_descriptors(conf, shared, run_worker_number(false, number), lane, map);
}

static bool grpc_wanted(const struct conf *conf, unsigned number)
{
    return conf->grpc.enabled && number < conf->grpc.workers;
}

static void grpc_name(const struct conf *conf, unsigned number, char *name)
{
    run_worker_name(conf, run_worker_number(true, number), name);
}

static void grpc_descriptors(const struct conf *conf, const struct shared *shared, unsigned number,
                             unsigned lane, struct fd_map *map)
{
    listen_descriptors(&shared->listen[PROTOCOL_GRPC], map);
    worker_descriptors(conf, shared, run_worker_number(true, number), lane, map);
}

/* clang-format off */
const struct role roles[ROLE_COUNT] = {
    {"store", "strato-store",       false, BACKEND_COUNT,    store_wanted, store_name, store_descriptors},
    {"http",  "strato-http-worker", true,  CONF_WORKERS_MAX, http_wanted,  http_name,  http_descriptors},
    {"grpc",  "strato-grpc-worker", true,  CONF_WORKERS_MAX, grpc_wanted,  grpc_name,  grpc_descriptors},
};
/* clang-format on */
