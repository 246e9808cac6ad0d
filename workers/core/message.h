/*
 * message - JSON and query parameters to a protobuf message and back, by descriptor: once for all
 * operations that have messages. Pure.
 *
 *     field                       JSON                           taken too
 *     bytes, string NAME          "NAME": text, when it is UTF-8; else "NAME_base64": base64
 *     int32 ... uint64            a number; a string beyond +-(2^53 - 1), or when asked for: either
 *     int64 NAME_ms               as above                       "NAME": "90s", "500ms", "7d", 90
 *     float, double               a number
 *     bool                        true, false                    in a parameter also 1 0 t f
 *     enum                        its name in lower case
 *     message                     an object
 *     repeated                    an array; of bytes all in one form
 *
 * A member that the message does not know is ignored, whatever it holds; null is as good as absent.
 * One of a wrong type, or given twice, or beside another of its oneof, is an error that names it
 * and says what is allowed. An unknown parameter is an error.
 *
 * Bounds: MESSAGE_DEPTH messages within one another; what is written has at most four times the
 * bytes that were read. No message may contain itself (proto_api_message_test).
 */
#ifndef STRATO_WORKERS_CORE_MESSAGE_H
#define STRATO_WORKERS_CORE_MESSAGE_H

#include "proto/api/message.h"

enum { MESSAGE_DEPTH = 16, MESSAGE_FIELDS = 64 };

/* A packed message being put together. */
struct message_writer {
    const ProtobufCMessageDescriptor *type; /* of at most MESSAGE_FIELDS fields */
    struct buffer *out;                     /* borrowed; appended to */
    char *error;                            /* size bytes, for why something returned false */
    size_t size;
    uint64_t given; /* fields: 1 << their place in type */
};

/* A field of bytes that has to be there. */
bool message_add_bytes(struct message_writer *writer, const char *name, struct bytes value);
/* A parameter of this name, decoded. */
bool message_add_parameter(struct message_writer *writer, struct bytes name, struct bytes text);
/* The members of a JSON object, the whole body. It may be changed in place. */
bool message_add_json(struct message_writer *writer, uint8_t *body, size_t len);

/* Appends a message as a JSON object; numbers of 64 bits all as strings if so asked. */
void message_append_json(const ProtobufCMessage *message, bool int64_as_string, struct buffer *out);

#endif
