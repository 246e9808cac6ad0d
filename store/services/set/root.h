/*
 * root - the record of a set whose items are kept one by one in a collection, so that changing one
 * writes no others.
 *
 * Where hot reads find what is stored (tx_has_views() is false) a small set has no root: its record
 * is its packed items, and a root has two zero bytes before it that tell it from these (set.h).
 */
#ifndef STRATO_STORE_SERVICES_SET_ROOT_H
#define STRATO_STORE_SERVICES_SET_ROOT_H

#include <stdint.h>

struct set_root {
    uint64_t id;     /* of the collection; never 0 */
    uint64_t items;  /* in it; never 0 */
    uint64_t packed; /* bytes of all items as proto/base/set.h packs them */
} __attribute__((packed));

enum { SET_ROOT_MARK = 2 }; /* bytes before it, if any */

#endif
