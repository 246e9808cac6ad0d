/*
 * value - see value.h. Runs in a store. What lies in a place is copied before anything looks at it:
 * the worker could change it.
 */
#include "store/value.h"

enum { COPY_KEPT = 1 << 20 };

static bool copy_placed(const struct value_sources *sources, uint64_t sequence, size_t len)
{
    struct buffer *copy = sources->copy;
    const struct channel_places *places = &sources->end->places;
    if (copy->capacity > COPY_KEPT)
        buffer_free(copy);
    copy->len = 0;
    if (len > places->size)
        return false;
    buffer_reserve(copy, len);
    copy->len = len;
    return channel_place_read(places, channel_place_in(sequence), copy->data, len);
}

bool value_find(const struct value_sources *sources, const struct channel_taken *submission,
                uint64_t sequence, struct bytes *value_r)
{
    size_t len = submission->value_len;
    if (!(submission->flags & CHANNEL_BULK)) {
        *value_r = (struct bytes){submission->payload + submission->key_len, len};
        return true;
    }
    if (submission->flags & CHANNEL_PLACED) {
        bool there = copy_placed(sources, sequence, len);
        *value_r = buffer_bytes(sources->copy);
        return there;
    }
    return bulk_staged(sources->bulk, sources->channel, submission->bulk_id, value_r) &&
           value_r->len == len;
}
