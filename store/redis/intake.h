/*
 * intake - bytes from a Redis as its answers, in bounded memory. Pure.
 *
 * hiredis parses; this counts what it keeps. An answer that would take more than the limit, or has
 * one string longer than string_max, is read to its end and dropped, string by string, so that the
 * connection goes on with the next answer. Anything that can have no end (a line without one, a
 * length that is no number) is for the caller to end the connection.
 */
#ifndef STRATO_STORE_REDIS_INTAKE_H
#define STRATO_STORE_REDIS_INTAKE_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    REDIS_LINE_MAX = 65536, /* longest status, error or number */
    REDIS_ELEMENT = 100,    /* what one element of an answer costs, besides its bytes */
};

struct redis_intake {
    redisReader *reader; /* NULL: closed */
    uint64_t limit, string_max;
    uint64_t used; /* by the answer that is being read; always <= limit */
    uint64_t skip; /* so many of the next bytes belong to a string that is dropped */
    bool over;     /* the answer that is being read is too large */
};

/* The limits hold for the answers that come after it; they may be changed between answers.
 * limit: most bytes of memory for one answer, at least string_max. string_max: the longest string
 * that is kept, at least 16. */
void redis_intake_open(struct redis_intake *intake, uint64_t limit, uint64_t string_max);
/* Also when it is closed. Answers that were taken stay. */
void redis_intake_close(struct redis_intake *intake);

/* Adds what came. */
void redis_intake_feed(struct redis_intake *intake, const char *data, size_t len);

enum redis_intake_result { INTAKE_ANSWER, INTAKE_MORE, INTAKE_BROKEN };
/* The next answer, redis_intake_free() it; or more bytes are needed; or it cannot go on, and
 * redis_intake_error() says why. An answer that was too large is an error that begins with
 * "TOOLARGE " (see fault.h). */
enum redis_intake_result redis_intake_next(struct redis_intake *intake, redisReply **answer_r);
void redis_intake_free(redisReply *answer);
const char *redis_intake_error(const struct redis_intake *intake);

#endif
