/*
 * Request targets, percent-decoding, queries, and the chunked coding.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "workers/http/chunk.h"
#include "workers/http/target.h"

static struct http_text copy_of(const char *text)
{
    size_t len = strlen(text);
    struct http_text copy = {malloc(len ? len : 1), len};
    memcpy(copy.data, text, len);
    return copy;
}

static void assert_text(struct bytes text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.data, expected, text.len);
}

static void test_split(void **state)
{
    (void)state;
    static const struct {
        const char *target, *path, *query;
    } rows[] = {
        {"/kv/a", "/kv/a", NULL},
        {"/kv/a?", "/kv/a", ""},
        {"/kv/a?b=c?d", "/kv/a", "b=c?d"},
        {"http://host:1/kv/a?b", "/kv/a", "b"},
        {"HTTPS://host/", "/", NULL},
        {"http:///kv/a", NULL, NULL},
        {"http://host", "/", NULL},
        {"http://host?a", "/", "a"},
        {"https://[::1]:8081?", "/", ""},
        {"http://", NULL, NULL},
        {"http://?a", NULL, NULL},
        {"kv/a", NULL, NULL},
        {"*", NULL, NULL},
        {"", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct http_text target = copy_of(rows[i].target), path, query;
        bool good = http_target_split(target, &path, &query);
        assert_int_equal(good, rows[i].path != NULL);
        if (good) {
            assert_text((struct bytes){path.data, path.len}, rows[i].path);
            assert_int_equal(query.data != NULL, rows[i].query != NULL);
            if (rows[i].query)
                assert_text((struct bytes){query.data, query.len}, rows[i].query);
        }
        free(target.data);
    }
}

static void test_decode(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool plus;
        const char *decoded;
    } rows[] = {
        {"", false, ""},
        {"a+b", false, "a+b"},
        {"a+b", true, "a b"},
        {"%41%2f", false, "A/"},
        {"%2B", true, "+"},
        {"%252F", false, "%2F"},
        {"%", false, NULL},
        {"%4", false, NULL},
        {"a%4", true, NULL},
        {"%4g", false, NULL},
        {"%g4", false, NULL},
        {"%%41", false, NULL},
        {"%e2%82%aC", false, "\xe2\x82\xac"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct http_text text = copy_of(rows[i].text);
        uint8_t *data = text.data;
        assert_int_equal(http_percent_decode(&text, rows[i].plus), rows[i].decoded != NULL);
        if (rows[i].decoded)
            assert_text((struct bytes){text.data, text.len}, rows[i].decoded);
        free(data);
    }
    struct http_text nul = copy_of("%00");
    assert_true(http_percent_decode(&nul, false));
    assert_int_equal(nul.len, 1);
    assert_int_equal(nul.data[0], 0);
    free(nul.data);
}

static void test_query(void **state)
{
    (void)state;
    struct http_query query;
    struct http_text text = copy_of("x=1&value=a%26b+c&ttl=5&&value=second&%69tem=i&increment");
    assert_true(http_query_parse(text, &query));
    assert_text(query.value, "a&b c");
    assert_text(query.ttl, "5");
    assert_text(query.item, "i");
    assert_non_null(query.increment.data);
    assert_int_equal(query.increment.len, 0);
    assert_int_equal(query.twice, 1u << HTTP_PARAMETER_VALUE);
    free(text.data);

    text = copy_of("x=1&x=2&value&value=v&ttl=1&tt%6c=2&item=i&key=k&key=k");
    assert_true(http_query_parse(text, &query));
    assert_int_equal(query.twice, 1u << HTTP_PARAMETER_VALUE | 1u << HTTP_PARAMETER_TTL |
                                      1u << HTTP_PARAMETER_KEY);
    assert_string_equal(http_parameter_name(HTTP_PARAMETER_TTL), "ttl");
    free(text.data);

    assert_true(http_query_parse((struct http_text){0}, &query));
    assert_null(query.value.data);

    text = copy_of("other=%zz");
    assert_false(http_query_parse(text, &query));
    free(text.data);
}

/* ---- Chunks ---- */

enum { BODY_MAX = 64 };

