/*
 * flag - on or off; one that was never set is off. Runs in a store; see ../README.md.
 */
#include "store/services/call.h"

enum status flag_get(struct call *call, struct reply *reply)
{
    struct tx_item item;
    enum status status = tx_get(call->tx, call_key(call), &item);
    if (status == STATUS_OK) {
        reply->number = item.value.data[0];
        reply->revision = item.revision;
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status flag_set(struct call *call, struct reply *reply)
{
    reply->number = call->request->number != 0;
    const struct bytes value = {(const uint8_t *)&reply->number, 1}; /* little-endian */
    return tx_put(call->tx, call_key(call), value, 0, &reply->revision);
}
