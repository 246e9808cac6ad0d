/*
 * The table of the HTTP contract: which row a request finds, what is read from it, how its reply
 * looks; and the heads of answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/base/set.h"
#include "workers/http/reply.h"

static struct buffer scratch;
static struct http_body body;
static struct http_head head;
static struct request request;
static char error[400];

static const struct http_route *find(enum http_method method, const char *path)
{
    body = (struct http_body){0};
    scratch.len = 0;
    uint8_t *bytes = (uint8_t *)(uintptr_t)path, *mark = (uint8_t *)strchr(path, '?');
    struct http_text whole = {bytes, strlen(path)}, query = {0};
    if (mark) {
        whole.len = (size_t)(mark - bytes);
        query = (struct http_text){mark + 1, strlen((char *)mark + 1)};
    }
    return http_route_find(method, whole, query, &scratch, &body);
}

static void assert_body(const char *expected)
{
    char text[1024] = "";
    size_t len = 0;
    for (int i = 0; i < 3; i++) {
        assert_true(len + body.parts[i].len < sizeof text);
        if (body.parts[i].len > 0)
            memcpy(text + len, body.parts[i].data, body.parts[i].len);
        len += body.parts[i].len;
    }
    text[len] = '\0';
    assert_string_equal(text, expected);
    assert_int_equal(http_reply_length(&body), len);
}

static void test_find(void **state)
{
    (void)state;
    assert_int_equal(find(HTTP_GET, "/kv/a")->op, OP_KV_GET);
    assert_int_equal(find(HTTP_HEAD, "/kv/a/b/../c")->op, OP_KV_GET);
    assert_int_equal(find(HTTP_PUT, "/kv/a")->op, OP_KV_PUT);
    assert_int_equal(find(HTTP_DELETE, "/kv/a")->op, OP_KV_DELETE);
    assert_int_equal(find(HTTP_GET, "/cache/a")->op, OP_CACHE_GET);
    assert_int_equal(find(HTTP_PUT, "/cache/a")->op, OP_CACHE_SET);
    assert_int_equal(find(HTTP_GET, "/counters/a")->op, OP_COUNTER_GET);
    assert_int_equal(find(HTTP_PUT, "/counters/a")->op, OP_COUNTER_INCREMENT);
    assert_int_equal(find(HTTP_POST, "/counters/a")->op, OP_COUNTER_INCREMENT);
    assert_int_equal(find(HTTP_GET, "/flags/a")->op, OP_FLAG_GET);
    assert_int_equal(find(HTTP_PUT, "/flags/a")->op, OP_FLAG_SET);
    assert_int_equal(find(HTTP_GET, "/sets/a")->op, OP_SET_GET);
    assert_int_equal(find(HTTP_PUT, "/sets/a")->op, OP_SET_ADD);
    assert_int_equal(find(HTTP_DELETE, "/sets/a")->op, OP_SET_REMOVE);
    assert_int_equal(find(HTTP_GET, "/ping")->page, HTTP_PAGE_PING);
    assert_int_equal(find(HTTP_HEAD, "/metrics")->page, HTTP_PAGE_METRICS);
    assert_int_equal(find(HTTP_GET, "/kv?key=a")->op, OP_KV_GET);
    assert_int_equal(find(HTTP_DELETE, "/sets?item=i&key=a")->op, OP_SET_REMOVE);
}

static void test_not_found(void **state)
{
    (void)state;
    static const char *const paths[] = {"/",      "/kv",    "/KV/a",      "/ping/",      "/pingx",
                                        "//kv/a", "/kva/b", "/kv?xkey=a", "/ping/?key=a"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        assert_null(find(HTTP_GET, paths[i]));
        assert_int_equal(body.status, 404);
        assert_string_equal(body.type, "application/json");
        assert_string_equal(body.allow, "");
    }
}

static void test_not_allowed(void **state)
{
    (void)state;
    static const struct {
        enum http_method method;
        const char *path, *allow;
    } rows[] = {
        {HTTP_OTHER, "/sets/a", "GET, HEAD, PUT, DELETE, OPTIONS"},
        {HTTP_POST, "/sets?key=a", "GET, HEAD, PUT, DELETE, OPTIONS"},
        {HTTP_DELETE, "/cache/a", "GET, HEAD, PUT, OPTIONS"},
        {HTTP_DELETE, "/counters/a", "GET, HEAD, PUT, POST, OPTIONS"},
        {HTTP_POST, "/sets/a", "GET, HEAD, PUT, DELETE, OPTIONS"},
        {HTTP_PUT, "/ping", "GET, HEAD, OPTIONS"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_null(find(rows[i].method, rows[i].path));
        assert_int_equal(body.status, 405);
        assert_string_equal(body.allow, rows[i].allow);
    }
    assert_null(find(HTTP_PUT, "/ping"));
    assert_body("{\"error\":\"method not allowed; this path takes GET, HEAD, OPTIONS\"}");
}

/* Reads "PATH?QUERY" with a body. The texts stay in a static buffer. */
static bool prepare(enum http_method method, const char *target, const char *text)
{
    static uint8_t bytes[2048];
    size_t len = strlen(target), body_len = strlen(text);
    struct http_text path, query;
    memcpy(bytes, target, len);
    memcpy(bytes + len, text, body_len);
    assert_true(http_target_split((struct http_text){bytes, len}, &path, &query));
    const struct http_route *route = http_route_find(method, path, query, &scratch, &body);
    assert_non_null(route);
    struct http_input input = {
        .head = &head,
        .body = bytes + len,
        .body_len = body_len,
        .now_ms = 1000,
        .error = error,
        .error_size = sizeof error,
        .made = &scratch,
    };
    scratch.len = 0;
    return http_route_prepare(route, path, query, &input, &request);
}

