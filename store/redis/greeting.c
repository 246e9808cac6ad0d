/*
 * greeting - see greeting.h. Runs in store-redis. PING comes last because it is refused while Redis
 * loads or wants a password: a connection that is up can be used.
 */
#include "store/redis/greeting.h"

#include <stdio.h>
#include <string.h>

static void say(struct redis_greeting *greeting, redisContext *context, int count,
                const char *const *words)
{
    /* Out of memory shows in the context, which ends the connection at its next use. */
    redisAppendCommandArgv(context, count, (const char **)(uintptr_t)words, NULL);
    greeting->steps[greeting->count++] = words[0];
}

void redis_greeting_say(struct redis_greeting *greeting, redisContext *context,
                        const struct conf_url *url, int database)
{
    char number[16];
    snprintf(number, sizeof number, "%d", database);
    const char *as_user[] = {"AUTH", url->user, url->password};
    const char *as_default[] = {"AUTH", url->password};
    const char *name[] = {"CLIENT", "SETNAME", "strato"};
    const char *select[] = {"SELECT", number};
    const char *ping[] = {"PING"};
    *greeting = (struct redis_greeting){0};
    if (url->user[0])
        say(greeting, context, 3, as_user);
    else if (url->password[0])
        say(greeting, context, 2, as_default);
    say(greeting, context, 3, name);
    if (database != REDIS_DATABASE_CLUSTER)
        say(greeting, context, 2, select);
    say(greeting, context, 1, ping);
}

bool redis_greeting_hear(struct redis_greeting *greeting, const redisReply *answer, char *reason,
                         size_t reason_size)
{
    const char *step = greeting->steps[greeting->next++];
    bool refused = answer->type == REDIS_REPLY_ERROR;
    if (!refused || strcmp(step, "CLIENT") == 0)
        return true; /* a name for CLIENT LIST is a courtesy */
    if (strstr(answer->str, "cluster mode"))
        snprintf(reason, reason_size, "it is a cluster; set cluster = yes in [redis]");
    else
        snprintf(reason, reason_size, "%s: %s", step, answer->str);
    return false;
}
