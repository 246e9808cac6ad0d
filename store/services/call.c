/*
 * call - see call.h. Runs in every store that carries services out; cannot fail by itself.
 */
#include "store/services/call.h"

static enum status (*const means_of[OP_COUNT])(struct call *call, struct reply *reply) = {
#define OPERATION(number, service, symbol, means, name, kind, repeat, takes) [number] = (means),
#include "proto/api/operations.def"
};

enum status call_answer_value(struct call *call, struct reply *reply)
{
    struct tx_item item;
    enum status status = tx_get(call->tx, call_key(call), &item);
    if (status == STATUS_OK) {
        reply->value = item.value;
        reply->revision = item.revision;
    }
    return status;
}

enum status call_carry_out(struct call *call, struct reply *reply_r)
{
    *reply_r = (struct reply){0};
    enum status status = means_of[call->request->op](call, reply_r);
    if (call->request->no_value)
        reply_r->value = (struct bytes){0};
    if (status != STATUS_OK)
        *reply_r = (struct reply){.status = status};
    return status;
}
