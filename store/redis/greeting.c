/*
 * greeting - see greeting.h. Runs in store-redis. PING comes last because it is refused while Redis
 * loads or wants a password: a connection that is up can be used.
 */
#include "store/redis/greeting.h"

#include <stdio.h>
#include <string.h>

#include "store/redis/fault.h"

#define NO_CLUSTER "cluster support disabled"

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
    const char *read_write[] = {"READWRITE"}; /* as it is; but only a cluster knows it */
    const char *ping[] = {"PING"};
    *greeting = (struct redis_greeting){.password = url->password, .database = database};
    if (url->user[0])
        say(greeting, context, 3, as_user);
    else if (url->password[0])
        say(greeting, context, 2, as_default);
    say(greeting, context, 3, name);
    if (database > 0)
        say(greeting, context, 2, select);
    if (database == REDIS_DATABASE_CLUSTER)
        say(greeting, context, 1, read_write);
    say(greeting, context, 1, ping);
}

static bool has(struct bytes text, const char *part)
{
    return memmem(text.data, text.len, part, strlen(part));
}

static bool begins(struct bytes text, const char *with)
{
    return text.len >= strlen(with) && memcmp(text.data, with, strlen(with)) == 0;
}

/* Whether an error does not matter here. A name for CLIENT LIST is a courtesy, so only what Redis
 * says to every connection counts; and a Redis that takes no writes still has what is read. */
static bool is_harmless(const char *step, struct bytes text)
{
    enum redis_fault fault = redis_fault_of(text);
    if (strcmp(step, "READWRITE") == 0)
        return !has(text, NO_CLUSTER);
    if (strcmp(step, "CLIENT") == 0)
        return !begins(text, "ERR max number of clients") && !begins(text, "DENIED ");
    return strcmp(step, "PING") == 0 && (fault == FAULT_SUSPENDED || fault == FAULT_READ_ONLY);
}

/* What to do about it, where we know. */
static const char *advice(const char *step, struct bytes text)
{
    enum redis_fault fault = redis_fault_of(text);
    if (begins(text, "NOAUTH "))
        return "; give the password in url in [redis]: redis://user:password@host:port";
    if (has(text, "cluster mode"))
        return "; it is a cluster: set cluster = yes in [redis]";
    if (has(text, NO_CLUSTER))
        return "; it is no cluster: set cluster = no in [redis]";
    if (strcmp(step, "SELECT") == 0 && (fault == FAULT_ACCESS || fault == FAULT_OTHER))
        return "; where there is but one database, set database = 0 in [redis]";
    return "";
}

/* A server that does not know AUTH may repeat the password: then only the first word is shown. */
static void hide(const char *password, char *said)
{
    if (!password[0] || !strstr(said, password))
        return;
    said[strcspn(said, " ")] = '\0';
    if (strstr(said, password))
        said[0] = '\0';
    strcat(said, "...");
}

static void explain(const struct redis_greeting *greeting, const char *step, struct bytes text,
                    char *reason, size_t reason_size)
{
    char said[REDIS_TEXT_MAX + sizeof "..."], number[16] = "";
    redis_fault_text(text, said, REDIS_TEXT_MAX);
    hide(greeting->password, said);
    if (strcmp(step, "SELECT") == 0)
        snprintf(number, sizeof number, " %d", greeting->database);
    snprintf(reason, reason_size, "%s%s: %s%s", step, number, said, advice(step, text));
}

enum status redis_greeting_hear(struct redis_greeting *greeting, const redisReply *answer,
                                char *reason, size_t reason_size)
{
    const char *step = greeting->steps[greeting->next++];
    struct bytes text = {(const uint8_t *)answer->str, answer->len};
    if (answer->type != REDIS_REPLY_ERROR || is_harmless(step, text))
        return STATUS_OK;
    explain(greeting, step, text, reason, reason_size);
    enum redis_fault fault = redis_fault_of(text);
    bool passes = fault == FAULT_WAIT || fault == FAULT_ELSEWHERE || fault == FAULT_SUSPENDED;
    return passes ? STATUS_UNAVAILABLE : STATUS_REFUSED;
}