static void assert_bytes(struct bytes text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.data, expected, text.len);
}

static void test_prepare(void **state)
{
    (void)state;
    head = (struct http_head){0};
    assert_true(prepare(HTTP_GET, "/kv/a%2Fb/c+d%20", ""));
    assert_bytes(request.key, "a/b/c+d ");
    assert_true(prepare(HTTP_GET, "/kv?key=..", ""));
    assert_bytes(request.key, "..");
    assert_true(prepare(HTTP_PUT, "/counters?increment=2&key=a%2F..%2Fb+%2B", ""));
    assert_bytes(request.key, "a/../b +");
    assert_int_equal(request.number, 2);
    assert_true(prepare(HTTP_GET, "/flags/?key=.", ""));
    assert_bytes(request.key, ".");
    assert_true(prepare(HTTP_PUT, "/kv/a", "{\"content\":\"x\"}"));
    assert_bytes(request.value, "x");
    head.raw_body = true;
    assert_true(prepare(HTTP_PUT, "/kv/a", "{\"content\":\"x\"}"));
    assert_bytes(request.value, "{\"content\":\"x\"}");
    assert_true(prepare(HTTP_PUT, "/kv/a", ""));
    assert_int_equal(request.value.len, 0);
    assert_true(prepare(HTTP_PUT, "/cache/a?value=v+w&ttl=2", ""));
    assert_bytes(request.value, "v w");
    assert_int_equal(request.expiry_ms, 3000);
    assert_true(prepare(HTTP_PUT, "/cache/a?value=v", ""));
    assert_int_equal(request.expiry_ms, 6000);
    assert_true(prepare(HTTP_PUT, "/cache/a?value=v&ttl=0", ""));
    assert_int_equal(request.expiry_ms, 6000);
    assert_true(prepare(HTTP_PUT, "/counters/a?increment=-9223372036854775808", ""));
    assert_true(request.number == INT64_MIN);
    assert_true(prepare(HTTP_POST, "/counters/a?increment=9223372036854775807", ""));
    assert_true(request.number == INT64_MAX);
    assert_true(prepare(HTTP_POST, "/counters/a?increment=%2B007", ""));
    assert_int_equal(request.number, 7);
    assert_true(prepare(HTTP_PUT, "/flags/a?value=FALSE", ""));
    assert_int_equal(request.number, 0);
    assert_true(prepare(HTTP_PUT, "/flags/a?value=t", ""));
    assert_int_equal(request.number, 1);
    assert_true(prepare(HTTP_DELETE, "/sets/a?item=%00", ""));
    assert_int_equal(request.value.len, 1);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        enum http_method method;
        const char *target, *why;
    } rows[] = {
        {HTTP_GET, "/kv/", "no resource key provided"},
        {HTTP_GET, "/kv?key=", "no resource key provided"},
        {HTTP_GET, "/kv?key=%2", "hexadecimal"},
        {HTTP_GET, "/kv/a?key=a", "twice"},
        {HTTP_GET, "/kv/%", "hexadecimal"},
        {HTTP_GET, "/kv/%2", "hexadecimal"},
        {HTTP_GET, "/kv/a?b=%", "hexadecimal"},
        {HTTP_PUT, "/kv/a", "{\"content\":\"...\"}"},
        {HTTP_PUT, "/cache/a", "value"},
        {HTTP_PUT, "/cache/a?value=", "value"},
        {HTTP_PUT, "/cache/a?value=v&ttl=-1", "ttl"},
        {HTTP_PUT, "/cache/a?value=v&ttl=x", "ttl"},
        {HTTP_PUT, "/cache/a?value=v&ttl=1.5", "ttl"},
        {HTTP_PUT, "/cache/a?value=v&ttl=2147483648", "ttl"},
        {HTTP_PUT, "/cache/a?value=v&ttl=99999999999999999999", "ttl"},
        {HTTP_PUT, "/counters/a", "increment"},
        {HTTP_PUT, "/counters/a?increment=", "increment"},
        {HTTP_PUT, "/counters/a?increment=+1", "increment"},
        {HTTP_PUT, "/counters/a?increment=-", "increment"},
        {HTTP_PUT, "/counters/a?increment=1e3", "increment"},
        {HTTP_PUT, "/counters/a?increment=9223372036854775808", "increment"},
        {HTTP_PUT, "/counters/a?increment=-9223372036854775809", "increment"},
        {HTTP_PUT, "/flags/a", "1 t T TRUE"},
        {HTTP_PUT, "/flags/a?value=yes", "1 t T TRUE"},
        {HTTP_PUT, "/flags/a?value=tRUE", "1 t T TRUE"},
        {HTTP_PUT, "/sets/a", "item"},
        {HTTP_DELETE, "/sets/a?item=", "item"},
    };
    head = (struct http_head){0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        error[0] = '\0';
        if (prepare(rows[i].method, rows[i].target, "") || !strstr(error, rows[i].why))
            fail_msg("%s: %s", rows[i].target, error);
    }
}

