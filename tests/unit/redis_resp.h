/* RESP through the parser that store-redis uses. For its unit tests. */
#ifndef STRATO_TESTS_UNIT_REDIS_RESP_H
#define STRATO_TESTS_UNIT_REDIS_RESP_H

#include "store/redis/answer.h"

/* One complete reply; freeReplyObject() it. */
static inline redisReply *resp_parse(const char *text, size_t len)
{
    void *reply = NULL;
    redisReader *reader = redisReaderCreate();
    assert_non_null(reader);
    assert_int_equal(redisReaderFeed(reader, text, len), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    redisReaderFree(reader);
    return reply;
}

#endif
