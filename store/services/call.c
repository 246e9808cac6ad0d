/*
 * call - see call.h. Runs in every store that carries services out; cannot fail by itself.
 */
#include "store/services/call.h"

#include <stdarg.h>
#include <stdio.h>

enum { CALL_WHY_MAX = 300 };

#ifdef STRATO_FAILPOINTS
#define FIXED
#else
#define FIXED const
#endif

static enum status (*FIXED means_of[OP_COUNT])(struct call *call, struct reply *reply) = {
#define OPERATION(number, service, symbol, means, name, kind, repeat, takes) [number] = (means),
#include "proto/api/operations.def"
};

#ifdef STRATO_FAILPOINTS
void call_means(enum op op, enum status (*means)(struct call *call, struct reply *reply))
{
    means_of[op] = means;
}
#endif

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

enum status call_refuse(struct call *call, enum status status, const char *format, ...)
{
    char text[CALL_WHY_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    call->scratch->len = 0;
    buffer_append_text(call->scratch, text);
    call->why = buffer_bytes(call->scratch);
    return status;
}

/* What a worker checks before it submits: only a broken one sends what is wrong here. */
static enum status take_message(struct call *call, const ProtobufCMessageDescriptor *descriptor)
{
    const ProtobufCFieldDescriptor *key = api_bytes_field(descriptor, "key");
    call->message = api_unpack(descriptor, call->request->value, call->pool);
    if (!call->message)
        return call_refuse(call, STATUS_INVALID, "%s",
                           call->pool->exhausted ? "the message has too many fields"
                                                 : "the message does not parse");
    if (key && !bytes_equal(api_bytes(call->message, key), call->request->key))
        return call_refuse(call, STATUS_INVALID, "the message is about another key");
    return STATUS_OK;
}

static enum status carry_message_out(struct call *call, const struct api_messages *messages,
                                     struct reply *reply)
{
    api_pool_reset(call->pool);
    enum status status = take_message(call, messages->request);
    if (status != STATUS_OK)
        return status;
    call->answer = api_new(messages->reply, call->pool);
    status = means_of[call->request->op](call, reply);
    if (status == STATUS_OK)
        reply->value = api_pack(call->answer, call->pool);
    return status;
}

enum status call_carry_out(struct call *call, struct reply *reply_r)
{
    *reply_r = (struct reply){0};
    const struct api_messages *messages = op_info(call->request->op)->takes == OP_TAKES_MESSAGE
                                              ? api_messages(call->request->op)
                                              : NULL;
    enum status status = messages ? carry_message_out(call, messages, reply_r)
                                  : means_of[call->request->op](call, reply_r);
    if (call->request->no_value)
        reply_r->value = (struct bytes){0};
    if (status != STATUS_OK)
        *reply_r = (struct reply){.status = status, .value = call->why};
    return status;
}
