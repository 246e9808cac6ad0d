/*
 * cache - values that expire, and that a full memory store may evict. Runs in a store; see
 * ../README.md.
 */
#include "store/services/call.h"

enum status cache_get(struct call *call, struct reply *reply)
{
    return call_answer_value(call, reply);
}

enum status cache_set(struct call *call, struct reply *reply)
{
    return tx_put(call->tx, call_key(call), call->request->value, call->request->expiry_ms,
                  &reply->revision);
}