static void shape(enum http_method method, const char *path, const char *key,
                  const struct reply *reply)
{
    struct http_input input = {.head = &head, .key = bytes_of(key)};
    const struct http_route *route = find(method, path);
    body.status = 200;
    scratch.len = 0;
    route->shape(&input, reply, &scratch, &body);
}

static void test_shapes(void **state)
{
    (void)state;
    head = (struct http_head){0};
    struct reply reply = {.value = bytes_of("plain"), .number = -5};
    shape(HTTP_GET, "/kv/a", "k", &reply);
    assert_body("{\"value\":\"plain\"}");
    reply.value = bytes_of("a\"b");
    shape(HTTP_GET, "/cache/a", "k", &reply);
    assert_body("{\"value\":\"a\\\"b\"}");
    reply.value = bytes_of("\xff");
    shape(HTTP_GET, "/kv/a", "k", &reply);
    assert_body("{\"value_base64\":\"/w==\"}");
    head.accept = HTTP_FORM_TEXT;
    shape(HTTP_GET, "/kv/a", "k", &reply);
    assert_body("\xff");
    assert_string_equal(body.type, "application/octet-stream");
    reply.value = bytes_of("text");
    shape(HTTP_GET, "/cache/a", "k", &reply);
    assert_body("text");
    assert_string_equal(body.type, "text/plain; charset=utf-8");
    shape(HTTP_GET, "/flags/a", "k", &reply);
    assert_body("true");
    reply.number = INT64_MIN;
    shape(HTTP_POST, "/counters/a", "k", &reply);
    assert_body("-9223372036854775808");
    assert_string_equal(body.type, "text/plain; charset=utf-8");
    head.accept = HTTP_FORM_RAW;
    reply.number = (int64_t)1 << 53 | 1;
    shape(HTTP_GET, "/counters/a", "k", &reply);
    assert_body("9007199254740993");
    assert_string_equal(body.type, "application/octet-stream");
    head.accept = HTTP_FORM_JSON;
    reply.number = -5;
    shape(HTTP_GET, "/counters/a", "k\"", &reply);
    assert_body("{\"key\":\"k\\\"\",\"value\":-5}");
    shape(HTTP_PUT, "/counters/a", "k", &reply);
    assert_body("");
    assert_int_equal(body.status, 204);
    head.prefer = HTTP_PREFER_MINIMAL;
    shape(HTTP_POST, "/counters/a", "k", &reply);
    assert_int_equal(body.status, 204);
    shape(HTTP_DELETE, "/sets/a", "k", &reply);
    assert_int_equal(body.status, 204);
    assert_true(http_route_status_only(find(HTTP_PUT, "/sets/a"), &head));
    assert_false(http_route_status_only(find(HTTP_GET, "/sets/a"), &head));
    head.prefer = HTTP_PREFER_REPRESENTATION;
    shape(HTTP_PUT, "/counters/a", "k", &reply);
    assert_body("{\"key\":\"k\",\"value\":-5}");
    assert_int_equal(body.status, 200);
    shape(HTTP_GET, "/flags/a", "k", &reply);
    assert_body("{\"value\":true}");
    reply.number = 0;
    shape(HTTP_GET, "/flags/a", "k", &reply);
    assert_body("{\"value\":false}");
    shape(HTTP_DELETE, "/kv/a", "k", &reply);
    assert_int_equal(body.status, 204);
}

