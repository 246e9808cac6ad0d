/*
 * message - see message.h: JSON and parameters to a message. Runs in workers; fails only by panic
 * when memory runs out.
 *
 * Fields are written as they are met, in the order of the text; of a message within it the length
 * is put in front when its end is known.
 */
#include "workers/core/message.h"

#include <float.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "proto/base/log.h"
#include "proto/base/text.h"
#include "workers/core/scan.h"

enum { MEMBER_MAX = 64, NUMBER_MAX = 64, NO_INDEX = -1 };

/* ---- Where it is ---- */

/* A message that is being written, within another or not. */
struct level {
    const struct level *up;
    const ProtobufCMessageDescriptor *type;
    const char *name; /* of the field whose value it is */
    int index;        /* among several */
    unsigned depth;
    uint64_t given;
};

struct reader {
    struct message_writer *writer;
    struct scan scan;
};

static size_t put_place(const struct level *level, char *text, size_t size)
{
    if (!level->up)
        return 0;
    size_t len = put_place(level->up, text, size);
    int more = level->index == NO_INDEX
                   ? snprintf(text + len, size - len, "%s.", level->name)
                   : snprintf(text + len, size - len, "%s[%d].", level->name, level->index);
    return len + (size_t)more < size ? len + (size_t)more : len;
}

