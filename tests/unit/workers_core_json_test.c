/*
 * JSON: how texts are written, and what PUT /kv takes for a body.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "workers/http/json.h"

static struct bytes text_of(const char *text)
{
    return bytes_of(text);
}

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum core_json_form form;
    } rows[] = {
        {"", CORE_JSON_PLAIN},
        {"plain ASCII with more than eight bytes \x7f", CORE_JSON_PLAIN},
        {"gr\xc3\xbc\xc3\x9f", CORE_JSON_PLAIN},
        {"\xf0\x9f\x98\x80", CORE_JSON_PLAIN},
        {"\xf4\x8f\xbf\xbf", CORE_JSON_PLAIN},
        {"\xef\xbf\xbf", CORE_JSON_PLAIN},
        {"a\"b", CORE_JSON_ESCAPE},
        {"01234567\\", CORE_JSON_ESCAPE},
        {"01234567\n1234567", CORE_JSON_ESCAPE},
        {"\xc3\xbc\x01", CORE_JSON_ESCAPE},
        {"\x80", CORE_JSON_BASE64},
        {"\xc0\xaf", CORE_JSON_BASE64},         /* overlong */
        {"\xe0\x80\xaf", CORE_JSON_BASE64},     /* overlong */
        {"\xf0\x80\x80\xaf", CORE_JSON_BASE64}, /* overlong */
        {"\xed\xa0\x80", CORE_JSON_BASE64},     /* a surrogate */
        {"\xf4\x90\x80\x80", CORE_JSON_BASE64}, /* past U+10FFFF */
        {"\xf5\x80\x80\x80", CORE_JSON_BASE64},
        {"01234567\xc3", CORE_JSON_BASE64}, /* cut */
        {"\xe2\x82", CORE_JSON_BASE64},
        {"\xe2\x28\xa1", CORE_JSON_BASE64},
        {"\"quoted\" \xff", CORE_JSON_BASE64},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (core_json_form(text_of(rows[i].text)) != rows[i].form)
            fail_msg("row %zu", i);
}

static void expect_length(const uint8_t *data, size_t len)
{
    struct bytes text = {data, len};
    struct buffer out = {0};
    core_json_append(&out, text, CORE_JSON_ESCAPE);
    if (core_json_length(text, CORE_JSON_ESCAPE) != out.len)
        fail_msg("of %zu bytes, the first of which is %u", len, len > 0 ? data[0] : 0);
    buffer_free(&out);
}

/* What HEAD says is what GET sends: of each byte, of all of them, and of what grows most. */
static void test_length(void **state)
{
    (void)state;
    static uint8_t text[10000];
    for (unsigned byte = 0; byte < 128; byte++)
        for (size_t len = 0; len <= 70; len++) {
            memset(text, (int)byte, len);
            expect_length(text, len);
        }
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 7 % 128);
    expect_length(text, sizeof text);
    memset(text, 1, sizeof text);
    expect_length(text, sizeof text);
    assert_int_equal(core_json_length((struct bytes){text, sizeof text}, CORE_JSON_ESCAPE),
                     6 * sizeof text);
}

/* Every byte at every place of texts that are shorter, longer and as long as what is looked at at
 * once, with nothing readable behind them (under asan). */
static void test_plain_prefix(void **state)
{
    (void)state;
    enum { LENGTH_MAX = 50 };
    for (size_t len = 1; len <= LENGTH_MAX; len++) {
        uint8_t *text = malloc(len);
        assert_non_null(text);
        memset(text, 'a', len);
        assert_int_equal(core_json_plain_prefix((struct bytes){text, len}), len);
        for (size_t at = 0; at < len; at++) {
            for (unsigned c = 0; c < 256; c++) {
                bool plain = c >= ' ' && c <= 0x7f && c != '"' && c != '\\';
                text[at] = (uint8_t)c;
                if (core_json_plain_prefix((struct bytes){text, len}) != (plain ? len : at))
                    fail_msg("byte %u at %zu of %zu", c, at, len);
            }
            text[at] = 'a';
        }
        free(text);
    }
}

static void assert_member(struct bytes text, const char *expected)
{
    struct buffer out = {0};
    core_json_member(&out, "value", text);
    assert_int_equal(out.len, strlen(expected));
    assert_memory_equal(out.data, expected, out.len);
    buffer_free(&out);
}

