/*
 * packed - see packed.h. Runs in a store.
 */
#include "store/services/set/packed.h"

#include "proto/base/set.h"

enum status packed_get(struct call *call, struct reply *reply)
{
    enum status status = call_answer_value(call, reply);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* Where the item stands in the packed items, its length bytes included. */
static bool find(struct bytes items, struct bytes item, struct bytes *at_r)
{
    struct bytes rest = items, next;
    while (set_next(&rest, &next))
        if (bytes_equal(next, item)) {
            *at_r = (struct bytes){next.data - 2, next.len + 2};
            return true;
        }
    return false;
}

/* Stores what scratch holds as the set, and answers with it. */
static enum status put(struct call *call, struct reply *reply)
{
    reply->value = buffer_bytes(call->scratch);
    if (reply->value.len > 0)
        return tx_put(call->tx, call_key(call), reply->value, 0, &reply->revision);
    reply->revision = 0;
    return tx_remove(call->tx, call_key(call));
}

enum status packed_add(struct call *call, struct reply *reply)
{
    struct bytes item = call->request->value, at;
    uint8_t prefix[2];
    enum status status = packed_get(call, reply);
    if (status != STATUS_OK || find(reply->value, item, &at))
        return status;
    if (reply->value.len + sizeof prefix + item.len > call->limits->max_set)
        return STATUS_TOO_LARGE;
    set_prefix(item.len, prefix);
    call->scratch->len = 0;
    buffer_append(call->scratch, reply->value.data, reply->value.len);
    buffer_append(call->scratch, prefix, sizeof prefix);
    buffer_append(call->scratch, item.data, item.len);
    return put(call, reply);
}

enum status packed_remove(struct call *call, struct reply *reply)
{
    struct bytes at;
    enum status status = packed_get(call, reply);
    if (status != STATUS_OK || !find(reply->value, call->request->value, &at))
        return status;
    size_t before = (size_t)(at.data - reply->value.data);
    call->scratch->len = 0;
    buffer_append(call->scratch, reply->value.data, before);
    buffer_append(call->scratch, at.data + at.len, reply->value.len - before - at.len);
    return put(call, reply);
}