__attribute__((format(printf, 4, 5))) static bool refuse(const struct message_writer *writer,
                                                         const struct level *level,
                                                         const ProtobufCFieldDescriptor *field,
                                                         const char *format, ...)
{
    char what[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    size_t len = put_place(level, writer->error, writer->size);
    snprintf(writer->error + len, writer->size - len, "%s %s", field->name, what);
    return false;
}

/* ---- Fields on the wire ---- */

enum wire { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };

static const struct kind {
    bool whole, has_sign, zigzag;
    uint8_t bits;
    uint8_t wire;
} kinds[] = {
    [PROTOBUF_C_TYPE_INT32] = {true, true, false, 32, VARINT},
    [PROTOBUF_C_TYPE_SINT32] = {true, true, true, 32, VARINT},
    [PROTOBUF_C_TYPE_SFIXED32] = {true, true, false, 32, FIXED32},
    [PROTOBUF_C_TYPE_INT64] = {true, true, false, 64, VARINT},
    [PROTOBUF_C_TYPE_SINT64] = {true, true, true, 64, VARINT},
    [PROTOBUF_C_TYPE_SFIXED64] = {true, true, false, 64, FIXED64},
    [PROTOBUF_C_TYPE_UINT32] = {true, false, false, 32, VARINT},
    [PROTOBUF_C_TYPE_FIXED32] = {true, false, false, 32, FIXED32},
    [PROTOBUF_C_TYPE_UINT64] = {true, false, false, 64, VARINT},
    [PROTOBUF_C_TYPE_FIXED64] = {true, false, false, 64, FIXED64},
    [PROTOBUF_C_TYPE_FLOAT] = {.wire = FIXED32},
    [PROTOBUF_C_TYPE_DOUBLE] = {.wire = FIXED64},
    [PROTOBUF_C_TYPE_BOOL] = {.wire = VARINT},
    [PROTOBUF_C_TYPE_ENUM] = {.wire = VARINT},
    [PROTOBUF_C_TYPE_STRING] = {.wire = LENGTH},
    [PROTOBUF_C_TYPE_BYTES] = {.wire = LENGTH},
    [PROTOBUF_C_TYPE_MESSAGE] = {.wire = LENGTH},
};

enum { VARINT_MAX = 10 };

static size_t encode_varint(uint8_t *at, uint64_t number)
{
    size_t len = 0;
    for (; number >= 0x80; number >>= 7)
        at[len++] = (uint8_t)(number | 0x80);
    at[len++] = (uint8_t)number;
    return len;
}

static void put_varint(struct buffer *out, uint64_t number)
{
    buffer_reserve(out, VARINT_MAX);
    out->len += encode_varint(out->data + out->len, number);
}

static void put_tag(struct buffer *out, const ProtobufCFieldDescriptor *field)
{
    put_varint(out, (uint64_t)field->id << 3 | kinds[field->type].wire);
}

/* Little-endian, as the machine has it. */
static void put_number(struct buffer *out, const ProtobufCFieldDescriptor *field, uint64_t bits)
{
    const struct kind *kind = &kinds[field->type];
    put_tag(out, field);
    if (kind->wire == FIXED32)
        buffer_append(out, &bits, 4);
    else if (kind->wire == FIXED64)
        buffer_append(out, &bits, 8);
    else if (kind->zigzag)
        put_varint(out, bits << 1 ^ (bits >> 63 ? UINT64_MAX : 0));
    else
        put_varint(out, bits);
}

static void put_bytes(struct buffer *out, const ProtobufCFieldDescriptor *field, struct bytes value)
{
    put_tag(out, field);
    put_varint(out, value.len);
    buffer_append(out, value.data, value.len);
}

/* ---- Values from text ---- */

/* Digits after at most one sign. */
static bool parse_whole(struct bytes text, bool *negative_r, uint64_t *magnitude_r)
{
    size_t i = 0;
    *negative_r = text.len > 0 && text.data[0] == '-';
    *magnitude_r = 0;
    if (text.len > 0 && (text.data[0] == '-' || text.data[0] == '+'))
        i = 1;
    if (i == text.len)
        return false;
    for (; i < text.len; i++) {
        unsigned digit = text.data[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(*magnitude_r, 10, magnitude_r) ||
            __builtin_add_overflow(*magnitude_r, digit, magnitude_r))
            return false;
    }
    return true;
}

static uint64_t largest(const struct kind *kind)
{
    return UINT64_MAX >> (64 - kind->bits + kind->has_sign);
}

static bool put_whole(struct message_writer *writer, const struct level *level,
                      const ProtobufCFieldDescriptor *field, struct bytes text)
{
    const struct kind *kind = &kinds[field->type];
    uint64_t most = largest(kind), magnitude;
    bool negative;
    if (parse_whole(text, &negative, &magnitude) &&
        magnitude <= (negative ? kind->has_sign ? most + 1 : 0 : most)) {
        put_number(writer->out, field, negative ? -magnitude : magnitude);
        return true;
    }
    return refuse(writer, level, field, "must be a whole number from %" PRId64 " to %" PRIu64,
                  kind->has_sign ? -(int64_t)most - 1 : 0, most);
}

static bool put_real(struct message_writer *writer, const struct level *level,
                     const ProtobufCFieldDescriptor *field, struct bytes text)
{
    char copy[NUMBER_MAX + 1], *end = copy;
    double number = 0;
    uint64_t bits = 0;
    bool fits = text.len > 0 && text.len <= NUMBER_MAX && strchr("-0123456789", text.data[0]);
    if (fits) {
        memcpy(copy, text.data, text.len);
        copy[text.len] = '\0';
        number = strtod(copy, &end);
    }
    bool is_float = field->type == PROTOBUF_C_TYPE_FLOAT;
    double most = is_float ? (double)FLT_MAX : DBL_MAX;
    if (!fits || end != copy + text.len || !(number >= -most && number <= most))
        return refuse(writer, level, field, "must be a number of at most %d characters%s",
                      NUMBER_MAX, is_float ? " that a float can hold" : "");
    float small = is_float ? (float)number : 0;
    memcpy(&bits, is_float ? (const void *)&small : &number, is_float ? 4 : 8);
    put_number(writer->out, field, bits);
    return true;
}

/* What is in the configuration, and 90 for 90 s. */
static bool put_duration(struct message_writer *writer, const struct level *level,
                         const ProtobufCFieldDescriptor *field, struct bytes text)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {"", 1000}};
    uint64_t number;
    bool negative;
    size_t digits = 0;
    while (digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9')
        digits++;
    struct bytes unit = {text.data + digits, text.len - digits};
    for (size_t i = 0; digits > 0 && i < sizeof units / sizeof *units; i++)
        if (bytes_equal(unit, bytes_of(units[i].name)) &&
            parse_whole((struct bytes){text.data, digits}, &negative, &number) &&
            !__builtin_mul_overflow(number, units[i].ms, &number) && number <= INT64_MAX) {
            put_number(writer->out, field, number);
            return true;
        }
    return refuse(
        writer, level, field,
        "is a time; without _ms it is a number of seconds, or has a unit: 90, 90s, 500ms, "
        "5m, 12h, 7d");
}

