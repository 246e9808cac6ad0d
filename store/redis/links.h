/*
 * links - all connections of the engine: one for each database of a single server, or one for each
 * node of a cluster.
 */
#ifndef STRATO_STORE_REDIS_LINKS_H
#define STRATO_STORE_REDIS_LINKS_H

#include "store/redis/link.h"

enum { REDIS_LINKS_MAX = 1024 };

struct redis_links {
    struct redis_link_options options; /* of every link, but for host, port and database */
    unsigned count;
    struct redis_link *all[REDIS_LINKS_MAX];
};

/* NULL when there are REDIS_LINKS_MAX. */
struct redis_link *redis_links_add(struct redis_links *links, const char *host, uint16_t port,
                                   int database);
/* The one to this server, or NULL. */
struct redis_link *redis_links_find(const struct redis_links *links, const char *host,
                                    uint16_t port);
/* Closes it; it must be idle. */
void redis_links_remove(struct redis_links *links, struct redis_link *link);
/* Closes all. */
void redis_links_close(struct redis_links *links);
unsigned redis_links_ready(const struct redis_links *links);
/* How many know of trouble, see redis_link_trouble(). */
unsigned redis_links_in_trouble(const struct redis_links *links);
/* Whether one of them is stalled. */
bool redis_links_stalled(const struct redis_links *links);
void redis_links_flush(struct redis_links *links);
/* See redis_link_tend(). */
uint64_t redis_links_tend(struct redis_links *links, uint64_t now_ns);

#endif
