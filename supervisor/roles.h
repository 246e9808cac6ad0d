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
    const char *kind; /* "store", "http", "grpc" */
    const char *program;
    bool worker;    /* has lanes; starts after the stores and stops before them */
    unsigned limit; /* numbers are below this */
    bool (*wanted)(const struct conf *conf, unsigned number);
    /* name holds RUN_NAME_MAX bytes. */
    void (*name)(const struct conf *conf, unsigned number, char *name);
    /* Appends what is given beyond configuration, status pipe and life pipe. */
    void (*descriptors)(const struct conf *conf, const struct shared *shared, unsigned number,
                        unsigned lane, struct fd_map *map);
};

enum { ROLE_COUNT = 3 };
/* In the order in which they start. */
extern const struct role roles[ROLE_COUNT];

void fd_map_add(struct fd_map *map, int source, int target);

#endif