static bool put_enum(struct message_writer *writer, const struct level *level,
                     const ProtobufCFieldDescriptor *field, struct bytes text)
{
    const ProtobufCEnumDescriptor *type = field->descriptor;
    char names[200] = "";
    for (unsigned i = 0; i < type->n_values; i++) {
        const char *name = type->values[i].name;
        if (strlen(name) == text.len && strncasecmp(name, (const char *)text.data, text.len) == 0) {
            put_number(writer->out, field, (uint64_t)(int64_t)type->values[i].value);
            return true;
        }
        size_t len = strlen(names);
        snprintf(names + len, sizeof names - len, " %s", name);
        for (char *c = names + len; *c; c++)
            *c |= (char)(*c >= 'A' && *c <= 'Z' ? 0x20 : 0);
    }
    return refuse(writer, level, field, "must be one of%s", names);
}

/* Of texts for false and true. */
static bool put_bool(struct message_writer *writer, const struct level *level,
                     const ProtobufCFieldDescriptor *field, struct bytes text, bool json)
{
    static const char *const words[][2] = {{"false", "true"}, {"0", "1"}, {"f", "t"}};
    for (size_t i = 0; i < (json ? 1 : sizeof words / sizeof *words); i++)
        for (unsigned value = 0; value < 2; value++)
            if (bytes_equal(text, bytes_of(words[i][value]))) {
                put_number(writer->out, field, value);
                return true;
            }
    return refuse(writer, level, field, "must be true or false");
}

