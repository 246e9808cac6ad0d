/*
 * methods - see methods.h. Runs in the gRPC workers; touches nothing but its arguments, and fails
 * only by panic when memory runs out.
 */
#include "workers/grpc/methods.h"

#include <stdlib.h>

#include "proto/api/message.h"
#include "proto/api/strato.pb-c.h"
#include "proto/base/log.h"
#include "proto/base/set.h"
#include "workers/core/core.h"
#include "workers/grpc/utf8.h"

const char rpc_not_utf8[] = "what is stored under this key is no UTF-8, and a protobuf string must "
                            "be; it can be read over HTTP";
const char rpc_done_not_utf8[] =
    "it is done, but the set holds items that are no UTF-8, and protobuf "
    "strings must be; it can be read over HTTP";

/* ---- Decoding requests ---- */

static bool refuse(struct rpc_input *input, const char *why)
{
    input->error = why;
    return false;
}

/* A string field; complaint says that it is no UTF-8. */
static bool take_text(struct rpc_input *input, ProtobufCBinaryData field, const char *complaint,
                      struct bytes *text_r)
{
    *text_r = (struct bytes){field.data, field.len};
    return rpc_utf8(*text_r) || refuse(input, complaint);
}

static bool take_key(struct rpc_input *input, ProtobufCBinaryData field, struct request *request)
{
    return take_text(input, field, "the key is not valid UTF-8", &request->key);
}

/* Unpacks as one of the generated types; NULL and an error when it does not parse. */
static void *unpack(struct rpc_input *input, const ProtobufCMessageDescriptor *descriptor)
{
    void *message = api_unpack(descriptor, input->message, input->pool);
    if (!message && input->pool->exhausted)
        refuse(input, "the request has too many fields");
    else if (!message)
        refuse(input, "the request does not parse as the protobuf message of this method");
    return message;
}

/* Location, CacheGetRequest, GetCounterRequest, FlagGetRequest and GetSetRequest are the same on
 * the wire: one string. */
static bool decode_key(struct rpc_input *input, struct request *request_r)
{
    const Proto__Location *message = unpack(input, &proto__location__descriptor);
    return message && take_key(input, message->key, request_r);
}

static bool decode_cache_set(struct rpc_input *input, struct request *request_r)
{
    const Proto__CacheSetRequest *message = unpack(input, &proto__cache_set_request__descriptor);
    if (!message || !take_key(input, message->key, request_r))
        return false;
    if (!message->item)
        return message->key.len == 0 || refuse(input, "no value provided");
    if (core_expiry(message->item->ttl, input->now_ms, &request_r->expiry_ms) != STATUS_OK)
        return refuse(input, core_ttl_error);
    return take_text(input, message->item->value, "the value is not valid UTF-8",
                     &request_r->value);
}

static bool decode_increment(struct rpc_input *input, struct request *request_r)
{
    const Proto__IncrementCounterRequest *message =
        unpack(input, &proto__increment_counter_request__descriptor);
    if (!message)
        return false;
    request_r->number = message->amount;
    return take_key(input, message->key, request_r);
}

static bool decode_flag_set(struct rpc_input *input, struct request *request_r)
{
    const Proto__FlagSetRequest *message = unpack(input, &proto__flag_set_request__descriptor);
    if (!message)
        return false;
    request_r->number = message->value ? 1 : 0;
    return take_key(input, message->key, request_r);
}

/* Without a key, which is the worse omission, the core says so. */
static bool decode_put(struct rpc_input *input, struct request *request_r)
{
    const Proto__PutRequest *message = unpack(input, &proto__put_request__descriptor);
    if (!message || (message->location && !take_key(input, message->location->key, request_r)))
        return false;
    if (!message->value)
        return request_r->key.len == 0 || refuse(input, "no value provided");
    request_r->value = (struct bytes){message->value->content.data, message->value->content.len};
    return true;
}

static bool decode_item(struct rpc_input *input, struct request *request_r)
{
    const Proto__ModifySetRequest *message = unpack(input, &proto__modify_set_request__descriptor);
    return message && take_key(input, message->set, request_r) &&
           take_text(input, message->item, "the item is not valid UTF-8", &request_r->value);
}

/* ---- Requests that are messages ---- */

static bool check_strings(struct rpc_input *input, const ProtobufCMessage *message);

/* One of a field's values. */
static bool check_value(struct rpc_input *input, const ProtobufCFieldDescriptor *field,
                        const void *at)
{
    const ProtobufCBinaryData *text = at;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *message = *(ProtobufCMessage *const *)at;
        return !message || check_strings(input, message);
    }
    return rpc_utf8((struct bytes){text->data, text->len}) ||
           refuse(input, "a string of the request is not valid UTF-8");
}

