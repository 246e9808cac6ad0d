/*
 * answer - what Redis answered, as the reply to the request. Pure but for the set it packs.
 */
#ifndef STRATO_STORE_REDIS_ANSWER_H
#define STRATO_STORE_REDIS_ANSWER_H

#include <hiredis/hiredis.h>

#include "proto/base/op.h"

struct redis_asked {
    enum op op;
    int64_t number; /* of the request */
    bool repeated;  /* it may have been carried out before, by an earlier sending */
    uint64_t max_value;
    uint64_t max_items; /* bytes of a set's packed items */
};

/*
 * The reply to what was asked, for anything but an error (see fault.h). Its value points into what
 * Redis answered or into scratch. STATUS_WRONG_TYPE when Redis holds what this operation cannot
 * read: a counter that is no number, an item that is empty or too long; STATUS_TOO_LARGE for a
 * value over max_value and a set over max_items; STATUS_INTERNAL for an answer of a kind that the
 * command never has.
 */
struct reply redis_answer(const struct redis_asked *asked, const redisReply *answer,
                          struct buffer *scratch);

/* As INCRBY takes it: digits after at most one minus, no zero before others or after a minus,
 * nothing else, within int64. */
bool redis_parse_number(struct bytes text, int64_t *number_r);

#endif
