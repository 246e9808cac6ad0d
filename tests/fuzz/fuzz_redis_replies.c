/*
 * fuzz_redis_replies - what a Redis answers, through all that store-redis does with it: cut into
 * answers, the greeting, an operation's result, a cluster's map, an error's meaning.
 *
 * Input: byte 0 how large the pieces are, byte 1 the operation, byte 2 bounds and what was sent
 * before, then the bytes of the connection.
 */
#include <stdlib.h>
#include <string.h>

#include "store/redis/answer.h"
#include "store/redis/fault.h"
#include "store/redis/greeting.h"
#include "store/redis/intake.h"
#include "store/redis/map.h"
#include "store/redis/script.h"

enum { LIMIT = 20000, STRING_MAX = 600, MAX_VALUE = 500 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned covered;

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void own(void *context, unsigned first, unsigned last, const char *host, uint16_t port)
{
    (void)context;
    must(first <= last && last < 16384 && strlen(host) < REDIS_HOST_MAX && port > 0);
    covered += last - first + 1;
}

static void hear(struct redis_greeting *greeting, const redisReply *answer)
{
    char reason[300];
    if (redis_greeting_over(greeting))
        return;
    if (redis_greeting_hear(greeting, answer, reason, sizeof reason) != STATUS_OK)
        must(memchr(reason, '\0', sizeof reason) &&
             (!greeting->password[0] || !strstr(reason, greeting->password)));
}

static void read_error(const redisReply *answer)
{
    struct bytes text = {(const uint8_t *)answer->str, answer->len};
    struct redis_target target;
    char shown[100];
    must(redis_fault_status(redis_fault_of(text)) != STATUS_OK);
    if (redis_fault_target(text, &target))
        must(target.slot < 16384 && strlen(target.host) < REDIS_HOST_MAX);
    redis_fault_text(text, shown, sizeof shown);
    for (const char *at = shown; *at; at++)
        must(*at >= ' ' && *at <= '~');
}

static void read_answer(const redisReply *answer, enum op op, bool repeated)
{
    const struct redis_asked asked = {
        .op = op, .number = 1, .repeated = repeated, .max_value = MAX_VALUE, .max_items = LIMIT};
    struct buffer scratch = {0};
    struct api_pool pool;
    api_pool_open(&pool);
    if (answer->type == REDIS_REPLY_ERROR) {
        read_error(answer);
        return;
    }
    bool message = op_info(op)->takes == OP_TAKES_MESSAGE;
    struct reply reply = message && redis_script_has(op) ? redis_script_answer(op, answer, &pool)
                         : message ? (struct reply){.status = STATUS_UNSUPPORTED}
                                   : redis_answer(&asked, answer, &scratch);
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < reply.value.len; i++)
        sum = (uint8_t)(sum + reply.value.data[i]);
    buffer_free(&scratch);
    api_pool_reset(&pool);
    covered = 0;
    redis_map_read(answer, own, NULL);
    must(covered <= 16384);
}

static struct redis_greeting greeting_of(uint8_t kind)
{
    static const struct conf_url with = {.host = "h", .port = 1, .password = "the-password"};
    static const struct conf_url without = {.host = "h", .port = 1};
    static redisContext context;
    struct redis_greeting greeting;
    if (!context.obuf)
        context.obuf = sdsempty();
    sdsclear(context.obuf);
    redis_greeting_say(&greeting, &context, kind & 2 ? &with : &without, kind & 4 ? 3 : 0);
    return greeting;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 3)
        return 0;
    size_t piece = 1 + (size_t)data[0] * (data[0] & 1 ? 1 : 64);
    enum op op = (enum op)(1 + data[1] % (OP_COUNT - 1));
    struct redis_greeting greeting = greeting_of(data[2]);
    struct redis_intake intake;
    enum redis_intake_result result = INTAKE_MORE;
    redis_intake_open(&intake, LIMIT, STRING_MAX);
    for (size_t at = 3; at < len && result != INTAKE_BROKEN; at += piece) {
        redisReply *answer;
        redis_intake_feed(&intake, (const char *)data + at, len - at < piece ? len - at : piece);
        while ((result = redis_intake_next(&intake, &answer)) == INTAKE_ANSWER) {
            hear(&greeting, answer);
            read_answer(answer, op, data[2] & 1);
            redis_intake_free(answer);
        }
        must(intake.used <= LIMIT);
        must(intake.reader->len - intake.reader->pos <= REDIS_LINE_MAX + piece);
    }
    redis_intake_close(&intake);
    return 0;
}
