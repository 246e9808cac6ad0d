/*
 * kv - values under keys, without expiry. Runs in a store; see ../README.md.
 */
#include "proto/api/strato/v1/store.pb-c.h"
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

enum status kv_append(struct call *call, struct reply *reply)
{
    const Strato__V1__AppendRequest *asked = call->message;
    Strato__V1__AppendResponse *answer = call->answer;
    struct tx_item item = {0};
    enum status status = tx_get(call->tx, call_key(call), &item);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    answer->length = (int64_t)(item.value.len + asked->value.len);
    if ((uint64_t)answer->length > call->limits->max_value)
        return call_refuse(call, STATUS_TOO_LARGE, "the value would be longer than max_value");
    call->scratch->len = 0;
    buffer_append(call->scratch, item.value.data, item.value.len);
    buffer_append(call->scratch, asked->value.data, asked->value.len);
    return tx_put(call->tx, call_key(call), buffer_bytes(call->scratch), item.expiry_ms,
                  &reply->revision);
}
