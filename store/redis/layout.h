/*
 * layout - where each service's data are in Redis, and the connections that this takes: one for
 * each database, one for all, or one for each node of a cluster.
 */
#ifndef STRATO_STORE_REDIS_LAYOUT_H
#define STRATO_STORE_REDIS_LAYOUT_H

#include "proto/conf/conf.h"
#include "store/redis/checks.h"

/* Opens the links that the configuration asks for, with options but for what is said there: the
 * limits and the timeout. links and checks (all zero) know of each other afterwards. The map of a
 * cluster, or NULL. All are borrowed for good. */
struct redis_map *redis_layout_open(struct redis_links *links, struct redis_checks *checks,
                                    const struct conf *conf,
                                    const struct redis_link_options *options);

#endif
