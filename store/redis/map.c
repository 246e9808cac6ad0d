/*
 * map - see map.h. Runs in store-redis. What nodes say is a peer's word: bounded and checked.
 */
#include "store/redis/map.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/log.h"
#include "store/redis/greeting.h"
#include "store/redis/resolve.h"
#include "store/redis/slot.h"

#define REFRESH_NS 100000000ull

struct redis_map {
    struct redis_links *links;
    struct redis_link *seed;
    char seed_address[REDIS_ADDRESS_MAX]; /* where it was when it was asked */
    bool moved;                           /* it is elsewhere now: only its answer counts */
    bool purge;                           /* nodes without slots are forgotten */
    bool doubted;
    bool complained;
    unsigned turn;       /* another node is asked each time */
    struct query *asked; /* the one whose answer counts, or NULL */
    uint64_t asked_ns;
    struct redis_link *slots[REDIS_SLOTS]; /* NULL: no node is known to have it */
};

/* A CLUSTER SLOTS on its way. */
struct query {
    struct redis_item item;
    struct redis_map *map;
};

struct redis_map *redis_map_open(struct redis_links *links, struct redis_link *seed)
{
    struct redis_map *map = calloc(1, sizeof *map);
    if (!map)
        panic("out of memory");
    map->links = links;
    map->seed = seed;
    map->doubted = true;
    return map;
}

void redis_map_close(struct redis_map **map)
{
    free(*map);
    *map = NULL;
}

/* ---- Looking up ---- */

/* A node that answers now, another one each time; NULL when there is none. */
static struct redis_link *any_ready(struct redis_map *map)
{
    const struct redis_links *links = map->links;
    for (unsigned i = 0; i < links->count; i++) {
        struct redis_link *link = links->all[map->turn++ % links->count];
        if (redis_link_ready(link))
            return link;
    }
    return NULL;
}

struct redis_link *redis_map_link(struct redis_map *map, unsigned slot)
{
    struct redis_link *link = map->slots[slot];
    if (!link)
        link = any_ready(map);
    return link ? link : map->seed;
}

static struct redis_link *node(struct redis_map *map, const char *host, uint16_t port)
{
    struct redis_link *link = redis_links_find(map->links, host, port);
    return link ? link : redis_links_add(map->links, host, port, REDIS_DATABASE_CLUSTER);
}

struct redis_link *redis_map_node(struct redis_map *map, const struct redis_target *target,
                                  const struct redis_link *from)
{
    const char *host = target->host[0] ? target->host : redis_link_host(from);
    return node(map, host, target->port);
}

void redis_map_moved(struct redis_map *map, const struct redis_target *target,
                     const struct redis_link *from)
{
    map->slots[target->slot] = redis_map_node(map, target, from);
    map->doubted = true;
}

void redis_map_doubt(struct redis_map *map)
{
    map->doubted = true;
}

/* ---- Learning ---- */

static bool is_range(const redisReply *row)
{
    return row->type == REDIS_REPLY_ARRAY && row->elements >= 3 &&
           row->element[0]->type == REDIS_REPLY_INTEGER &&
           row->element[1]->type == REDIS_REPLY_INTEGER && row->element[0]->integer >= 0 &&
           row->element[0]->integer <= row->element[1]->integer &&
           row->element[1]->integer < REDIS_SLOTS && row->element[2]->type == REDIS_REPLY_ARRAY;
}

/* A host that is not known to the node itself comes as nil or empty. */
static bool is_node(const redisReply *place)
{
    if (place->elements < 2 || place->element[1]->type != REDIS_REPLY_INTEGER ||
        place->element[1]->integer < 1 || place->element[1]->integer > UINT16_MAX)
        return false;
    const redisReply *host = place->element[0];
    return host->type == REDIS_REPLY_NIL ||
           (host->type == REDIS_REPLY_STRING &&
            redis_host_valid((struct bytes){(const uint8_t *)host->str, host->len}));
}

unsigned redis_map_read(const redisReply *answer,
                        void (*owner)(void *context, unsigned first, unsigned last,
                                      const char *host, uint16_t port),
                        void *context)
{
    unsigned count = 0, left = REDIS_SLOTS;
    if (answer->type != REDIS_REPLY_ARRAY)
        return 0;
    for (size_t i = 0; i < answer->elements; i++) {
        const redisReply *row = answer->element[i];
        if (!is_range(row) || !is_node(row->element[2]))
            continue;
        unsigned first = (unsigned)row->element[0]->integer;
        unsigned last = (unsigned)row->element[1]->integer;
        if (last - first >= left)
            continue; /* some slot more than once */
        const redisReply *host = row->element[2]->element[0];
        owner(context, first, last, host->type == REDIS_REPLY_NIL ? "" : host->str,
              (uint16_t)row->element[2]->element[1]->integer);
        left -= last - first + 1;
        count++;
    }
    return count;
}

/* A map being read. */
struct reading {
    struct redis_map *map;
    const struct redis_link *from;
    struct redis_link *slots[REDIS_SLOTS];
};

