/*
 * roles - the kinds of processes that a supervisor runs, one row each: program, how many, which
 * descriptors.
 */
#ifndef STRATO_SUPERVISOR_ROLES_H
#define STRATO_SUPERVISOR_ROLES_H

#include "supervisor/shared.h"

/* Which descriptor a child gets at which number. */
struct fd_map {
    unsigned count;
    struct {
        int source, target;
    } entries[RUN_FD_CHANNEL + RUN_CHANNEL_FDS * SHARED_CHANNELS_MAX + 1];
};

struct role {
    bool worker;            /* has lanes; starts after the stores and stops before them */
    enum protocol protocol; /* of workers */
    unsigned limit;         /* numbers are below this */
    bool (*wanted)(const struct role *role, const struct conf *conf, unsigned number);
    /* name holds RUN_NAME_MAX bytes. */
    void (*name)(const struct role *role, unsigned number, char *name);
    /* Appends what is given beyond configuration, status pipe and life pipe. */
    void (*descriptors)(const struct role *role, const struct conf *conf,
                        const struct shared *shared, unsigned number, unsigned lane,
                        struct fd_map *map);
};

/* "store", "http", "grpc". */
static inline const char *role_kind(const struct role *role)
{
    return role->worker ? protocol_name(role->protocol) : "store";
}
static inline const char *role_program(const struct role *role)
{
    return role->worker ? protocols[role->protocol].program : "strato-store";
}

enum { ROLE_COUNT = 1 + PROTOCOL_COUNT };
/* In the order in which they start. */
extern const struct role roles[ROLE_COUNT];

void fd_map_add(struct fd_map *map, int source, int target);

#endif
