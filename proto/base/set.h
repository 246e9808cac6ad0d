/*
 * set - how the items of a set are packed into one value: for each item its length as two bytes,
 * little-endian, then its bytes. In records, in channels and over the link.
 */
#ifndef STRATO_PROTO_BASE_SET_H
#define STRATO_PROTO_BASE_SET_H

#include <stdbool.h>

#include "proto/base/bytes.h"

/*
 * Takes the next item off the front of *rest. False at the end, and also when what is left is no
 * item (a length of 0, over KEY_MAX or past the end): then rest->len is not 0.
 */
static inline bool set_next(struct bytes *rest, struct bytes *item_r)
{
    if (rest->len < 2)
        return false;
    size_t len = (size_t)rest->data[0] | (size_t)rest->data[1] << 8;
    if (len == 0 || len > 480 || len > rest->len - 2)
        return false;
    *item_r = (struct bytes){rest->data + 2, len};
    rest->data += 2 + len;
    rest->len -= 2 + len;
    return true;
}

/*
 * A set that is kept item by item has a root in place of its packed items, which begins with an
 * impossible length, two zero bytes: who meets it asks the store for the items.
 */
static inline bool set_is_root(struct bytes value)
{
    return value.len >= 2 && value.data[0] == 0 && value.data[1] == 0;
}

/* The two length bytes that go before an item of len bytes (1 to KEY_MAX). */
static inline void set_prefix(size_t len, uint8_t prefix[2])
{
    prefix[0] = (uint8_t)(len & 0xff);
    prefix[1] = (uint8_t)(len >> 8);
}

#endif
