/*
 * checks - whether Redis would carry out what may be asked of it: each command that is needed is
 * tried in a form that changes nothing (redis_command_try()), when a connection has come up, each
 * second while something is wrong, and when a worker asks whether the backend is ready.
 *
 * What is wrong is the link's trouble; it is logged once when it begins and once when it is over,
 * not once for each connection to the same server.
 */
#ifndef STRATO_STORE_REDIS_CHECKS_H
#define STRATO_STORE_REDIS_CHECKS_H

#include "store/redis/map.h"

struct redis_checks {
    struct redis_links *links; /* borrowed for good */
    struct redis_map *map;     /* of a cluster, or NULL; likewise */
    bool prefixed;             /* keys have their service's prefix */
    bool used[SERVICE_COUNT];
    struct redis_link *databases[SERVICE_COUNT]; /* of a single server; NULL: not in use */
    unsigned under_way;                          /* checks, of one link each */
    uint64_t again_ns;                           /* what is in trouble is not checked before this */
};

/* Begins a check of every link that is ready, unless some are under way. */
void redis_checks_ask(struct redis_checks *checks, uint64_t now_ns);
/*
 * What came of it: STATUS_OK; STATUS_RETRY while it is under way or a link comes up;
 * STATUS_UNAVAILABLE or STATUS_REFUSED with the reason in why_r (empty: a server is away), which is
 * valid until links are used again.
 */
enum status redis_checks_result(const struct redis_checks *checks, const char **why_r) MUST_CHECK;
/* A request was refused so: notes what that says about the link, and renews it where it may be the
 * wrong server. True when it is being renewed. */
bool redis_checks_blame(struct redis_checks *checks, struct redis_link *link, struct bytes text,
                        uint64_t now_ns);
/* Checks what came up or is in trouble. Returns when it wants to be called again at the latest;
 * UINT64_MAX: no such moment. */
uint64_t redis_checks_tend(struct redis_checks *checks, uint64_t now_ns);

#endif
