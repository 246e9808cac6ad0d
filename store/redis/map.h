/*
 * map - which node of a Redis Cluster has which slot.
 *
 * Learned from CLUSTER SLOTS of any node, corrected by every MOVED, asked for again when a node is
 * away or something says that the map is wrong; at most every 100 ms. When the URL's name leads to
 * another address, the node there is the one to ask: it may be another cluster's.
 */
#ifndef STRATO_STORE_REDIS_MAP_H
#define STRATO_STORE_REDIS_MAP_H

#include "store/redis/fault.h"
#include "store/redis/links.h"

struct redis_map;

/* seed: the node of the URL, one of links. Both are borrowed for good. */
struct redis_map *redis_map_open(struct redis_links *links, struct redis_link *seed);
/* The links are closed. */
void redis_map_close(struct redis_map **map);

/* The node to ask for a slot. When none is known to have it: any node, which will name the right
 * one. */
struct redis_link *redis_map_link(struct redis_map *map, unsigned slot);
/* The link to the node that MOVED or ASK named; from answered it. NULL when there are too many. */
struct redis_link *redis_map_node(struct redis_map *map, const struct redis_target *target,
                                  const struct redis_link *from);
/* A MOVED: the slot is there from now on. */
void redis_map_moved(struct redis_map *map, const struct redis_target *target,
                     const struct redis_link *from);
/* Whether the node has slots; then one key of it has this tag: "{tag}". */
bool redis_map_tag(const struct redis_map *map, const struct redis_link *link, unsigned *tag_r);
/* Something says that the map may be old. */
void redis_map_doubt(struct redis_map *map);
/* Asks for the map when it is due. Returns when it wants to be called again; UINT64_MAX: never. */
uint64_t redis_map_tend(struct redis_map *map, uint64_t now_ns);

/* Reads an answer to CLUSTER SLOTS: calls owner() for each range of slots, which are no more than
 * there are. Garbled rows are left out. Returns how many were not; an empty host is that of the
 * node which answered. Pure. */
unsigned redis_map_read(const redisReply *answer,
                        void (*owner)(void *context, unsigned first, unsigned last,
                                      const char *host, uint16_t port),
                        void *context);

#endif
