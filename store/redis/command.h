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
    REDIS_WORDS_MAX = 16,
    REDIS_PREFIX_MAX = 8, /* "counter:" */
    REDIS_MARK_MAX = 16,  /* see redis_mark(), with a NUL */
};

/* Its words point into the request, into itself and to constants. */
struct redis_command {
    int count;
    const char *words[REDIS_WORDS_MAX];
    size_t lens[REDIS_WORDS_MAX];
    char number[24];
};

/* Where a service's data are: its database where each has one of its own, and what its keys begin
 * with where all share one, as on a cluster. */
unsigned redis_database(enum service service);
const char *redis_prefix(enum service service);

/*
 * What comes between that and the key: nothing in namespace 0, whose keys other programs write and
 * read; in another one "\xffstrato@NUMBER:". A key of namespace 0 that begins so itself has
 * "\xffstrato@0:" before it. So no two keys of one service meet. Returns its length.
 */
size_t redis_mark(uint16_t namespace, struct bytes key, char mark[REDIS_MARK_MAX]);

struct redis_terms {
    uint64_t now_wall_ms; /* a moment of expiry is sent as what is left of it, because the clock of
                           * Redis may be another */
    uint64_t max_set;     /* see [strato] max_set: the script refuses what would be larger */
    uint64_t max_value;
};

/* key: as Redis is to see it. */
void redis_command_make(struct redis_command *command, const struct request *request,
                        struct bytes key, const struct redis_terms *terms);

/*
 * The commands that a service needs, each in a form that changes nothing, to learn whether Redis
 * would carry them out: what it refuses (a replica, no permission, no room on its disk) it refuses
 * before it looks at the rest. (A SADD forbidden to scripts: from Redis 7 on.) False when the
 * service has no more than number of them.
 */
bool redis_command_try(struct redis_command *command, enum service service, unsigned number,
                       struct bytes key);
enum { REDIS_TRY_KEY_MAX = REDIS_PREFIX_MAX + KEY_MAX + 32 };
/* A key for it that cannot be anybody's, because it is too long. On a cluster it is in the slot of
 * "{tag}". key: REDIS_TRY_KEY_MAX bytes. */
struct bytes redis_command_try_key(const char *prefix, unsigned tag, char *key);

#endif
