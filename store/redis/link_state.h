/*
 * link_state - what link.c and link_time.c know of a link, and nobody else.
 */
#ifndef STRATO_STORE_REDIS_LINK_STATE_H
#define STRATO_STORE_REDIS_LINK_STATE_H

#include "store/redis/fault.h"
#include "store/redis/greeting.h"
#include "store/redis/intake.h"
#include "store/redis/link.h"
#include "store/redis/peer.h"

#define REDIS_MS       1000000ull
#define REDIS_RENEW_NS (1000 * REDIS_MS) /* between renewals, and looks at the name in trouble */
#define REDIS_LOOK_NS  (5000 * REDIS_MS) /* between looks at the name else */

enum redis_link_state { LINK_AWAY, LINK_RESOLVING, LINK_CONNECTING, LINK_GREETING, LINK_UP };

struct redis_link {
    struct redis_link_options options;
    struct redis_peer peer;
    char name[REDIS_HOST_MAX + 32]; /* for the log */
    enum redis_link_state state;
    bool stalled;
    bool wants_write;  /* EPOLLOUT is asked for */
    bool complained;   /* the log knows that it is away */
    unsigned failures; /* since it was last up */
    uint64_t look_ns;  /* AWAY: when to try again; RESOLVING to GREETING: when to give up; UP: when
                        * to look up the name again */
    uint64_t up_ns;
    uint64_t quiet_ns; /* no loss is logged before this */
    uint32_t random;
    bool is_new; /* see redis_link_is_new() */

    char renewing[100];  /* why; empty: it is not */
    uint64_t renewed_ns; /* when that last began */
    unsigned renewals;   /* since it was last without trouble */
    enum status trouble;
    char why[REDIS_TEXT_MAX + 100]; /* the trouble */

    redisContext *context; /* NULL while AWAY or RESOLVING */
    struct redis_intake intake;
    struct redis_greeting greeting;
    struct redis_item *first, **last;
    uint64_t appended; /* bytes ever given to the context */
    uint64_t written;  /* of these, to the socket */
};

/* link.c: begins to connect; goes on once the name is known. */
void redis_link_start(struct redis_link *link, uint64_t now);
void redis_link_look_up(struct redis_link *link, uint64_t now);
/* link.c: the end of a connection, or of an attempt. Every command that was under way is told; when
 * to try again depends on what went before. */
void redis_link_end(struct redis_link *link, uint64_t now, const char *reason);

#endif
