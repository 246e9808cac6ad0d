/*
 * message - see message.h. Any process; panics when memory runs out.
 */
#include "proto/api/message.h"

#include "proto/api/strato/v1/store.pb-c.h"
#include "proto/base/log.h"

/* What an unpacked message may take: so much, and so many times its own length. */
enum { POOL_SPARE = 262144, POOL_TIMES = 2 };

const struct bytes api_no_key = {(const uint8_t *)"*", 1};

const struct api_messages *api_messages(enum op op)
{
    static const struct api_messages rows[OP_COUNT] = {
        [OP_NONE] = {NULL, NULL},
#define MESSAGES(operation, request, reply)                                                        \
    [OP_##operation] = {&request##__descriptor, &reply##__descriptor},
#include "proto/api/operations.def"
    };
    unsigned row = (unsigned)op;
    return row < OP_COUNT && rows[row].request ? &rows[row] : NULL;
}

void *api_unpack(const ProtobufCMessageDescriptor *descriptor, struct bytes packed,
                 struct api_pool *pool)
{
    api_pool_allow(pool, POOL_SPARE + POOL_TIMES * packed.len);
    return protobuf_c_message_unpack(descriptor, &pool->allocator, packed.len, packed.data);
}

void *api_new(const ProtobufCMessageDescriptor *descriptor, struct api_pool *pool)
{
    void *message = api_pool_alloc(pool, descriptor->sizeof_message);
    if (!message)
        panic("no room for an empty message");
    protobuf_c_message_init(descriptor, message);
    return message;
}

struct bytes api_pack(const ProtobufCMessage *message, struct api_pool *pool)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len == 0)
        return (struct bytes){0};
    api_pool_allow(pool, len + API_POOL_CHUNK);
    uint8_t *packed = api_pool_alloc(pool, len);
    if (!packed)
        panic("no room for a message of %zu bytes", len);
    return (struct bytes){packed, protobuf_c_message_pack(message, packed)};
}

const ProtobufCFieldDescriptor *api_bytes_field(const ProtobufCMessageDescriptor *descriptor,
                                                const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(descriptor, name);
    return field && field->type == PROTOBUF_C_TYPE_BYTES &&
                   field->label != PROTOBUF_C_LABEL_REPEATED
               ? field
               : NULL;
}
