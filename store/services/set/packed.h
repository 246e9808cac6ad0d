/*
 * packed - sets as one run of bytes, all items packed as in proto/base/set.h. So is the record of a
 * small one where hot reads find what is stored.
 */
#ifndef STRATO_STORE_SERVICES_SET_PACKED_H
#define STRATO_STORE_SERVICES_SET_PACKED_H

#include "proto/base/bytes.h"

enum {
    PACKED_MAX = 4096,             /* one that grows beyond these bytes is kept item by item, ... */
    PACKED_AGAIN = PACKED_MAX / 4, /* ... and packed again when it has shrunk to these */
    /* More than one transaction can write stay packed: sets that release 0.2.0 left behind. */
    PACKED_ITEMS_MAX = 4000,
};

/* Whether a set of these items is to be kept item by item once another of len bytes is added. */
bool packed_is_outgrown(struct bytes items, size_t len);
bool packed_has(struct bytes items, struct bytes item);
/* The set with one more item, or without one that it has. In the buffer, whose content goes. */
struct bytes packed_with(struct bytes items, struct bytes item, struct buffer *buffer);
struct bytes packed_without(struct bytes items, struct bytes item, struct buffer *buffer);

#endif
