/*
 * answer - see answer.h. Runs in store-redis. Others write to Redis too, so anything may come.
 */
#include "store/redis/answer.h"

#include "proto/base/set.h"
#include "proto/base/text.h"

static struct reply outcome(enum status status)
{
    return (struct reply){.status = status};
}

static struct bytes text_of(const redisReply *answer)
{
    return (struct bytes){(const uint8_t *)answer->str, answer->len};
}

static bool is_nil(const redisReply *answer)
{
    return answer->type == REDIS_REPLY_NIL;
}

static bool is_string(const redisReply *answer)
{
    return answer->type == REDIS_REPLY_STRING;
}

/* ---- Strings ---- */

static struct reply value(const struct redis_asked *asked, const redisReply *answer,
                          struct buffer *scratch)
{
    (void)scratch;
    if (is_nil(answer))
        return outcome(STATUS_NOT_FOUND);
    if (!is_string(answer))
        return outcome(STATUS_INTERNAL);
    if (answer->len > asked->max_value)
        return outcome(STATUS_TOO_LARGE);
    return (struct reply){.value = text_of(answer)};
}

bool redis_parse_number(struct bytes text, int64_t *number_r)
{
    if (text.len == 0 || text.data[0] == '+' ||
        (text.len > 1 && text.data[text.data[0] == '-'] == '0'))
        return false;
    return text_int64(text, number_r);
}

static struct reply counter(const struct redis_asked *asked, const redisReply *answer,
                            struct buffer *scratch)
{
    struct reply reply = {0};
    (void)asked;
    (void)scratch;
    if (is_nil(answer))
        return reply;
    if (!is_string(answer))
        return outcome(STATUS_INTERNAL);
    return redis_parse_number(text_of(answer), &reply.number) ? reply : outcome(STATUS_WRONG_TYPE);
}

/* The spellings that the original read and wrote. */
static struct reply flag(const struct redis_asked *asked, const redisReply *answer,
                         struct buffer *scratch)
{
    bool value;
    (void)asked;
    (void)scratch;
    if (is_nil(answer))
        return (struct reply){0};
    if (!is_string(answer))
        return outcome(STATUS_INTERNAL);
    return text_flag(text_of(answer), &value) ? (struct reply){.number = value}
                                              : outcome(STATUS_WRONG_TYPE);
}

/* ---- Changes ---- */

static struct reply done(const struct redis_asked *asked, const redisReply *answer,
                         struct buffer *scratch)
{
    (void)scratch;
    if (answer->type != REDIS_REPLY_STATUS)
        return outcome(STATUS_INTERNAL);
    return (struct reply){.number = asked->number};
}

static struct reply sum(const struct redis_asked *asked, const redisReply *answer,
                        struct buffer *scratch)
{
    (void)asked;
    (void)scratch;
    if (answer->type != REDIS_REPLY_INTEGER)
        return outcome(STATUS_INTERNAL);
    return (struct reply){.number = answer->integer};
}

/* A deletion that was sent twice finds nothing the second time. */
static struct reply deleted(const struct redis_asked *asked, const redisReply *answer,
                            struct buffer *scratch)
{
    (void)scratch;
    if (answer->type != REDIS_REPLY_INTEGER)
        return outcome(STATUS_INTERNAL);
    return outcome(answer->integer > 0 || asked->repeated ? STATUS_OK : STATUS_NOT_FOUND);
}

/* ---- Sets ---- */

static enum status pack(const redisReply *item, struct buffer *scratch)
{
    uint8_t prefix[2];
    if (!is_string(item))
        return STATUS_INTERNAL;
    if (item->len < 1 || item->len > KEY_MAX)
        return STATUS_WRONG_TYPE; /* another program's: it cannot be shown, and hiding it would lie
                                   */
    set_prefix(item->len, prefix);
    buffer_append(scratch, prefix, sizeof prefix);
    buffer_append(scratch, item->str, item->len);
    return STATUS_OK;
}

static struct reply items(const struct redis_asked *asked, const redisReply *answer,
                          struct buffer *scratch)
{
    scratch->len = 0;
    if (answer->type != REDIS_REPLY_ARRAY)
        return outcome(STATUS_INTERNAL);
    for (size_t i = 0; i < answer->elements; i++) {
        enum status status = pack(answer->element[i], scratch);
        if (status != STATUS_OK)
            return outcome(status);
        if (scratch->len > asked->max_items)
            return outcome(STATUS_TOO_LARGE); /* more than may wait to be fetched */
    }
    return (struct reply){.value = buffer_bytes(scratch)};
}

/* ---- The table ---- */

struct reply redis_answer(const struct redis_asked *asked, const redisReply *answer,
                          struct buffer *scratch)
{
    static struct reply (*const read[OP_COUNT])(
        const struct redis_asked *asked, const redisReply *answer, struct buffer *scratch) = {
        [OP_CACHE_GET] = value,       [OP_CACHE_SET] = done, [OP_COUNTER_GET] = counter,
        [OP_COUNTER_INCREMENT] = sum, [OP_FLAG_GET] = flag,  [OP_FLAG_SET] = done,
        [OP_KV_GET] = value,          [OP_KV_PUT] = done,    [OP_KV_DELETE] = deleted,
        [OP_SET_GET] = items,         [OP_SET_ADD] = items,  [OP_SET_REMOVE] = items,
    };
    return read[asked->op](asked, answer, scratch);
}