static int digit64(uint8_t c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Decodes in place, to what text_r then is. */
static bool decode64(struct bytes *text)
{
    uint8_t *out = (uint8_t *)text->data;
    size_t len = text->len, made = 0;
    while (len > 0 && text->len - len < 2 && text->data[len - 1] == '=')
        len--;
    if (text->len % 4 != 0)
        return false;
    uint32_t bits = 0;
    for (size_t i = 0; i < len; i++) {
        int digit = digit64(text->data[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (unsigned)digit;
        if (i % 4 != 0)
            out[made++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    text->len = made;
    return true;
}

/* ---- Finding fields ---- */

/* How the text of a field is to be understood, by the name that it was given under. */
enum form { AS_IS, AS_BASE64, AS_DURATION };

struct found {
    const ProtobufCFieldDescriptor *field; /* NULL: there is none */
    enum form form;
};

static bool is_bytes(const ProtobufCFieldDescriptor *field)
{
    return field && field->type == PROTOBUF_C_TYPE_BYTES;
}

static bool holds_time(const ProtobufCFieldDescriptor *field)
{
    return field && kinds[field->type].bits == 64 && field->label != PROTOBUF_C_LABEL_REPEATED;
}

static struct found find(const ProtobufCMessageDescriptor *type, struct bytes name)
{
    static const char base64[] = "_base64";
    char text[MEMBER_MAX + 4];
    if (name.len == 0 || name.len > MEMBER_MAX || memchr(name.data, 0, name.len))
        return (struct found){0};
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(type, text);
    if (field)
        return (struct found){field, AS_IS};
    if (name.len > sizeof base64 - 1 &&
        strcmp(text + name.len - (sizeof base64 - 1), base64) == 0) {
        text[name.len - (sizeof base64 - 1)] = '\0';
        field = protobuf_c_message_descriptor_get_field_by_name(type, text);
        return is_bytes(field) ? (struct found){field, AS_BASE64} : (struct found){0};
    }
    memcpy(text + name.len, "_ms", 4);
    field = protobuf_c_message_descriptor_get_field_by_name(type, text);
    return holds_time(field) ? (struct found){field, AS_DURATION} : (struct found){0};
}

/* Notes that a field is given. */
static bool give(const struct message_writer *writer, struct level *level,
                 const ProtobufCFieldDescriptor *field)
{
    const ProtobufCFieldDescriptor *fields = level->type->fields;
    if (level->type->n_fields > MESSAGE_FIELDS)
        panic("%s has more than %d fields", level->type->name, MESSAGE_FIELDS);
    for (unsigned i = 0; i < level->type->n_fields; i++) {
        bool other = fields[i].flags & field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
                     fields[i].quantifier_offset == field->quantifier_offset;
        if (!(level->given >> i & 1))
            continue;
        if (&fields[i] == field)
            return refuse(writer, level, field, "is given twice; give it once");
        if (other)
            return refuse(writer, level, field, "is given beside %s; only one of them may be",
                          fields[i].name);
    }
    level->given |= UINT64_C(1) << (field - fields);
    return true;
}

/* ---- One value ---- */

static bool put_text(struct message_writer *writer, const struct level *level, struct found found,
                     struct bytes text, bool json)
{
    const ProtobufCFieldDescriptor *field = found.field;
    if (found.form == AS_DURATION)
        return put_duration(writer, level, field, text);
    if (found.form == AS_BASE64 && !decode64(&text))
        return refuse(writer, level, field, "is no base64 (with its padding)");
    if (is_bytes(field))
        put_bytes(writer->out, field, text);
    else if (kinds[field->type].whole)
        return put_whole(writer, level, field, text);
    else if (field->type == PROTOBUF_C_TYPE_BOOL)
        return put_bool(writer, level, field, text, json);
    else if (field->type == PROTOBUF_C_TYPE_ENUM)
        return put_enum(writer, level, field, text);
    else
        return put_real(writer, level, field, text);
    return true;
}

bool message_add_bytes(struct message_writer *writer, const char *name, struct bytes value)
{
    struct level level = {.type = writer->type, .given = writer->given};
    struct found found = find(writer->type, bytes_of(name));
    if (!is_bytes(found.field)) {
        snprintf(writer->error, writer->size, "this request takes no %s", name);
        return false;
    }
    if (!give(writer, &level, found.field))
        return false;
    writer->given = level.given;
    put_bytes(writer->out, found.field, value);
    return true;
}

/* Names what was meant, or all that there are. */
static bool refuse_parameter(const struct message_writer *writer, struct bytes name)
{
    const ProtobufCMessageDescriptor *type = writer->type;
    char given[MEMBER_MAX + 1];
    snprintf(given, sizeof given, "%.*s", (int)(name.len < MEMBER_MAX ? name.len : MEMBER_MAX),
             (const char *)name.data);
    text_flatten(given);
    int len = snprintf(writer->error, writer->size, "unknown parameter %s", given);
    for (unsigned i = 0; i < type->n_fields; i++)
        if (text_is_near(given, type->fields[i].name)) {
            snprintf(writer->error + len, writer->size - (size_t)len, "; did you mean %s?",
                     type->fields[i].name);
            return false;
        }
    for (unsigned i = 0; i < type->n_fields && (size_t)len < writer->size; i++)
        len += snprintf(writer->error + len, writer->size - (size_t)len, "%s %s",
                        i == 0 ? "; there are" : "", type->fields[i].name);
    return false;
}

bool message_add_parameter(struct message_writer *writer, struct bytes name, struct bytes text)
{
    struct level level = {.type = writer->type, .given = writer->given};
    struct found found = find(writer->type, name);
    if (!found.field)
        return refuse_parameter(writer, name);
    if (found.field->type == PROTOBUF_C_TYPE_MESSAGE)
        return refuse(writer, &level, found.field, "is no parameter; give it in the body");
    bool several = found.field->label == PROTOBUF_C_LABEL_REPEATED;
    if (!several && !give(writer, &level, found.field))
        return false;
    writer->given = level.given;
    return put_text(writer, &level, found, text, false);
}

/* ---- JSON ---- */

static bool read_members(struct reader *reader, struct level *level);

static bool refuse_json(const struct reader *reader, const uint8_t *body)
{
    snprintf(reader->writer->error, reader->writer->size, "the body is no JSON (%s, at byte %zu)",
             reader->scan.why, (size_t)(reader->scan.at - body));
    return false;
}

/* The message within; what is written is put behind its length. */
static bool read_message(struct reader *reader, const struct level *up, struct found found,
                         int index)
{
    struct buffer *out = reader->writer->out;
    uint8_t length[VARINT_MAX];
    struct level level = {.up = up,
                          .type = found.field->descriptor,
                          .name = found.field->name,
                          .index = index,
                          .depth = up->depth + 1};
    if (scan_peek(&reader->scan) != '{')
        return scan_skip_value(&reader->scan) &&
               refuse(reader->writer, up, found.field, "must be an object");
    if (level.depth > MESSAGE_DEPTH)
        return refuse(reader->writer, up, found.field, "is too deep");
    put_tag(out, found.field);
    size_t start = out->len;
    if (!read_members(reader, &level))
        return false;
    size_t len = out->len - start, head = encode_varint(length, len);
    buffer_reserve(out, head);
    memmove(out->data + start + head, out->data + start, len);
    memcpy(out->data + start, length, head);
    out->len += head;
    return true;
}

/* Any value; of a string what it means, unescaped where it stands. */
static bool read_token(struct reader *reader, struct bytes *text_r)
{
    struct scan *scan = &reader->scan;
    text_r->data = scan->at;
    if (scan_peek(scan) == '"')
        return scan_skip_string(scan, text_r) &&
               (scan_unescape(*text_r, (uint8_t *)text_r->data, &text_r->len) ||
                scan_bad(scan, "half of a surrogate pair, which is no character"));
    if (!scan_skip_value(scan))
        return false;
    text_r->len = (size_t)(scan->at - text_r->data);
    return true;
}

static bool read_scalar(struct reader *reader, const struct level *level, struct found found)
{
    const ProtobufCFieldDescriptor *field = found.field;
    bool string = scan_peek(&reader->scan) == '"';
    bool textual = is_bytes(field) || field->type == PROTOBUF_C_TYPE_ENUM;
    bool either = kinds[field->type].whole;
    struct bytes text;
    if (!read_token(reader, &text))
        return false;
    if (string == textual || either)
        return put_text(reader->writer, level, found, text, true);
    return refuse(reader->writer, level, field,
                  textual ? "must be a string" : "must not be a string");
}

static bool read_one(struct reader *reader, const struct level *level, struct found found,
                     int index)
{
    scan_skip_space(&reader->scan);
    return found.field->type == PROTOBUF_C_TYPE_MESSAGE ? read_message(reader, level, found, index)
                                                        : read_scalar(reader, level, found);
}

static bool read_array(struct reader *reader, const struct level *level, struct found found)
{
    struct scan *scan = &reader->scan;
    int index = 0;
    if (!scan_take(scan, '['))
        return scan_skip_value(scan) &&
               refuse(reader->writer, level, found.field, "must be an array");
    if (scan_take(scan, ']'))
        return true;
    do
        if (!read_one(reader, level, found, index++))
            return false;
    while (scan_take(scan, ','));
    return scan_take(scan, ']') || scan_bad(scan, "a comma or a closing bracket is expected");
}

/* A name of a member as it means; it is longer than any field's when it does not fit. */
static struct bytes name_of(struct bytes raw, uint8_t text[6 * MEMBER_MAX])
{
    struct bytes name = {text, 0};
    if (raw.len > 6 * MEMBER_MAX || !scan_unescape(raw, text, &name.len))
        name.len = 0;
    return name;
}

static bool read_member(struct reader *reader, struct level *level)
{
    struct scan *scan = &reader->scan;
    uint8_t name[6 * MEMBER_MAX];
    struct bytes raw;
    if (!scan_take_name(scan, &raw))
        return false;
    struct found found = find(level->type, name_of(raw, name));
    scan_skip_space(scan);
    if (!found.field || scan_peek(scan) == 'n') /* null is as good as absent */
        return scan_skip_value(scan);
    if (!give(reader->writer, level, found.field))
        return false;
    return found.field->label == PROTOBUF_C_LABEL_REPEATED
               ? read_array(reader, level, found)
               : read_one(reader, level, found, NO_INDEX);
}

static bool read_members(struct reader *reader, struct level *level)
{
    struct scan *scan = &reader->scan;
    scan->at++;
    if (scan_take(scan, '}'))
        return true;
    do
        if (!read_member(reader, level))
            return false;
    while (scan_take(scan, ','));
    return scan_take(scan, '}') || scan_bad(scan, "a comma or a closing bracket is expected");
}

bool message_add_json(struct message_writer *writer, uint8_t *body, size_t len)
{
    struct reader reader = {.writer = writer, .scan = {.at = body, .end = body + len}};
    struct level level = {.type = writer->type, .given = writer->given};
    struct scan *scan = &reader.scan;
    scan_skip_space(scan);
    bool good = scan_peek(scan) == '{' ? read_members(&reader, &level)
                                       : scan_bad(scan, "an object is expected");
    writer->given = level.given;
    scan_skip_space(scan);
    if (good && scan->at != scan->end)
        good = scan_bad(scan, "more follows behind its end");
    return good || (scan->why ? refuse_json(&reader, body) : false);
}
