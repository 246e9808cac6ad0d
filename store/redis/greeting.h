/*
 * greeting - what is said on a new connection before it carries requests: the password, the
 * database, and whether Redis answers at all. Pure but for the output buffer.
 */
#ifndef STRATO_STORE_REDIS_GREETING_H
#define STRATO_STORE_REDIS_GREETING_H

#include <hiredis/hiredis.h>

#include "proto/base/status.h"
#include "proto/conf/url.h"

enum { REDIS_DATABASE_CLUSTER = -1 }; /* a cluster has but one, and no SELECT */

struct redis_greeting {
    const char *password; /* never shown; borrowed */
    int database;
    int count, next;
    const char *steps[4]; /* each is answered, in this order */
};

/* Appends the commands to the connection's output. Database 0 needs no SELECT: that is where a
 * connection begins. */
void redis_greeting_say(struct redis_greeting *greeting, redisContext *context,
                        const struct conf_url *url, int database);
/*
 * Takes the next answer. Anything but STATUS_OK ends the greeting, with the reason:
 * STATUS_UNAVAILABLE: not now. STATUS_REFUSED: not before somebody changes something in Redis or in
 * our configuration.
 */
enum status redis_greeting_hear(struct redis_greeting *greeting, const redisReply *answer,
                                char *reason, size_t reason_size) MUST_CHECK;
/* Whether all is answered. */
static inline bool redis_greeting_over(const struct redis_greeting *greeting)
{
    return greeting->next == greeting->count;
}

#endif
