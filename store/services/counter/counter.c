/*
 * counter - whole numbers of 64 bits; one that is not there is 0. Runs in a store; see
 * ../README.md.
 */
#include "store/services/call.h"

enum status counter_get(struct call *call, struct reply *reply)
{
    struct tx_item item;
    enum status status = tx_get(call->tx, call_key(call), &item);
    if (status == STATUS_OK) {
        memcpy(&reply->number, item.value.data, sizeof reply->number); /* little-endian */
        reply->revision = item.revision;
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status counter_increment(struct call *call, struct reply *reply)
{
    enum status status = counter_get(call, reply);
    if (status != STATUS_OK)
        return status;
    if (__builtin_add_overflow(reply->number, call->request->number, &reply->number))
        return STATUS_OUT_OF_RANGE;
    const struct bytes value = {(const uint8_t *)&reply->number, sizeof reply->number};
    return tx_put(call->tx, call_key(call), value, 0, &reply->revision);
}
