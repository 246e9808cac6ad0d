/*
 * intake - see intake.h. Runs in store-redis; panics when memory runs out.
 *
 * hiredis 0.14 makes its objects through a table of functions: ours count, and hand over to its
 * own. Once an answer is too large nothing of it is made any more; every object is then this one.
 */
#include "store/redis/intake.h"

#include <hiredis/sds.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"

enum { LENGTH_MAX = 24 }; /* bytes of a length and its line's end, and a few more */

static char too_large_text[] = "TOOLARGE the answer is larger than is allowed";
static redisReply too_large = {
    .type = REDIS_REPLY_ERROR, .str = too_large_text, .len = sizeof too_large_text - 1};
static redisReplyObjectFunctions *makers; /* hiredis's own */

/* ---- What hiredis calls ---- */

/* Whether the answer may have so many bytes more. */
static bool afford(const redisReadTask *task, uint64_t bytes)
{
    struct redis_intake *intake = task->privdata;
    if (!intake->over && bytes <= intake->limit - intake->used)
        intake->used += bytes;
    else
        intake->over = true;
    return !intake->over;
}

static void *make_string(const redisReadTask *task, char *text, size_t len)
{
    return afford(task, REDIS_ELEMENT + len) ? makers->createString(task, text, len) : &too_large;
}

static void *make_array(const redisReadTask *task, int elements)
{
    uint64_t bytes = REDIS_ELEMENT + sizeof(redisReply *) * (uint64_t)elements;
    return afford(task, bytes) ? makers->createArray(task, elements) : &too_large;
}

static void *make_integer(const redisReadTask *task, long long number)
{
    return afford(task, REDIS_ELEMENT) ? makers->createInteger(task, number) : &too_large;
}

static void *make_nil(const redisReadTask *task)
{
    return afford(task, REDIS_ELEMENT) ? makers->createNil(task) : &too_large;
}

static void free_object(void *object)
{
    if (object != &too_large)
        makers->freeObject(object);
}

static redisReplyObjectFunctions counted = {make_string, make_array, make_integer, make_nil,
                                            free_object};

/* ---- Opening and closing ---- */

void redis_intake_open(struct redis_intake *intake, uint64_t limit, uint64_t string_max)
{
    *intake = (struct redis_intake){.limit = limit, .string_max = string_max};
    intake->reader = redisReaderCreate();
    if (!intake->reader)
        panic("out of memory: a reader of answers");
    makers = intake->reader->fn;
    intake->reader->fn = &counted;
    intake->reader->privdata = intake;
}

void redis_intake_close(struct redis_intake *intake)
{
    redisReaderFree(intake->reader);
    intake->reader = NULL;
}

/* ---- Reading ---- */

void redis_intake_feed(struct redis_intake *intake, const char *data, size_t len)
{
    size_t dropped = len < intake->skip ? len : (size_t)intake->skip;
    intake->skip -= dropped;
    /* Out of memory shows in the reader. */
    (void)redisReaderFeed(intake->reader, data + dropped, len - dropped);
}

/* The length that a string begins with, when all of it is there. size_r: with its line's end. */
static bool read_length(const char *text, size_t len, uint64_t *length_r, size_t *size_r)
{
    uint64_t length = 0;
    size_t at = 0;
    for (; at < len && at < LENGTH_MAX && text[at] >= '0' && text[at] <= '9'; at++)
        length =
            length * 10 + (uint64_t)(text[at] - '0'); /* hiredis has refused what is too long */
    *length_r = length;
    *size_r = at + 2;
    return at > 0 && *size_r <= len && text[at] == '\r' && text[at + 1] == '\n';
}

/* The reader gets a nil in its place. */
static void drop_string(struct redis_intake *intake, uint64_t length, size_t size)
{
    static const char nil[] = "-1\r\n";
    redisReader *reader = intake->reader;
    char *text = reader->buf + reader->pos;
    intake->skip = length + 2 - (reader->len - reader->pos - size);
    intake->over = true;
    memcpy(text, nil, sizeof nil); /* shorter than any length over string_max and its line's end */
    reader->len = reader->pos + sizeof nil - 1;
    sdssetlen(reader->buf, reader->len);
}

/* What is in the reader is the beginning of something. Whether it may be: a string that is too long
 * is dropped here. */
static bool may_begin(struct redis_intake *intake)
{
    redisReader *reader = intake->reader;
    const char *text = reader->buf + reader->pos;
    size_t len = reader->len - reader->pos, size;
    uint64_t length;
    int type = reader->ridx >= 0 ? reader->rstack[reader->ridx].type : -1;
    if (type == REDIS_REPLY_STRING && read_length(text, len, &length, &size)) {
        if (length > intake->string_max || length > intake->limit - intake->used)
            drop_string(intake, length, size);
        return true;
    }
    bool counts = type == REDIS_REPLY_STRING || type == REDIS_REPLY_ARRAY;
    return len <= (counts ? LENGTH_MAX : REDIS_LINE_MAX);
}

static enum redis_intake_result broken(struct redis_intake *intake)
{
    intake->reader->err = REDIS_ERR_PROTOCOL;
    strcpy(intake->reader->errstr, "Protocol error, a line that does not end");
    return INTAKE_BROKEN;
}

/* Leaves the count at its beginning for the next answer. */
static redisReply *take(struct redis_intake *intake, redisReply *answer)
{
    bool over = intake->over;
    intake->used = 0;
    intake->over = false;
    if (!over || answer == &too_large)
        return answer;
    makers->freeObject(answer);
    return &too_large;
}

enum redis_intake_result redis_intake_next(struct redis_intake *intake, redisReply **answer_r)
{
    for (;;) {
        void *answer = NULL;
        uint64_t skip = intake->skip;
        if (redisReaderGetReply(intake->reader, &answer) != REDIS_OK)
            return INTAKE_BROKEN;
        if (answer) {
            *answer_r = take(intake, answer);
            return INTAKE_ANSWER;
        }
        if (!may_begin(intake))
            return broken(intake);
        if (skip == intake->skip)
            return INTAKE_MORE;
        /* A string was dropped: what it belongs to may be complete. */
    }
}

void redis_intake_free(redisReply *answer)
{
    if (answer != &too_large)
        freeReplyObject(answer);
}

const char *redis_intake_error(const struct redis_intake *intake)
{
    return intake->reader->errstr;
}
