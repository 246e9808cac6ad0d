/*
 * Fuzzes the body of PUT /kv and the writing of texts: whatever content is taken out of a body must
 * come back the same when it is written as JSON and read by an independent parser, and whatever
 * that parser takes for such a body must be taken here too, with the same content. A test program;
 * fails by a sanitizer or by abort.
 */
#include <jansson.h>
#include <stdlib.h>

#include "workers/http/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void write_and_read(struct bytes text)
{
    struct buffer out = {0};
    enum core_json_form form = core_json_form(text);
    buffer_append(&out, "{", 1);
    core_json_member(&out, "value", text);
    buffer_append(&out, "}", 1);
    json_t *root = json_loadb((char *)out.data, out.len, JSON_ALLOW_NUL, NULL);
    const json_t *value = json_object_get(root, "value");
    require(root && (form == CORE_JSON_BASE64) == !value);
    if (value) {
        struct bytes read = {(const uint8_t *)json_string_value(value), json_string_length(value)};
        require(bytes_equal(read, text));
    }
    json_decref(root);
    buffer_free(&out);
}

/* What jansson reads is JSON; it refuses more than is wrong (large numbers), so not the reverse. */
static void compare(const uint8_t *data, size_t len, bool good, struct bytes content)
{
    json_t *root = json_loadb((const char *)data, len, JSON_ALLOW_NUL, NULL);
    const json_t *value = json_object_get(root, "content");
    if (json_is_string(value) && json_string_length(value) > 0) {
        struct bytes read = {(const uint8_t *)json_string_value(value), json_string_length(value)};
        require(good && bytes_equal(read, content));
    } else if (root) {
        require(!good);
    }
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char error[400];
    struct bytes content = {0};
    write_and_read((struct bytes){data, len});
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy)
        abort();
    if (len > 0)
        memcpy(copy, data, len);
    bool good = http_json_content(copy, len, &content, error, sizeof error);
    compare(data, len, good, content);
    if (good) {
        require(content.len > 0 && content.len <= len);
        require(core_json_form(content) != CORE_JSON_BASE64);
        write_and_read(content);
    } else {
        require(core_json_form(bytes_of(error)) != CORE_JSON_BASE64);
    }
    free(copy);
    return 0;
}
