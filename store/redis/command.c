/*
 * command - see command.h. Runs in store-redis; panics on an operation that has no row.
 */
#include "store/redis/command.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/base/log.h"

/* The set as of the change itself, which SADD and SMEMBERS one after the other would not give. */
#define SCRIPT(change)                                                                             \
    "redis.call('" change "',KEYS[1],ARGV[1]) return redis.call('SMEMBERS',KEYS[1])"

/* What follows the word and the key. */
enum tail { TAIL_NONE, TAIL_VALUE, TAIL_EXPIRING, TAIL_NUMBER };

static const struct {
    const char *word;
    const char *script; /* then word is EVAL */
    enum tail tail;
} rows[OP_COUNT] = {
    [OP_CACHE_GET] = {"GET", NULL, TAIL_NONE},
    [OP_CACHE_SET] = {"SET", NULL, TAIL_EXPIRING},
    [OP_COUNTER_GET] = {"GET", NULL, TAIL_NONE},
    [OP_COUNTER_INCREMENT] = {"INCRBY", NULL, TAIL_NUMBER},
    [OP_FLAG_GET] = {"GET", NULL, TAIL_NONE},
    [OP_FLAG_SET] = {"SET", NULL, TAIL_NUMBER},
    [OP_KV_GET] = {"GET", NULL, TAIL_NONE},
    [OP_KV_PUT] = {"SET", NULL, TAIL_VALUE},
    [OP_KV_DELETE] = {"DEL", NULL, TAIL_NONE},
    [OP_SET_GET] = {"SMEMBERS", NULL, TAIL_NONE},
    [OP_SET_ADD] = {"EVAL", SCRIPT("SADD"), TAIL_VALUE},
    [OP_SET_REMOVE] = {"EVAL", SCRIPT("SREM"), TAIL_VALUE},
};

static const struct {
    unsigned database;
    const char *prefix;
} places[SERVICE_COUNT] = {
    [SERVICE_CACHE] = {0, "cache:"}, [SERVICE_COUNTER] = {1, "counter:"},
    [SERVICE_FLAG] = {2, "flag:"},   [SERVICE_KV] = {3, "kv:"},
    [SERVICE_SET] = {4, "set:"},
};

unsigned redis_database(enum service service)
{
    return places[service].database;
}

const char *redis_prefix(enum service service)
{
    return places[service].prefix;
}

static void add(struct redis_command *command, const void *word, size_t len)
{
    command->words[command->count] = len ? word : "";
    command->lens[command->count++] = len;
}

static void add_text(struct redis_command *command, const char *word)
{
    add(command, word, strlen(word));
}

static void add_tail(struct redis_command *command, enum tail tail, const struct request *request,
                     uint64_t now_wall_ms)
{
    uint64_t left = request->expiry_ms > now_wall_ms ? request->expiry_ms - now_wall_ms : 1;
    if (tail == TAIL_VALUE || tail == TAIL_EXPIRING)
        add(command, request->value.data, request->value.len);
    if (tail == TAIL_NUMBER)
        snprintf(command->number, sizeof command->number, "%" PRId64, request->number);
    if (tail == TAIL_EXPIRING && request->expiry_ms) {
        add_text(command, "PX");
        snprintf(command->number, sizeof command->number, "%" PRIu64, left);
    }
    if (command->number[0])
        add_text(command, command->number);
}

void redis_command_make(struct redis_command *command, const struct request *request,
                        struct bytes key, uint64_t now_wall_ms)
{
    const char *script = rows[request->op].script;
    if (!rows[request->op].word)
        panic("operation %d has no Redis command", (int)request->op);
    command->count = 0;
    command->number[0] = '\0';
    add_text(command, rows[request->op].word);
    if (script) {
        add_text(command, script);
        add_text(command, "1");
    }
    add(command, key.data, key.len);
    add_tail(command, rows[request->op].tail, request, now_wall_ms);
}
