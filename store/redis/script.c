/*
 * script - see script.h. Runs in store-redis; panics on a row that names what there is not.
 */
#include "store/redis/script.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/base/log.h"
#include "store/redis/answer.h"

static const struct row {
    const char *arguments, *answers, *script;
} rows[OP_COUNT] = {
    [OP_NONE] = {NULL, NULL, NULL},
#define SCRIPT(operation, arguments, answers, script)                                              \
    [OP_##operation] = {arguments, answers, script},
#include "store/redis/scripts.def"
};

enum { WORD_MAX = 64, NUMBER_MAX = 24 };

bool redis_script_has(enum op op)
{
    return rows[op].script;
}

/* The next word of a list; false at its end. */
static bool next_word(const char **list, char word[WORD_MAX])
{
    *list += strspn(*list, " ");
    size_t len = strcspn(*list, " ");
    if (len == 0)
        return false;
    snprintf(word, WORD_MAX, "%.*s", (int)len, *list);
    *list += len;
    return true;
}

static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessageDescriptor *type,
                                                const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(type, name);
    if (!field || field->label == PROTOBUF_C_LABEL_REPEATED)
        panic("a script's row names %s, which %s has not", name, type->name);
    return field;
}

static bool is_64_bits(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return true;
    default:
        return false;
    }
}

/* ---- Requests ---- */

static void add(struct redis_command *command, const void *word, size_t len)
{
    if (command->count == REDIS_WORDS_MAX)
        panic("a script has more than %d words", REDIS_WORDS_MAX);
    command->words[command->count] = len ? word : "";
    command->lens[command->count++] = len;
}

static void add_number(struct redis_command *command, int64_t number, struct api_pool *pool)
{
    char *text = api_pool_alloc(pool, NUMBER_MAX);
    if (!text)
        panic("no room for a number");
    int len = snprintf(text, NUMBER_MAX, "%" PRId64, number);
    add(command, text, (size_t)len);
}

/* False when there is no such term. */
static bool add_term(struct redis_command *command, const char *name,
                     const struct redis_terms *terms, struct api_pool *pool)
{
    if (strcmp(name, "max_value") == 0)
        add_number(command, (int64_t)terms->max_value, pool);
    else if (strcmp(name, "max_set") == 0)
        add_number(command, (int64_t)terms->max_set, pool);
    else
        return false;
    return true;
}

static void add_field(struct redis_command *command, const ProtobufCMessage *message,
                      const char *name, struct api_pool *pool)
{
    const ProtobufCFieldDescriptor *field = field_of(message->descriptor, name);
    const char *at = (const char *)message + field->offset;
    int64_t number;
    int32_t small;
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        struct bytes value = api_bytes(message, field);
        add(command, value.data, value.len);
    } else if (is_64_bits(field)) {
        memcpy(&number, at, sizeof number);
        add_number(command, number, pool);
    } else {
        memcpy(&small, at, sizeof small);
        add_number(command, small, pool);
    }
}

bool redis_script_make(struct redis_command *command, const struct request *request,
                       struct bytes key, const struct redis_terms *terms, struct api_pool *pool)
{
    const struct row *row = &rows[request->op];
    const char *arguments = row->arguments;
    char name[WORD_MAX];
    api_pool_reset(pool);
    const ProtobufCMessage *message =
        api_unpack(api_messages(request->op)->request, request->value, pool);
    if (!message)
        return false;
    command->count = 0;
    add(command, "EVAL", 4);
    add(command, row->script, strlen(row->script));
    add(command, "1", 1);
    add(command, key.data, key.len);
    while (next_word(&arguments, name))
        if (!add_term(command, name, terms, pool))
            add_field(command, message, name, pool);
    return true;
}

/* ---- Answers ---- */

static bool take_number(const redisReply *value, int64_t *number_r)
{
    *number_r = value->integer;
    return value->type == REDIS_REPLY_INTEGER ||
           (value->type == REDIS_REPLY_STRING &&
            redis_parse_number((struct bytes){(const uint8_t *)value->str, value->len}, number_r));
}

/* False: it is of no kind that the field can have. */
static bool set_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                      const redisReply *value)
{
    char *at = (char *)message + field->offset;
    int64_t number;
    if (value->type == REDIS_REPLY_NIL)
        return true;
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        ProtobufCBinaryData data = {value->len, (uint8_t *)value->str};
        memcpy(at, &data, sizeof data);
        return value->type == REDIS_REPLY_STRING;
    }
    if (!take_number(value, &number))
        return false;
    int32_t small = (int32_t)number;
    if (is_64_bits(field))
        memcpy(at, &number, sizeof number);
    else
        memcpy(at, &small, sizeof small);
    return true;
}

struct reply redis_script_answer(enum op op, const redisReply *answer, struct api_pool *pool)
{
    const char *answers = rows[op].answers;
    char name[WORD_MAX];
    api_pool_reset(pool);
    ProtobufCMessage *message = api_new(api_messages(op)->reply, pool);
    bool several = answer->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; next_word(&answers, name); i++) {
        if (several ? i >= answer->elements : i > 0)
            return (struct reply){.status = STATUS_INTERNAL};
        if (!set_field(message, field_of(message->descriptor, name),
                       several ? answer->element[i] : answer))
            return (struct reply){.status = STATUS_INTERNAL};
    }
    return (struct reply){.value = api_pack(message, pool)};
}