static void test_sets(void **state)
{
    (void)state;
    struct reply reply = {0};
    head = (struct http_head){0};
    shape(HTTP_GET, "/sets/a", "s", &reply);
    assert_body("{\"items\":[],\"set\":\"s\"}");
    reply.value = (struct bytes){(const uint8_t *)"\1\0a\2\0b\"", 7};
    shape(HTTP_PUT, "/sets/a", "s", &reply);
    assert_body("{\"items\":[\"a\",\"b\\\"\"],\"set\":\"s\"}");
    reply.value = (struct bytes){(const uint8_t *)"\1\0a\1\0\xff", 6};
    shape(HTTP_GET, "/sets/a", "s", &reply);
    assert_body("{\"items_base64\":[\"YQ==\",\"/w==\"],\"set\":\"s\"}");
}

/* HEAD has the length of what GET would answer, whatever that is. */
static void test_lengths_of_head(void **state)
{
    (void)state;
    static const char *const values[] = {"",     "plain",    "a\"\\\n\x01\x1f", "\xc3\xbc",
                                         "\xff", "\xff\xff", "abc\xff"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char set[64];
        struct reply reply = {.value = bytes_of(values[i])};
        for (int kind = 0; kind < 2; kind++) {
            const char *path = kind ? "/sets/a" : "/kv/a";
            if (kind) {
                size_t len = strlen(values[i]);
                set[0] = (char)len;
                set[1] = 0;
                memcpy(set + 2, values[i], len);
                memcpy(set + 2 + len, "\1\0b", 3);
                reply.value = (struct bytes){(uint8_t *)set, len > 0 ? len + 5 : 0};
            }
            head = (struct http_head){.method = HTTP_GET};
            shape(HTTP_GET, path, i % 2 ? "k\n" : "\xff", &reply);
            uint64_t length = http_reply_length(&body);
            assert_int_equal(body.unsent, 0);
            head.method = HTTP_HEAD;
            shape(HTTP_HEAD, path, i % 2 ? "k\n" : "\xff", &reply);
            assert_int_equal(http_reply_length(&body), length);
            assert_int_equal(body.unsent, length);
            assert_string_equal(body.type, "application/json");
        }
    }
    head = (struct http_head){0};
}

