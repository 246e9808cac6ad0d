/*
 * command - a request as the Redis command that carries it out. Pure.
 *
 * Plain types, as the original Strato and redis-cli read and write them: values are strings, a
 * counter is an integer string, a flag is "1" or "0", a set is a Redis set. Each is one command, so
 * Redis itself makes it atomic.
 */
#ifndef STRATO_STORE_REDIS_COMMAND_H
#define STRATO_STORE_REDIS_COMMAND_H

#include "proto/base/op.h"

enum {
    REDIS_WORDS_MAX = 5,
    REDIS_PREFIX_MAX = 8, /* "counter:" */
};

/* Its words point into the request, into itself and to constants. */
struct redis_command {
    int count;
    const char *words[REDIS_WORDS_MAX];
    size_t lens[REDIS_WORDS_MAX];
    char number[24];
};

/* Where a service's data are: its database on a single server, and what its keys begin with on a
 * cluster, which has only one database. */
unsigned redis_database(enum service service);
const char *redis_prefix(enum service service);

/* key: as Redis is to see it. now_wall_ms: a moment of expiry is sent as what is left of it,
 * because the clock of Redis may be another. */
void redis_command_make(struct redis_command *command, const struct request *request,
                        struct bytes key, uint64_t now_wall_ms);

#endif
