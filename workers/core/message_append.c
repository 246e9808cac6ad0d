/*
 * message_append - a message as JSON, see message.h. Runs in workers; fails only by panic when
 * memory runs out.
 */
#include <inttypes.h>

#include "workers/core/json.h"
#include "workers/core/message.h"

struct shown {
    const ProtobufCFieldDescriptor *field;
    const uint8_t *at; /* of one value */
    bool int64_as_string, base64;
};

static struct bytes bytes_at(const uint8_t *at)
{
    ProtobufCBinaryData data;
    memcpy(&data, at, sizeof data);
    return (struct bytes){data.data, data.len};
}

static int32_t int32_at(const uint8_t *at)
{
    int32_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

static int64_t int64_at(const uint8_t *at)
{
    int64_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

/* JavaScript has every whole number up to here. */
static const int64_t exact_max = (INT64_C(1) << 53) - 1;

static void append_int64(const struct shown *shown, struct buffer *out)
{
    int64_t number = int64_at(shown->at);
    bool exact = number >= -exact_max && number <= exact_max && !shown->int64_as_string;
    buffer_append_format(out, exact ? "%" PRId64 : "\"%" PRId64 "\"", number);
}

static void append_uint64(const struct shown *shown, struct buffer *out)
{
    uint64_t number = (uint64_t)int64_at(shown->at);
    bool exact = number <= (uint64_t)exact_max && !shown->int64_as_string;
    buffer_append_format(out, exact ? "%" PRIu64 : "\"%" PRIu64 "\"", number);
}

/* JSON has no infinity. */
static void append_real(double number, int digits, struct buffer *out)
{
    if (number - number != 0)
        buffer_append_text(out, "null");
    else
        buffer_append_format(out, "%.*g", digits, number);
}

static void append_enum(const struct shown *shown, struct buffer *out)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(shown->field->descriptor, int32_at(shown->at));
    if (!value) {
        buffer_append_format(out, "%d", int32_at(shown->at));
        return;
    }
    size_t start = out->len + 1;
    buffer_append_format(out, "\"%s\"", value->name);
    for (uint8_t *c = out->data + start; c < out->data + out->len; c++)
        *c |= (uint8_t)(*c >= 'A' && *c <= 'Z' ? 0x20 : 0);
}

static void append_bytes(const struct shown *shown, struct buffer *out)
{
    struct bytes text = bytes_at(shown->at);
    buffer_append(out, "\"", 1);
    core_json_append(out, text, shown->base64 ? CORE_JSON_BASE64 : core_json_form(text));
    buffer_append(out, "\"", 1);
}

static void append_float(const uint8_t *at, struct buffer *out)
{
    float number;
    memcpy(&number, at, sizeof number);
    append_real((double)number, 9, out);
}

static void append_double(const uint8_t *at, struct buffer *out)
{
    double number;
    memcpy(&number, at, sizeof number);
    append_real(number, 17, out);
}

static void append_message(const struct shown *shown, struct buffer *out)
{
    const ProtobufCMessage *message;
    memcpy(&message, shown->at, sizeof message);
    message_append_json(message, shown->int64_as_string, out);
}

static void append_value(const struct shown *shown, struct buffer *out)
{
    switch (shown->field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        buffer_append_format(out, "%" PRId32, int32_at(shown->at));
        return;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        buffer_append_format(out, "%" PRIu32, (uint32_t)int32_at(shown->at));
        return;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        append_int64(shown, out);
        return;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        append_uint64(shown, out);
        return;
    case PROTOBUF_C_TYPE_FLOAT:
        append_float(shown->at, out);
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        append_double(shown->at, out);
        return;
    case PROTOBUF_C_TYPE_BOOL:
        buffer_append_text(out, int32_at(shown->at) ? "true" : "false");
        return;
    case PROTOBUF_C_TYPE_ENUM:
        append_enum(shown, out);
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        append_message(shown, out);
        return;
    case PROTOBUF_C_TYPE_STRING: /* there are none: they are bytes in the C code */
    case PROTOBUF_C_TYPE_BYTES:
        append_bytes(shown, out);
        return;
    }
}

/* How a value is kept. */
static size_t size_of(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(int64_t);
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(ProtobufCMessage *);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default: /* 32 bits, and a bool is an int */
        return sizeof(int32_t);
    }
}

/* ---- Fields ---- */

/* Where a field's values are, and how many. */
static const uint8_t *values_of(const ProtobufCMessage *message,
                                const ProtobufCFieldDescriptor *field, size_t *count_r)
{
    const uint8_t *base = (const uint8_t *)message, *at = base + field->offset;
    bool several = field->label == PROTOBUF_C_LABEL_REPEATED;
    const void *pointer = at;
    if (several || field->type == PROTOBUF_C_TYPE_MESSAGE)
        memcpy(&pointer, at, sizeof pointer);
    *count_r = pointer ? 1 : 0;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *count_r = (uint32_t)int32_at(base + field->quantifier_offset) == field->id;
    if (several)
        memcpy(count_r, base + field->quantifier_offset, sizeof *count_r);
    return several ? pointer : at;
}

/* One value that is no UTF-8 turns them all to base64, so that nobody has to guess which. */
static bool needs_base64(const struct shown *shown, size_t count, size_t step)
{
    if (shown->field->type != PROTOBUF_C_TYPE_BYTES)
        return false;
    for (size_t i = 0; i < count; i++)
        if (core_json_form(bytes_at(shown->at + i * step)) == CORE_JSON_BASE64)
            return true;
    return false;
}

static void append_values(struct shown shown, size_t count, size_t step, struct buffer *out)
{
    bool several = shown.field->label == PROTOBUF_C_LABEL_REPEATED;
    shown.base64 = needs_base64(&shown, count, step);
    buffer_append_format(out, "\"%s%s\":%s", shown.field->name, shown.base64 ? "_base64" : "",
                         several ? "[" : "");
    for (size_t i = 0; i < count; i++, shown.at += step) {
        if (i > 0)
            buffer_append(out, ",", 1);
        append_value(&shown, out);
    }
    if (several)
        buffer_append(out, "]", 1);
}

void message_append_json(const ProtobufCMessage *message, bool int64_as_string, struct buffer *out)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    bool first = true;
    buffer_append(out, "{", 1);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        struct shown shown = {.field = field, .int64_as_string = int64_as_string};
        size_t count;
        shown.at = values_of(message, field, &count);
        if (count == 0 && field->label != PROTOBUF_C_LABEL_REPEATED)
            continue; /* not given */
        if (!first)
            buffer_append(out, ",", 1);
        first = false;
        append_values(shown, count, size_of(field), out);
    }
    buffer_append(out, "}", 1);
}
