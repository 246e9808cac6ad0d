/*
 * root - the record of a set: its items are kept one by one in a collection, so that changing one
 * writes no others.
 */
#ifndef STRATO_STORE_SERVICES_SET_ROOT_H
#define STRATO_STORE_SERVICES_SET_ROOT_H

#include <stdint.h>

struct set_root {
    uint64_t id;     /* of the collection; never 0 */
    uint64_t items;  /* in it; never 0 */
    uint64_t packed; /* bytes of all items as proto/base/set.h packs them */
} __attribute__((packed));

#endif