static bool check_field(struct rpc_input *input, const ProtobufCMessage *message,
                        const ProtobufCFieldDescriptor *field)
{
    const char *base = (const char *)message, *at = base + field->offset;
    size_t size = field->type == PROTOBUF_C_TYPE_MESSAGE ? sizeof(ProtobufCMessage *)
                                                         : sizeof(ProtobufCBinaryData);
    bool in_oneof = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
    if (in_oneof && *(const uint32_t *)(base + field->quantifier_offset) != field->id)
        return true;
    if (field->label != PROTOBUF_C_LABEL_REPEATED)
        return check_value(input, field, at);
    size_t count = *(const size_t *)(base + field->quantifier_offset);
    at = *(const char *const *)at;
    for (size_t i = 0; i < count; i++)
        if (!check_value(input, field, at + i * size))
            return false;
    return true;
}

/* Whether each string, here and in the messages within, is UTF-8. */
static bool check_strings(struct rpc_input *input, const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        bool concerned = api_is_string(field) || field->type == PROTOBUF_C_TYPE_MESSAGE;
        if (concerned && !check_field(input, message, field))
            return false;
    }
    return true;
}

/* The message goes to the store as it is. */
static bool decode_message(struct rpc_input *input, struct request *request_r)
{
    const ProtobufCMessageDescriptor *type = api_messages(request_r->op)->request;
    const ProtobufCFieldDescriptor *key = api_bytes_field(type, "key");
    const ProtobufCMessage *message = unpack(input, type);
    if (!message || !check_strings(input, message))
        return false;
    request_r->key = key ? api_bytes(message, key) : api_no_key;
    request_r->value = input->message;
    return true;
}

/* ---- Encoding replies ---- */

static bool append(const ProtobufCMessage *message, struct buffer *out)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len == 0)
        return true;
    buffer_reserve(out, len);
    out->len += protobuf_c_message_pack(message, out->data + out->len);
    return true;
}

static ProtobufCBinaryData field_of(struct bytes bytes)
{
    return (ProtobufCBinaryData){bytes.len, (uint8_t *)bytes.data};
}

static bool encode_empty(const struct reply *reply, struct buffer *out)
{
    (void)reply;
    (void)out; /* an empty message has no bytes */
    return true;
}

static bool encode_message(const struct reply *reply, struct buffer *out)
{
    buffer_append(out, reply->value.data, reply->value.len);
    return true;
}

static bool encode_cached(const struct reply *reply, struct buffer *out)
{
    Proto__CacheGetResponse message = PROTO__CACHE_GET_RESPONSE__INIT;
    message.value = field_of(reply->value);
    return rpc_utf8(reply->value) && append(&message.base, out);
}

static bool encode_value(const struct reply *reply, struct buffer *out)
{
    Proto__GetResponse message = PROTO__GET_RESPONSE__INIT;
    Proto__Value value = PROTO__VALUE__INIT;
    value.content = field_of(reply->value);
    message.value = &value;
    return append(&message.base, out);
}

static bool encode_counter(const struct reply *reply, struct buffer *out)
{
    Proto__GetCounterResponse message = PROTO__GET_COUNTER_RESPONSE__INIT;
    message.value = reply->number;
    return append(&message.base, out);
}

static bool encode_flag(const struct reply *reply, struct buffer *out)
{
    Proto__FlagResponse message = PROTO__FLAG_RESPONSE__INIT;
    message.value = reply->number != 0;
    return append(&message.base, out);
}

/* The packed items as an array that points into them; *count_r of them. */
static ProtobufCBinaryData *list_items(struct bytes packed, size_t *count_r)
{
    struct bytes rest = packed, item;
    size_t count = 0;
    while (set_next(&rest, &item))
        count++;
    ProtobufCBinaryData *items = malloc((count + 1) * sizeof *items);
    if (!items)
        panic("out of memory: %zu items of a set", count);
    for (rest = packed, *count_r = 0; set_next(&rest, &item); (*count_r)++)
        items[*count_r] = field_of(item);
    return items;
}

static bool encode_set(const struct reply *reply, struct buffer *out)
{
    Proto__SetResponse message = PROTO__SET_RESPONSE__INIT;
    struct bytes rest = reply->value, item;
    while (set_next(&rest, &item))
        if (!rpc_utf8(item))
            return false;
    message.items = list_items(reply->value, &message.n_items);
    append(&message.base, out);
    free(message.items);
    return true;
}

/* ---- The table ---- */

const struct rpc_method rpc_methods[RPC_METHODS] = {
#define METHOD(operation, path, decode, encode)                                                    \
    {path, OP_##operation, decode_##decode, encode_##encode},
#include "proto/api/operations.def"
};
