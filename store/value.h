/*
 * value - where the value of a submission is: in its slot, in the slot's place, or staged.
 */
#ifndef STRATO_STORE_VALUE_H
#define STRATO_STORE_VALUE_H

#include "proto/channel/channel.h"
#include "store/bulk.h"

struct value_sources {
    const struct channel_store *end;
    uint32_t channel;
    struct bulk *bulk;
    struct buffer *copy; /* of what lies in a place */
};

/* submission: with lengths that were checked. False when the value is not there (any more). Valid
 * until the next call here. */
bool value_find(const struct value_sources *sources, const struct channel_taken *submission,
                uint64_t sequence, struct bytes *value_r);

#endif