static void test_members(void **state)
{
    (void)state;
    assert_member(text_of(""), "\"value\":\"\"");
    assert_member(text_of("a\"\\/\b\f\n\r\t\x01\x1f"),
                  "\"value\":\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\"");
    assert_member((struct bytes){(const uint8_t *)"\0", 1}, "\"value\":\"\\u0000\"");
    assert_member(text_of("\xff"), "\"value_base64\":\"/w==\"");
    assert_member(text_of("\xff\xfe"), "\"value_base64\":\"//4=\"");
    assert_member(text_of("\xff\xfe\xfd"), "\"value_base64\":\"//79\"");
}

/* Whatever is UTF-8 comes back through an independent JSON parser unchanged. */
static void test_round_trip(void **state)
{
    (void)state;
    uint64_t random = 1;
    static const char *const pieces[] = {"a",        "\"",           "\\",
                                         "\n",       "\x01",         "\xc3\xbc",
                                         "/",        "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                         "01234567", "\x7f",         "\x1f"};
    for (int round = 0; round < 2000; round++) {
        struct buffer text = {0}, json = {0};
        for (int i = 0; i < round % 40; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            buffer_append_text(&text, pieces[(random >> 40) % (sizeof pieces / sizeof *pieces)]);
        }
        buffer_append(&json, "{", 1);
        core_json_member(&json, "value", buffer_bytes(&text));
        buffer_append(&json, "}", 1);
        json_t *root = json_loadb((char *)json.data, json.len, 0, NULL);
        json_t *value = json_object_get(root, "value");
        assert_true(json_is_string(value));
        assert_int_equal(json_string_length(value), text.len);
        if (text.len > 0)
            assert_memory_equal(json_string_value(value), text.data, text.len);
        json_decref(root);
        buffer_free(&text);
        buffer_free(&json);
    }
}

/* A value of 100 KiB, escapes at every place a piece of the writer may end. */
static void test_long(void **state)
{
    (void)state;
    enum { LEN = 100 * 1024 };
    uint8_t *text = malloc(LEN);
    struct buffer out = {0};
    memset(text, '"', LEN);
    core_json_member(&out, "v", (struct bytes){text, LEN});
    assert_int_equal(out.len, 2 * LEN + 6);
    for (size_t i = 0; i < LEN; i++)
        assert_memory_equal(out.data + 5 + 2 * i, "\\\"", 2);
    free(text);
    buffer_free(&out);
}

static char error[400];

/* The content of a body, or NULL; NULs are shown as '0'. */
static const char *content(const char *body)
{
    static char result[256];
    size_t len = strlen(body);
    uint8_t *copy = malloc(len ? len : 1);
    struct bytes found;
    memcpy(copy, body, len);
    error[0] = '\0';
    bool good = http_json_content(copy, len, &found, error, sizeof error);
    if (good) {
        assert_true(found.len < sizeof result);
        memcpy(result, found.data, found.len);
        for (size_t i = 0; i < found.len; i++)
            result[i] = result[i] ? result[i] : '0';
        result[found.len] = '\0';
    }
    free(copy);
    return good ? result : NULL;
}

static void test_content(void **state)
{
    (void)state;
    static const struct {
        const char *body, *content;
    } rows[] = {
        {"{\"content\":\"abc\"}", "abc"},
        {" {\n\"content\" : \"abc\" }\r\n ", "abc"},
        {"{\"content\":\"a\\\"b\\u0041\\n\"}", "a\"bA\n"},
        {"{\"content\":\"\\u0000x\"}", "0x"},
        {"{\"content\":\"\\ud83d\\ude00\"}", "\xf0\x9f\x98\x80"},
        {"{\"content\":\"\xc3\xbc\"}", "\xc3\xbc"},
        {"{\"other\":[1,{\"content\":2}],\"content\":\"abc\"}", "abc"},
        {"{\"content\":\"a\",\"content\":\"b\"}", "b"},
        {"{\"content\":1,\"content\":\"b\"}", "b"},
        {"{\"c\\u006fntent\":\"b\"}", "b"},
        {"{\"content\":\"v\",\"id\":9223372036854775808}", "v"},
        {"{\"content\":\"v\",\"x\":1e400}", "v"},
        {"{\"x\":-1E-999999999999999999999,\"y\":-0.0,\"content\":\"v\"}", "v"},
        {"{\"x\":1,\"x\":{\"x\":[],\"x\":{}},\"\":null,\"content\":\"v\"}", "v"},
        {"{\"x\":\"\\ud800\",\"\\udfff\":[true , false],\"content\":\"v\"}", "v"},
        {"{\"content\":\"v\",\"x\":[ [ ] , [{} , {\"a\" : 0}] ]}", "v"},
        {"{\"content\":\"\\/\\b\\f\\n\\r\\t\\\\\"}", "/\b\f\n\r\t\\"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *found = content(rows[i].body);
        if (!found)
            fail_msg("%s: %s", rows[i].body, error);
        assert_string_equal(found, rows[i].content);
    }
}

static void test_refused_content(void **state)
{
    (void)state;
    static const struct {
        const char *body, *why;
    } rows[] = {
        {"", "no JSON"},
        {"abc", "no JSON"},
        {"{\"content\":\"abc\"", "no JSON"},
        {"{\"content\":\"abc\"}x", "no JSON"},
        {"{\"content\":\"abc}", "no JSON"},
        {"{\"content\":\"a\nb\"}", "no JSON"},
        {"{\"content\":\"\\ud83d\"}", "half of a surrogate pair"},
        {"{\"content\":\"a\\udc00\"}", "half of a surrogate pair"},
        {"\xef\xbb\xbf{\"content\":\"a\"}", "begins with a byte order mark"},
        {"\xff\xfe{", "begins with a byte order mark"},
        {"{\"content\":\"\xff\"}", "no JSON"},
        {"{\"content\":\"\\x\"}", "no JSON"},
        {"{\"content\":\"\\ude00\\ud83d\"}", "half of a surrogate pair"},
        {"{\"content\":\"\\u12g4\"}", "no JSON"},
        {"{\"content\":\"a\",}", "no JSON"},
        {"{\"content\":\"a\" \"b\":1}", "no JSON"},
        {"{\"content\":\"a\",\"b\":01}", "no JSON"},
        {"{\"content\":\"a\",\"b\":1.}", "no JSON"},
        {"{\"content\":\"a\",\"b\":1e}", "no JSON"},
        {"{\"content\":\"a\",\"b\":-}", "no JSON"},
        {"{\"content\":\"a\",\"b\":.5}", "no JSON"},
        {"{\"content\":\"a\",\"b\":[1,]}", "no JSON"},
        {"{\"content\":\"a\",\"b\":[1}}", "no JSON"},
        {"{\"content\":\"a\",\"b\":{1:2}}", "no JSON"},
        {"{\"content\":\"a\",\"b\":{\"c\"}}", "no JSON"},
        {"{\"content\":\"a\",\"b\":nul}", "no JSON"},
        {"{\"content\":\"a\",\"b\":\"\xc0\x80\"}", "no JSON"},
        {"{\"content\":\"a\",b:1}", "no JSON"},
        {"[]", "no JSON object"},
        {"\"content\"", "no JSON object"},
        {"{}", "missing"},
        {"{\"Content\":\"a\"}", "missing"},
        {"{\"content\":1}", "no string"},
        {"{\"content\":null}", "no string"},
        {"{\"content\":\"\"}", "empty"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_null(content(rows[i].body));
        if (!strstr(error, rows[i].why) || core_json_form(bytes_of(error)) == CORE_JSON_BASE64)
            fail_msg("%s: %s", rows[i].body, error);
    }
}

/* What nobody asked for may come in any number, and deep. */
static void test_many_values(void **state)
{
    (void)state;
    enum { DEPTH = 9999, VALUES = 100000 };
    struct buffer body = {0};
    struct bytes found;
    buffer_append_text(&body, "{\"content\":\"a,[{,,[[[[\",\"x\":[");
    for (int i = 0; i < VALUES; i++)
        buffer_append_text(&body, "0,");
    for (int i = 0; i < DEPTH - 1; i++)
        buffer_append_text(&body, i % 2 ? "[" : "{\"a\":");
    size_t deep = body.len;
    for (int more = 0; more < 2; more++) {
        body.len = deep;
        buffer_append_text(&body, more ? "[[0]]" : "[0]");
        for (int i = DEPTH - 2; i >= 0; i--)
            buffer_append_text(&body, i % 2 ? "]" : "}");
        buffer_append_text(&body, "]}");
        if (http_json_content(body.data, body.len, &found, error, sizeof error) == more)
            fail_msg("%d: %s", more, error);
    }
    assert_non_null(strstr(error, "10000"));
    buffer_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),        cmocka_unit_test(test_members),
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_long),
        cmocka_unit_test(test_content),      cmocka_unit_test(test_refused_content),
        cmocka_unit_test(test_many_values),  cmocka_unit_test(test_length),
        cmocka_unit_test(test_plain_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
