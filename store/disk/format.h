/*
 * format - how what each channel has had applied is stored; see channels.h. The records' own layout
 * is in record.h. Read by store-disk and by strato-inspect.
 */
#ifndef STRATO_STORE_DISK_FORMAT_H
#define STRATO_STORE_DISK_FORMAT_H

#include <stdint.h>

struct channel_entry {
    uint64_t applied; /* submissions up to and including the last that was applied */
    uint64_t first;   /* sequence number that the first result is for; without any, as applied */
} __attribute__((packed));

enum { CHANNEL_NO_RESULT = 0xff };

/* Written by release 0.2.0 only. */
struct channel_result {
    uint8_t status; /* enum status, or CHANNEL_NO_RESULT */
    int64_t number;
    uint64_t revision;
} __attribute__((packed));

#endif
