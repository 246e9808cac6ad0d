/*
 * slot - see slot.h. Runs in store-redis; cannot fail.
 */
#include "store/redis/slot.h"

/* x^16 + x^12 + x^5 + 1, four bits at a time. */
static unsigned crc16(struct bytes bytes)
{
    static const uint16_t table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5,
                                       0x60c6, 0x70e7, 0x8108, 0x9129, 0xa14a, 0xb16b,
                                       0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    uint16_t crc = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        crc = (uint16_t)(crc << 4) ^ table[crc >> 12 ^ bytes.data[i] >> 4];
        crc = (uint16_t)(crc << 4) ^ table[crc >> 12 ^ (bytes.data[i] & 15)];
    }
    return crc;
}

static struct bytes tag_of(struct bytes key)
{
    const uint8_t *open = key.len ? memchr(key.data, '{', key.len) : NULL;
    if (!open)
        return key;
    size_t rest = key.len - (size_t)(open + 1 - key.data);
    const uint8_t *close = rest ? memchr(open + 1, '}', rest) : NULL;
    if (!close || close == open + 1)
        return key;
    return (struct bytes){open + 1, (size_t)(close - open - 1)};
}

unsigned redis_slot(struct bytes key)
{
    return crc16(tag_of(key)) % REDIS_SLOTS;
}
