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

static bool store_wanted(const struct role *role, const struct conf *conf, unsigned number)
{
    (void)role;
    return conf_uses(conf, (enum backend)number);
}

static void store_name(const struct role *role, unsigned number, char *name)
{
    (void)role;
    run_name_store((enum backend)number, name);
}

static void store_descriptors(const struct role *role, const struct conf *conf,
                              const struct shared *shared, unsigned number, unsigned lane,
                              struct fd_map *map)
{
    (void)role;
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

static void channel_descriptors(const struct conf *conf, const struct shared *shared,
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

static bool worker_wanted(const struct role *role, const struct conf *conf, unsigned number)
{
    return number < protocol_workers(conf, role->protocol);
}

static void worker_name(const struct role *role, unsigned number, char *name)
{
    snprintf(name, RUN_NAME_MAX, "%s-%u", role_kind(role), number);
}

static void worker_descriptors(const struct role *role, const struct conf *conf,
                               const struct shared *shared, unsigned number, unsigned lane,
                               struct fd_map *map)
{
    listen_descriptors(&shared->listen[role->protocol], map);
    if (protocols[role->protocol].has_roster)
        fd_map_add(map, shared->roster, RUN_FD_ROSTER);
    channel_descriptors(conf, shared, run_worker_number(role->protocol, number), lane, map);
}

#define WORKER(protocol)                                                                           \
    {                                                                                              \
        true, protocol, CONF_WORKERS_MAX, worker_wanted, worker_name, worker_descriptors           \
    }

const struct role roles[ROLE_COUNT] = {
    {false, 0, BACKEND_COUNT, store_wanted, store_name, store_descriptors},
    WORKER(PROTOCOL_HTTP),
    WORKER(PROTOCOL_GRPC),
};
