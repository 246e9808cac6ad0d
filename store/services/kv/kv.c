/*
 * kv - values under keys, without expiry. Runs in a store; see ../README.md.
 */
#include "store/services/call.h"

enum status kv_get(struct call *call, struct reply *reply)
{
    return call_answer_value(call, reply);
}

enum status kv_put(struct call *call, struct reply *reply)
{
    return tx_put(call->tx, call_key(call), call->request->value, 0, &reply->revision);
}

enum status kv_delete(struct call *call, struct reply *reply)
{
    (void)reply;
    return tx_remove(call->tx, call_key(call));
}