static void note(void *context, unsigned first, unsigned last, const char *host, uint16_t port)
{
    struct reading *reading = context;
    struct redis_link *link =
        node(reading->map, *host ? host : redis_link_host(reading->from), port);
    for (unsigned slot = first; slot <= last; slot++)
        reading->slots[slot] = link;
}

/* Logs once why no map can be had. The reason is also the answer to questions of readiness. */
static void complain(struct redis_map *map, struct redis_link *from, const redisReply *answer)
{
    char text[REDIS_TEXT_MAX] = "it has no slots";
    if (answer->type == REDIS_REPLY_ERROR) {
        struct bytes said = {(const uint8_t *)answer->str, answer->len};
        redis_fault_text(said, text, sizeof text);
        if (redis_fault_of(said) == FAULT_ACCESS)
            redis_link_set_trouble(from, STATUS_REFUSED, text);
    }
    if (!map->complained)
        log_warn("redis: no map of the cluster: %s", text);
    map->complained = true;
}

static void learn(struct redis_map *map, struct redis_link *from, const redisReply *answer)
{
    struct reading *reading = calloc(1, sizeof *reading);
    if (!reading)
        panic("out of memory");
    reading->map = map;
    reading->from = from;
    if (redis_map_read(answer, note, reading) > 0) {
        memcpy(map->slots, reading->slots, sizeof map->slots);
        map->doubted = map->moved && from != map->seed;
        map->purge = map->purge || (map->moved && from == map->seed);
        map->moved = map->doubted;
        map->complained = false;
    } else {
        complain(map, from, answer);
    }
    free(reading);
}

static void query_done(struct redis_item *item, struct redis_link *link, const redisReply *answer,
                       bool sent)
{
    struct query *query = (struct query *)item;
    struct redis_map *map = query->map;
    (void)sent;
    if (map->asked == query) {
        map->asked = NULL;
        if (answer)
            learn(map, link, answer);
    }
    free(query);
}

static void ask(struct redis_map *map, struct redis_link *link, uint64_t now)
{
    static const struct redis_command command = {
        .count = 2, .words = {"CLUSTER", "SLOTS"}, .lens = {7, 5}};
    struct query *query = calloc(1, sizeof *query);
    if (!query)
        panic("out of memory");
    query->item.done = query_done;
    query->map = map;
    map->asked = query;
    map->asked_ns = now;
    redis_link_append(link, &query->item, &command, now);
}

/* ---- Time ---- */

static bool has_slots(const struct redis_map *map, const struct redis_link *link)
{
    for (unsigned slot = 0; slot < REDIS_SLOTS; slot++)
        if (map->slots[slot] == link)
            return true;
    return false;
}

/* Whether a node with slots is away, so that another may have them soon. Nodes that are away and
 * have none are forgotten, and all that have none when the cluster is another one. */
static bool look_over(struct redis_map *map)
{
    bool missing = false, purge = map->purge;
    map->purge = false;
    for (unsigned i = map->links->count; i-- > 0;) {
        struct redis_link *link = map->links->all[i];
        if (!redis_link_hopeless(link) && !purge)
            continue;
        bool serves = has_slots(map, link);
        missing = missing || (serves && redis_link_hopeless(link));
        if (serves || link == map->seed)
            continue;
        if (redis_link_idle(link))
            redis_links_remove(map->links, link);
        else
            map->purge = purge; /* later */
    }
    return missing;
}

bool redis_map_tag(const struct redis_map *map, const struct redis_link *link, unsigned *tag_r)
{
    char key[16];
    if (!has_slots(map, link))
        return false;
    /* Of tags in a row, one in so many is the node's as it has of the slots. */
    for (unsigned tag = 0; tag < 4 * REDIS_SLOTS; tag++) {
        int len = snprintf(key, sizeof key, "{%u}", tag);
        *tag_r = tag;
        if (map->slots[redis_slot((struct bytes){(const uint8_t *)key, (size_t)len})] == link)
            return true;
    }
    return true;
}

/* The node to ask now; NULL: none answers. */
static struct redis_link *node_to_ask(struct redis_map *map)
{
    if (!redis_link_ready(map->seed))
        return any_ready(map);
    const char *address = redis_link_address(map->seed);
    if (strcmp(address, map->seed_address) != 0) {
        map->moved = map->seed_address[0] != '\0';
        map->doubted = true;
        snprintf(map->seed_address, sizeof map->seed_address, "%s", address);
    }
    return map->moved ? map->seed : any_ready(map);
}

uint64_t redis_map_tend(struct redis_map *map, uint64_t now_ns)
{
    uint64_t due = map->asked_ns + REFRESH_NS;
    struct redis_link *link = node_to_ask(map);
    if (!link)
        return UINT64_MAX; /* the links wake us when one is */
    if (now_ns < due)
        return due;
    if (!look_over(map) && !map->doubted)
        return UINT64_MAX;
    ask(map, link, now_ns);
    return now_ns + REFRESH_NS;
}
