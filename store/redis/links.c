/*
 * links - see links.h. Runs in store-redis. A full list takes no link more; an index into it is
 * good until the next removal, which moves the last link to the free place.
 */
#include "store/redis/links.h"

#include <string.h>

struct redis_link *redis_links_add(struct redis_links *links, const char *host, uint16_t port,
                                   int database)
{
    struct redis_link_options options = links->options;
    if (links->count == REDIS_LINKS_MAX)
        return NULL;
    options.host = host;
    options.port = port;
    options.database = database;
    return links->all[links->count++] = redis_link_open(&options);
}

struct redis_link *redis_links_find(const struct redis_links *links, const char *host,
                                    uint16_t port)
{
    for (unsigned i = 0; i < links->count; i++)
        if (redis_link_port(links->all[i]) == port &&
            strcmp(redis_link_host(links->all[i]), host) == 0)
            return links->all[i];
    return NULL;
}

void redis_links_remove(struct redis_links *links, struct redis_link *link)
{
    unsigned i = 0;
    while (links->all[i] != link)
        i++;
    links->all[i] = links->all[--links->count];
    redis_link_close(&link);
}

void redis_links_close(struct redis_links *links)
{
    while (links->count > 0)
        redis_link_close(&links->all[--links->count]);
}

unsigned redis_links_ready(const struct redis_links *links)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < links->count; i++)
        ready += redis_link_ready(links->all[i]);
    return ready;
}

unsigned redis_links_in_trouble(const struct redis_links *links)
{
    const char *why;
    unsigned count = 0;
    for (unsigned i = 0; i < links->count; i++)
        count += redis_link_trouble(links->all[i], &why) != STATUS_OK;
    return count;
}

bool redis_links_stalled(const struct redis_links *links)
{
    for (unsigned i = 0; i < links->count; i++)
        if (redis_link_stalled(links->all[i]))
            return true;
    return false;
}

void redis_links_flush(struct redis_links *links)
{
    for (unsigned i = 0; i < links->count; i++)
        redis_link_flush(links->all[i]);
}

uint64_t redis_links_tend(struct redis_links *links, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i < links->count; i++) {
        uint64_t at = redis_link_tend(links->all[i], now_ns);
        next = at < next ? at : next;
    }
    return next;
}
