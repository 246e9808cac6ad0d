/*
 * command - see command.h. Runs in store-redis; panics on an operation that has no row.
 */
#include "store/redis/command.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/base/log.h"

/* The set as of the change itself, which SREM and SMEMBERS one after the other would not give. */
#define REMOVE "redis.call('SREM',KEYS[1],ARGV[1]) return redis.call('SMEMBERS',KEYS[1])"
/* ARGV[2]: max_set. The items are counted only where their number leaves it open: each has 1 to 480
 * bytes, and 2 more count. */
#define ADD                                                                                        \
    "local k,i,m=KEYS[1],ARGV[1],tonumber(ARGV[2])-#ARGV[1]-2 "                                    \
    "local n=redis.call('SCARD',k) "                                                               \
    "if n*482>m and redis.call('SISMEMBER',k,i)==0 then "                                          \
    "local s=n*3 "                                                                                 \
    "if s<=m then s=2*n for _,v in ipairs(redis.call('SMEMBERS',k)) do s=s+#v end end "            \
    "if s>m then return redis.error_reply('TOOLARGE the set') end "                                \
    "end "                                                                                         \
    "redis.call('SADD',k,i) return redis.call('SMEMBERS',k)"

/* What follows the word and the key. */
enum tail { TAIL_NONE, TAIL_VALUE, TAIL_EXPIRING, TAIL_NUMBER, TAIL_BOUNDED };

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
    [OP_SET_ADD] = {"EVAL", ADD, TAIL_BOUNDED},
    [OP_SET_REMOVE] = {"EVAL", REMOVE, TAIL_VALUE},
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

size_t redis_mark(uint16_t namespace, struct bytes key, char mark[REDIS_MARK_MAX])
{
    static const char begins[] = "\xffstrato@";
    const size_t len = sizeof begins - 1;
    bool looks_marked = key.len >= len && memcmp(key.data, begins, len) == 0;
    if (namespace == 0 && !looks_marked)
        return 0;
    return (size_t)snprintf(mark, REDIS_MARK_MAX, "%s%u:", begins, namespace);
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

/* Redis adds its own clock to it, which must not leave int64. */
static uint64_t time_left(uint64_t expiry_ms, uint64_t now_wall_ms)
{
    static const uint64_t most = 1ull << 53;
    uint64_t left = expiry_ms > now_wall_ms ? expiry_ms - now_wall_ms : 1;
    return left < most ? left : most;
}

static void add_tail(struct redis_command *command, enum tail tail, const struct request *request,
                     const struct redis_terms *terms)
{
    if (tail == TAIL_VALUE || tail == TAIL_EXPIRING || tail == TAIL_BOUNDED)
        add(command, request->value.data, request->value.len);
    if (tail == TAIL_NUMBER)
        snprintf(command->number, sizeof command->number, "%" PRId64, request->number);
    if (tail == TAIL_BOUNDED)
        snprintf(command->number, sizeof command->number, "%" PRIu64, terms->max_set);
    if (tail == TAIL_EXPIRING && request->expiry_ms) {
        add_text(command, "PX");
        snprintf(command->number, sizeof command->number, "%" PRIu64,
                 time_left(request->expiry_ms, terms->now_wall_ms));
    }
    if (command->number[0])
        add_text(command, command->number);
}

static void begin(struct redis_command *command, const char *word, const char *script)
{
    command->count = 0;
    command->number[0] = '\0';
    add_text(command, word);
    if (script) {
        add_text(command, script);
        add_text(command, "1");
    }
}

void redis_command_make(struct redis_command *command, const struct request *request,
                        struct bytes key, const struct redis_terms *terms)
{
    if (!rows[request->op].word)
        panic("operation %d has no Redis command", (int)request->op);
    begin(command, rows[request->op].word, rows[request->op].script);
    add(command, key.data, key.len);
    add_tail(command, rows[request->op].tail, request, terms);
}

/* ---- Trying ---- */

enum { TRIES = 4, TRY_WORDS = 3 };

/* What ADD calls besides. */
#define COUNT "redis.call('SCARD',KEYS[1]) return redis.call('SISMEMBER',KEYS[1],ARGV[1])"
/* Redis 7 refuses the write in a script of these flags, but only after it knows the command and the
 * user's right to it. Before, this is no script at all. SREM is for a server that reads no flags.
 */
#define ADD_NOTHING                                                                                \
    "#!lua flags=no-writes\n"                                                                      \
    "redis.call('SADD',KEYS[1],ARGV[1]) redis.call('SREM',KEYS[1],ARGV[1])"

/* What follows the key makes no sense, or the key does not exist. */
static const struct {
    const char *word, *script;
    const char *rest[TRY_WORDS];
} tries[SERVICE_COUNT][TRIES] = {
    [SERVICE_CACHE] = {{"GET", NULL, {NULL}}, {"SET", NULL, {"", "NX", "XX"}}},
    [SERVICE_COUNTER] = {{"GET", NULL, {NULL}}, {"INCRBY", NULL, {"nothing"}}},
    [SERVICE_FLAG] = {{"GET", NULL, {NULL}}, {"SET", NULL, {"", "NX", "XX"}}},
    [SERVICE_KV] = {{"GET", NULL, {NULL}}, {"SET", NULL, {"", "NX", "XX"}}, {"DEL", NULL, {NULL}}},
    [SERVICE_SET] = {{"SMEMBERS", NULL, {NULL}},
                     {"EVAL", REMOVE, {"nothing"}},
                     {"EVAL", COUNT, {"nothing"}},
                     {"EVAL", ADD_NOTHING, {"nothing"}}},
};

bool redis_command_try(struct redis_command *command, enum service service, unsigned number,
                       struct bytes key)
{
    if (number >= TRIES || !tries[service][number].word)
        return false;
    begin(command, tries[service][number].word, tries[service][number].script);
    add(command, key.data, key.len);
    for (int i = 0; i < TRY_WORDS && tries[service][number].rest[i]; i++)
        add_text(command, tries[service][number].rest[i]);
    return true;
}

struct bytes redis_command_try_key(const char *prefix, unsigned tag, char *key)
{
    int len = snprintf(key, REDIS_TRY_KEY_MAX, "%s{%u}strato-tries-this:", prefix, tag);
    memset(key + len, '-', (size_t)(REDIS_TRY_KEY_MAX - len));
    return (struct bytes){(const uint8_t *)key, REDIS_TRY_KEY_MAX};
}
