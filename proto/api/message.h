/*
 * message - the messages of operations that have them, by number: what a request and an answer are
 * made of, wherever they are. They come from the MESSAGES rows of operations.def. Pure.
 *
 * The C code knows no strings, see CMakeLists.txt: every field that is a string in the .proto file
 * is bytes here, and api_is_string() tells them apart.
 */
#ifndef STRATO_PROTO_API_MESSAGE_H
#define STRATO_PROTO_API_MESSAGE_H

#include "proto/api/pool.h"
#include "proto/base/op.h"

struct api_messages {
    const ProtobufCMessageDescriptor *request, *reply;
};

/* Those of an operation; NULL for one with fixed fields. */
const struct api_messages *api_messages(enum op op);

/* Whether a field is a string of the .proto file, so that protobuf wants UTF-8 in it. */
static inline bool api_is_string(const ProtobufCFieldDescriptor *field)
{
    return field->flags & PROTOBUF_C_FIELD_FLAG_DEPRECATED;
}

/* Unpacks a message into a pool, within a bound that follows from its length. NULL when it does not
 * parse, or has too many fields (pool->exhausted). What it borrows is in pool. */
void *api_unpack(const ProtobufCMessageDescriptor *descriptor, struct bytes packed,
                 struct api_pool *pool);
/* An empty message in the pool. */
void *api_new(const ProtobufCMessageDescriptor *descriptor, struct api_pool *pool);
/* The bytes of a message, in the pool. */
struct bytes api_pack(const ProtobufCMessage *message, struct api_pool *pool);

/* Stands for the key of a request that is about no single one. */
extern const struct bytes api_no_key;

/* The field of this name if it is one of bytes; NULL. */
const ProtobufCFieldDescriptor *api_bytes_field(const ProtobufCMessageDescriptor *descriptor,
                                                const char *name);
/* What a message has in such a field. */
static inline struct bytes api_bytes(const void *message, const ProtobufCFieldDescriptor *field)
{
    const ProtobufCBinaryData *data =
        (const ProtobufCBinaryData *)((const char *)message + field->offset);
    return (struct bytes){data->data, data->len};
}

#endif