/* Decodes text given in pieces of step bytes; the body goes to body_r. */
static enum http_chunk decode(const char *text, size_t step, char *body_r, size_t *used_r)
{
    struct http_chunked chunked = {0};
    size_t len = strlen(text), at = 0, body_len = 0, fed = 0;
    uint8_t *data = malloc(len + 1);
    enum http_chunk result = HTTP_CHUNK_MORE;
    while (result == HTTP_CHUNK_MORE && fed < len) {
        size_t n = len - fed < step ? len - fed : step;
        memcpy(data + at, text + fed, n); /* as a connection does: behind what is decoded */
        fed += n;
        size_t end = at + n;
        result = http_chunk_decode(&chunked, data, end, BODY_MAX, &at, &body_len);
        if (result == HTTP_CHUNK_MORE) {
            assert_int_equal(at, end);
            at = body_len;
        } else {
            *used_r = fed - (end - at);
        }
    }
    memcpy(body_r, data, body_len);
    body_r[body_len] = '\0';
    free(data);
    return result;
}

static void test_chunks(void **state)
{
    (void)state;
    static const char *const good[] = {
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "00005;a=b;c=\"d\"\r\nhello\r\n6 ;x\r\n world\r\n0\r\n\r\n",
        "B\r\nhello world\r\n000\r\nTrailer: x\r\nOther: y\r\n\r\n",
        "b  \r\nhello world\r\n0;end\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        for (size_t step = 1; step < 50; step++) {
            char body[BODY_MAX + 1];
            size_t used = 0;
            assert_int_equal(decode(good[i], step, body, &used), HTTP_CHUNK_DONE);
            assert_string_equal(body, "hello world");
            assert_int_equal(used, strlen(good[i]));
        }
}

static void test_bad_chunks(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum http_chunk result;
    } rows[] = {
        {"\r\n", HTTP_CHUNK_BAD},
        {"g\r\n", HTTP_CHUNK_BAD},
        {"-5\r\n", HTTP_CHUNK_BAD},
        {" 5\r\n", HTTP_CHUNK_BAD},
        {"5\nhello", HTTP_CHUNK_BAD},
        {"5 5\r\n", HTTP_CHUNK_BAD},
        {"5\r\nhelloX\r\n", HTTP_CHUNK_BAD},
        {"5\r\nhello\r\r\n", HTTP_CHUNK_BAD},
        {"5;\x01\r\n", HTTP_CHUNK_BAD},
        {"00000000000000005\r\n", HTTP_CHUNK_BAD},
        {"0\r\nA: b\n\r\n", HTTP_CHUNK_BAD},
        {"0\r\n\rX", HTTP_CHUNK_BAD},
        {"41\r\nx", HTTP_CHUNK_TOO_LARGE},
        {"ffffffffffffffff\r\nx", HTTP_CHUNK_TOO_LARGE},
        {"0\r\n", HTTP_CHUNK_MORE},
        {"5\r\nhello", HTTP_CHUNK_MORE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[BODY_MAX + 1];
        size_t used = 0;
        if (decode(rows[i].text, 1000, body, &used) != rows[i].result)
            fail_msg("row %zu: %s", i, rows[i].text);
    }
}

/* Extensions and trailers are bounded however many chunks they are spread over. */
static void test_chunk_extras(void **state)
{
    (void)state;
    static const uint8_t chunk[] = "1;0123456789\r\nx\r\n";
    struct http_chunked chunked = {0};
    uint8_t data[sizeof chunk];
    enum http_chunk result = HTTP_CHUNK_MORE;
    size_t chunks = 0;
    while (result == HTTP_CHUNK_MORE) {
        size_t at = 0, body_len = 0;
        memcpy(data, chunk, sizeof chunk);
        result = http_chunk_decode(&chunked, data, sizeof chunk - 1, 1 << 20, &at, &body_len);
        chunks++;
    }
    assert_int_equal(result, HTTP_CHUNK_BAD);
    assert_in_range(chunks, HTTP_CHUNK_EXTRA_MAX / 11, HTTP_CHUNK_EXTRA_MAX / 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),      cmocka_unit_test(test_decode),
        cmocka_unit_test(test_query),      cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_bad_chunks), cmocka_unit_test(test_chunk_extras),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