static void test_options(void **state)
{
    (void)state;
    static const char *const paths[] = {"/", "*", "/kv/a", "/kv", "/metrics"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        assert_null(find(HTTP_OPTIONS, paths[i]));
        assert_int_equal(body.status, 204);
        assert_non_null(strstr(body.allow, "GET, HEAD"));
        assert_non_null(strstr(body.allow, "OPTIONS"));
    }
    assert_null(find(HTTP_OPTIONS, "/nope"));
    assert_int_equal(body.status, 404);
    assert_null(find(HTTP_GET, "/"));
    assert_int_equal(body.status, 404);
}

static void test_cors(void **state)
{
    (void)state;
    struct buffer out = {0};
    struct http_style style = {.vary = true};
    http_reply_date(784111777, style.date);
    body = (struct http_body){.status = 204};
    http_reply_head(&out, &body, &style);
    buffer_append(&out, "", 1);
    assert_non_null(strstr((char *)out.data, "Vary: Origin\r\n"));
    assert_null(strstr((char *)out.data, "Access-Control"));
    out.len = 0;
    style.origin = bytes_of("https://a.example");
    body = (struct http_body){
        .status = 204, .allow = "GET", .preflight = true, .request_headers = bytes_of("x-a, x-b")};
    http_reply_head(&out, &body, &style);
    buffer_append(&out, "", 1);
    assert_non_null(strstr((char *)out.data, "Access-Control-Allow-Origin: https://a.example\r\n"));
    assert_non_null(strstr((char *)out.data, "Access-Control-Allow-Methods: GET\r\n"));
    assert_non_null(strstr((char *)out.data, "Access-Control-Allow-Headers: x-a, x-b\r\n"));
    buffer_free(&out);
}

static void test_heads(void **state)
{
    (void)state;
    struct buffer out = {0};
    struct http_style style = {.close = false};
    http_reply_date(784111777, style.date);
    body = (struct http_body){.status = 200, .type = "application/json", .parts = {bytes_of("{}")}};
    http_reply_head(&out, &body, &style);
    body = (struct http_body){.status = 204};
    style.keep_alive = true;
    http_reply_head(&out, &body, &style);
    http_body_error(503, "away", &scratch, &body);
    style.close = true;
    http_reply_head(&out, &body, &style);
    body = (struct http_body){.status = 405, .allow = "GET"};
    http_reply_head(&out, &body, &style);
    buffer_append(&out, "", 1);
    assert_string_equal(
        (char *)out.data,
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\nDate: Sun, 06 Nov 1994 08:49:37 "
        "GMT\r\n"
        "Connection: keep-alive\r\n\r\n"
        "HTTP/1.1 503 Service Unavailable\r\nCache-Control: no-store\r\nDate: Sun, 06 Nov 1994 "
        "08:49:37 "
        "GMT\r\nContent-Type: application/json\r\nContent-Length: 16\r\n"
        "Retry-After: 1\r\nConnection: close\r\n\r\n"
        "HTTP/1.1 405 Method Not Allowed\r\nCache-Control: no-store\r\nDate: Sun, 06 Nov 1994 "
        "08:49:37 "
        "GMT\r\nContent-Length: 0\r\nAllow: GET\r\nConnection: close\r\n\r\n");
    buffer_free(&out);
}

