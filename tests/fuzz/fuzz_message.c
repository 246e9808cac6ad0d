/*
 * Fuzzes the mapping between JSON and messages. The input is taken as JSON, as a query of
 * parameters, and as a packed message: what becomes a message parses, and what is written of it is
 * JSON (for an independent parser) that becomes the same message again. A test program; fails by a
 * sanitizer or by abort.
 */
#include <jansson.h>
#include <stdlib.h>

#include "tests/kinds/kinds.pb-c.h"
#include "workers/core/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const ProtobufCMessageDescriptor *const type = &kinds__kinds__descriptor;
static char error[400];

static void require(bool condition)
{
    if (!condition)
        abort();
}

static struct message_writer write_to(struct buffer *out)
{
    error[0] = '\0';
    return (struct message_writer){type, out, error, sizeof error, 0};
}

/* Whether there is a number that JSON cannot write. */
static bool is_finite(const struct buffer *json)
{
    return !memmem(json->data, json->len, "null", 4);
}

static void there_and_back(struct bytes packed, bool strings)
{
    struct api_pool pool;
    struct buffer first = {0}, second = {0}, again = {0};
    api_pool_open(&pool);
    const ProtobufCMessage *message = api_unpack(type, packed, &pool);
    if (message) {
        message_append_json(message, strings, &first);
        json_t *root = json_loadb((const char *)first.data, first.len,
                                  JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
        require(root);
        json_decref(root);
        uint8_t *copy = malloc(first.len);
        require(copy);
        memcpy(copy, first.data, first.len);
        struct message_writer writer = write_to(&again);
        bool good = message_add_json(&writer, copy, first.len);
        free(copy);
        if (good && is_finite(&first)) {
            api_pool_reset(&pool);
            message = api_unpack(type, buffer_bytes(&again), &pool);
            require(message);
            message_append_json(message, strings, &second);
            require(bytes_equal(buffer_bytes(&first), buffer_bytes(&second)));
        }
        /* Only an enum's number without a name has no way back. */
        require(good || strstr(error, "colour"));
    }
    api_pool_reset(&pool);
    buffer_free(&first);
    buffer_free(&second);
    buffer_free(&again);
}

static void from_json(const uint8_t *data, size_t len)
{
    struct buffer packed = {0};
    struct message_writer writer = write_to(&packed);
    uint8_t *copy = malloc(len + 1);
    require(copy);
    memcpy(copy, data, len);
    if (message_add_json(&writer, copy, len)) {
        struct api_pool pool;
        api_pool_open(&pool);
        require(packed.len <= 4 * len);
        require(api_unpack(type, buffer_bytes(&packed), &pool) || pool.exhausted);
        api_pool_reset(&pool);
        there_and_back(buffer_bytes(&packed), false);
    } else {
        require(error[0]);
    }
    free(copy);
    buffer_free(&packed);
}

/* name, 0, value, 0, ... */
static void from_parameters(const uint8_t *data, size_t len)
{
    struct buffer packed = {0};
    struct message_writer writer = write_to(&packed);
    const uint8_t *end = data + len;
    bool good = true;
    while (good && data < end) {
        size_t name = strnlen((const char *)data, (size_t)(end - data));
        const uint8_t *value = data + name < end ? data + name + 1 : end;
        size_t size = strnlen((const char *)value, (size_t)(end - value));
        uint8_t *copy = malloc(size + 1);
        require(copy);
        memcpy(copy, value, size);
        good =
            message_add_parameter(&writer, (struct bytes){data, name}, (struct bytes){copy, size});
        free(copy);
        data = value + size < end ? value + size + 1 : end;
    }
    require(good || error[0]);
    there_and_back(buffer_bytes(&packed), true);
    buffer_free(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    from_json(data, len);
    from_parameters(data, len);
    there_and_back((struct bytes){data, len}, len % 2);
    return 0;
}
