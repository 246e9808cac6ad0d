/*
 * answer - puts what an engine answers where its completion will be published.
 */
#ifndef STRATO_STORE_ANSWER_H
#define STRATO_STORE_ANSWER_H

#include "proto/channel/channel.h"
#include "store/bulk.h"

struct answer {
    const struct reply *reply; /* its value is copied */
    uint32_t channel;
    uint64_t sequence;
    uint16_t flags; /* of the completion */
};

/* False when there is no memory for its value: a refusal is kept. */
bool answer_keep(const struct answer *answer, struct channel_store *end, struct bulk *bulk);

#endif