/* Every status that the core may answer with has a line of its own. */
static void test_statuses(void **state)
{
    (void)state;
    struct http_style style = {.date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"};
    for (enum status status = STATUS_OK; status < STATUS_COUNT; status++) {
        struct buffer out = {0};
        char expected[16];
        body = (struct http_body){.status = status_info(status)->http};
        snprintf(expected, sizeof expected, "HTTP/1.1 %d ", body.status);
        http_reply_head(&out, &body, &style);
        assert_memory_equal(out.data, expected, strlen(expected));
        buffer_free(&out);
    }
}

static int free_scratch(void **state)
{
    (void)state;
    buffer_free(&scratch);
    return 0;
}

/* ---- Messages ---- */

static void packed_is(const char *expected, size_t len)
{
    assert_int_equal(request.value.len, len);
    assert_memory_equal(request.value.data, expected, len);
}

#define PACKED_IS(text) packed_is(text, sizeof(text) - 1)

static void refuses(const char *target, const char *text, const char *why)
{
    assert_false(prepare(HTTP_POST, target, text));
    assert_string_equal(error, why);
}

static void test_message(void **state)
{
    (void)state;
    head = (struct http_head){0};
    assert_int_equal(find(HTTP_POST, "/kv/a")->op, OP_KV_APPEND);
    assert_true(prepare(HTTP_POST, "/kv/a%2Fb", "{\"value\":\"v\",\"other\":[1e999]}"));
    assert_bytes(request.key, "a/b");
    PACKED_IS("\x0a\x03"
              "a/b\x12\x01v");
    assert_true(prepare(HTTP_POST, "/kv?key=k&value=a%26b", ""));
    assert_bytes(request.key, "k");
    PACKED_IS("\x12\x03"
              "a&b\x0a\x01k");
    head.raw_body = true;
    assert_true(prepare(HTTP_POST, "/kv/k", "{}"));
    PACKED_IS("\x0a\x01k\x12\x02{}");
    refuses("/kv/k?value=v", "w", "value is given twice; give it once");
    head.raw_body = false;
    refuses("/kv/k?valeu=v", "", "unknown parameter valeu; did you mean value?");
    refuses("/kv/k?int64=text", "", "int64 must be number or string");
    refuses("/kv/k?a=%zz", "", "a % must be followed by two hexadecimal digits");
    refuses("/kv/k?key=l", "", "the key is given twice, in the path and as ?key=");
    refuses("/kv/k", "{\"key\":\"l\"}", "key is given twice; give it once");
    refuses("/kv/k", "{\"value\":7}", "value must be a string");
    refuses("/kv/", "{\"value\":\"v\"}", "no resource key provided");
}

static void shape_append(bool as_string, enum http_prefer prefer, const char *packed)
{
    head = (struct http_head){.prefer = prefer};
    struct http_input input = {
        .head = &head, .op = OP_KV_APPEND, .int64_as_string = as_string, .key = bytes_of("k")};
    const struct reply reply = {.value = bytes_of(packed)};
    const struct http_route *route = find(HTTP_POST, "/kv/k");
    body.status = 200;
    scratch.len = 0;
    route->shape(&input, &reply, &scratch, &body);
}

static void test_message_answers(void **state)
{
    (void)state;
    shape_append(false, HTTP_PREFER_NOTHING, "\x08\x05");
    assert_body("{\"length\":5}");
    shape_append(true, HTTP_PREFER_NOTHING, "\x08\x05");
    assert_body("{\"length\":\"5\"}");
    shape_append(false, HTTP_PREFER_NOTHING, "");
    assert_body("{\"length\":0}");
    shape_append(false, HTTP_PREFER_MINIMAL, "\x08\x05");
    assert_int_equal(body.status, 204);
    shape_append(false, HTTP_PREFER_NOTHING, "\x08");
    assert_int_equal(body.status, 500);
    head = (struct http_head){0};
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),        cmocka_unit_test(test_not_found),
        cmocka_unit_test(test_not_allowed), cmocka_unit_test(test_prepare),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_sets),        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_statuses),    cmocka_unit_test(test_lengths_of_head),
        cmocka_unit_test(test_message),     cmocka_unit_test(test_message_answers),
        cmocka_unit_test(test_options),     cmocka_unit_test(test_cors),
    };
    return cmocka_run_group_tests(tests, NULL, free_scratch);
}
