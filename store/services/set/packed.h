/*
 * packed - sets that are one record: all items packed as in proto/base/set.h. So where a store has
 * no collections.
 */
#ifndef STRATO_STORE_SERVICES_SET_PACKED_H
#define STRATO_STORE_SERVICES_SET_PACKED_H

#include "store/services/call.h"

/* set_get(), set_add() and set_remove() for such sets. */
enum status packed_get(struct call *call, struct reply *reply);
enum status packed_add(struct call *call, struct reply *reply);
enum status packed_remove(struct call *call, struct reply *reply);

#endif
