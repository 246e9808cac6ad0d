/*
 * The head of a request: what is understood, and what is refused and how.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "workers/http/parse.h"

static struct http_head head;

/* Parses a copy of exactly this length, so that asan sees a read past its end. */
static enum http_parse parse_bytes(const char *text, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    size_t scanned = 0;
    memcpy(copy, text, len);
    enum http_parse result = http_parse_head(copy, len, &scanned, &head);
    free(copy);
    return result;
}

static enum http_parse parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

#define GET "GET /a HTTP/1.1\r\nHost: h\r\n"

static void test_simple(void **state)
{
    (void)state;
    const char *text = "GET /kv/a HTTP/1.1\r\nHost: localhost:8081\r\n\r\nmore";
    assert_int_equal(parse(text), HTTP_PARSE_DONE);
    assert_int_equal(head.method, HTTP_GET);
    assert_int_equal(head.target_at, 4);
    assert_int_equal(head.target_len, 5);
    assert_int_equal(head.size, strlen(text) - 4);
    assert_true(head.keep_alive);
    assert_false(head.http10 || head.chunked || head.has_length || head.raw_body || head.accept ||
                 head.expect_continue || head.prefer || head.unmet);
}

/* In however small pieces it comes, the result is the same, and no prefix is taken for whole. */
static void test_pieces(void **state)
{
    (void)state;
    const char *text = "\r\nPUT /kv/a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n";
    size_t scanned = 0, len = strlen(text);
    for (size_t i = 1; i < len; i++)
        assert_int_equal(http_parse_head((const uint8_t *)text, i, &scanned, &head),
                         HTTP_PARSE_MORE);
    assert_int_equal(http_parse_head((const uint8_t *)text, len, &scanned, &head), HTTP_PARSE_DONE);
    assert_int_equal(scanned, 0);
    assert_int_equal(head.method, HTTP_PUT);
    assert_int_equal(head.length, 12);
    assert_int_equal(head.size, len);
    assert_memory_equal(text + head.target_at, "/kv/a?b", head.target_len);
}

static void test_methods(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum http_method method;
    } rows[] = {{"HEAD / HTTP/1.1\r\nHost:\r\n\r\n", HTTP_HEAD},
                {"PUT / HTTP/1.1\r\nHost:\r\n\r\n", HTTP_PUT},
                {"POST / HTTP/1.1\r\nHost:\r\n\r\n", HTTP_POST},
                {"DELETE / HTTP/1.1\r\nHost:\r\n\r\n", HTTP_DELETE},
                {"PATCH / HTTP/1.1\r\nHost:\r\n\r\n", HTTP_OTHER},
                {"get / HTTP/1.1\r\nHost:\r\n\r\n", HTTP_OTHER}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse(rows[i].line), HTTP_PARSE_DONE);
        assert_int_equal(head.method, rows[i].method);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int error;
    } rows[] = {
        {"GET  /a HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /a  HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /a\r\nHost: h\r\n\r\n", 400},
        {" GET /a HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"G(T /a HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /a\x01 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /a http/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /a HTTP/1.1 \r\nHost: h\r\n\r\n", 400},
        {"GET /a HTTP/2.0\r\nHost: h\r\n\r\n", 505},
        {"GET /a HTTP/1.2\r\nHost: h\r\n\r\n", 505},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"GET /a HTTP/1.1\n", 400},
        {"GET /a HTTP/1.1\r\nHost: h\n\r\n", 400},
        {"GET /a HTTP/1.1\r\n\r\n", 400},
        {GET "Host: h\r\n\r\n", 400},
        {"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
        {"GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        {GET "A : b\r\n\r\n", 400},
        {GET "A\r\n\r\n", 400},
        {GET ": b\r\n\r\n", 400},
        {GET "A(: b\r\n\r\n", 400},
        {GET " folded\r\n\r\n", 400},
        {GET "A: b\r\n\tfolded\r\n\r\n", 400},
        {GET "A: b\rc\r\n\r\n", 400},
        {GET "A: b\x7f\r\n\r\n", 400},
        {GET "Content-Length:\r\n\r\n", 400},
        {GET "Content-Length: -1\r\n\r\n", 400},
        {GET "Content-Length: +1\r\n\r\n", 400},
        {GET "Content-Length: 1 1\r\n\r\n", 400},
        {GET "Content-Length: 0x1\r\n\r\n", 400},
        {GET "Content-Length: 1, 1\r\n\r\n", 400},
        {GET "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
        {GET "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {GET "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400},
        {GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {GET "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {GET "Transfer-Encoding: identity\r\n\r\n", 501},
        {"GET /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {GET "Expect: the-unexpected\r\n\r\n", 417},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (parse(rows[i].text) != HTTP_PARSE_BAD)
            fail_msg("not refused: %s", rows[i].text);
        if (head.error != rows[i].error)
            fail_msg("%d instead of %d: %s", head.error, rows[i].error, rows[i].text);
        assert_non_null(head.reason);
    }
    assert_int_equal(parse_bytes(GET "A: \0\r\n\r\n", sizeof(GET "A: \0\r\n\r\n") - 1),
                     HTTP_PARSE_BAD);
}

static void test_lengths(void **state)
{
    (void)state;
    assert_int_equal(parse(GET "Content-Length: 007\r\ncontent-length:7\r\n\r\n"), HTTP_PARSE_DONE);
    assert_int_equal(head.length, 7);
    assert_int_equal(parse(GET "Content-Length: 18446744073709551616\r\n\r\n"), HTTP_PARSE_DONE);
    assert_true(head.length > (uint64_t)1 << 60);
    assert_int_equal(parse(GET "Content-Length: 99999999999999999999999999\r\n\r\n"),
                     HTTP_PARSE_DONE);
    assert_true(head.length > (uint64_t)1 << 60);
    assert_int_equal(parse(GET "Transfer-Encoding: Chunked \r\n\r\n"), HTTP_PARSE_DONE);
    assert_true(head.chunked);
}

static void test_keep_alive(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep_alive;
    } rows[] = {
        {GET "\r\n", true},
        {GET "Connection: close\r\n\r\n", false},
        {GET "Connection: foo, CLOSE\r\n\r\n", false},
        {GET "Connection: keep-alive, close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nConnection: close\r\n\r\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse(rows[i].text), HTTP_PARSE_DONE);
        if (head.keep_alive != rows[i].keep_alive)
            fail_msg("keep_alive: %s", rows[i].text);
    }
}

static void test_content_types(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool raw;
    } rows[] = {
        {GET "Content-Type: application/json\r\n\r\n", false},
        {GET "Content-Type:APPLICATION/JSON;charset=utf-8\r\n\r\n", false},
        {GET "Content-Type: application/vnd.x+json\r\n\r\n", false},
        {GET "Content-Type: application/x-www-form-urlencoded\r\n\r\n", false},
        {GET "Content-Type:\r\n\r\n", false},
        {GET "Content-Type: application/octet-stream\r\n\r\n", true},
        {GET "Content-Type: text/plain; a=application/json\r\n\r\n", true},
        {GET "Content-Type: application/jsonx\r\n\r\n", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse(rows[i].text), HTTP_PARSE_DONE);
        if (head.raw_body != rows[i].raw)
            fail_msg("raw_body: %s", rows[i].text);
    }
}

static void test_accept(void **state)
{
    (void)state;
#define J HTTP_FORM_JSON
#define T HTTP_FORM_TEXT
#define R HTTP_FORM_RAW
    static const struct {
        const char *text;
        enum http_form form;
    } rows[] = {
        {GET "\r\n", J},
        {GET "Accept: */*\r\n\r\n", J},
        {GET "Accept:\r\n\r\n", J},
        {GET "Accept: application/octet-stream\r\n\r\n", R},
        {GET "Accept: text/html, Application/Octet-Stream;q=0.5\r\n\r\n", R},
        {GET "Accept: application/octet-stream; q=0.0\r\n\r\n", J},
        {GET "Accept: application/json, application/octet-stream\r\n\r\n", J},
        {GET "Accept: application/octet-stream, application/json\r\n\r\n", R},
        {GET "Accept: application/octet-stream;q=0.5, application/json\r\n\r\n", J},
        {GET "Accept: application/json;q=0.4, application/octet-stream;q=0.5\r\n\r\n", R},
        {GET "Accept: application/octet-stream;q=0.9, */*;q=0.8\r\n\r\n", R},
        {GET "Accept: application/octet-stream;q=0.1, */*;q=0.8\r\n\r\n", J},
        {GET "Accept: application/json;q=0, */*\r\n\r\n", T},
        {GET "Accept: application/json;q=0, text/*;q=0, */*\r\n\r\n", R},
        {GET "Accept: text/plain\r\n\r\n", T},
        {GET "Accept: text/plain; charset=utf-8; q=0.3\r\n\r\n", T},
        {GET "Accept: text/*\r\n\r\n", T},
        {GET "Accept: text/*;q=0.5, application/*;q=0.6\r\n\r\n", J},
        {GET "Accept: text/plain, */*\r\n\r\n", T},
        {GET "Accept: text/plain, */*; q=0.01\r\n\r\n", T},
        {GET "Accept: application/json, text/plain, */*\r\n\r\n", J},
        {GET "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\r\n", J},
        {GET "Accept: text/plain;q=0.123\r\nAccept: application/octet-stream;q=0.124\r\n\r\n", R},
        {GET "Accept: text/plain;q=1.000, application/json;q=0.999\r\n\r\n", T},
        {GET "Accept: image/png\r\n\r\n", J},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse(rows[i].text), HTTP_PARSE_DONE);
        if (head.accept != rows[i].form)
            fail_msg("%d: %s", (int)head.accept, rows[i].text);
    }
}

static void test_prefer(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum http_prefer prefer;
    } rows[] = {
        {GET "Prefer: return=representation\r\n\r\n", HTTP_PREFER_REPRESENTATION},
        {GET "Prefer: wait=5, Return=\"representation\"; x=y\r\n\r\n", HTTP_PREFER_REPRESENTATION},
        {GET "Prefer: return=minimal\r\n\r\n", HTTP_PREFER_MINIMAL},
        {GET "Prefer: a\r\nPrefer: return=minimal, return=representation\r\n\r\n",
         HTTP_PREFER_MINIMAL},
        {GET "Prefer: respond-async\r\n\r\n", HTTP_PREFER_NOTHING},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse(rows[i].text), HTTP_PARSE_DONE);
        if (head.prefer != rows[i].prefer)
            fail_msg("%s", rows[i].text);
    }
}

#define PUT_LINE "PUT /a HTTP/1.1\r\nHost: h\r\n"

/* What changes the meaning of a request and is not understood: it is not carried out. */
static void test_unmet(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {PUT_LINE "Content-Encoding: gzip\r\n\r\n", 415},
        {PUT_LINE "Content-Encoding: identity, br\r\n\r\n", 415},
        {PUT_LINE "Content-Encoding: identity\r\n\r\n", 0},
        {PUT_LINE "Content-Range: bytes 0-4/10\r\n\r\n", 400},
        {PUT_LINE "If-Match: \"a\"\r\n\r\n", 412},
        {PUT_LINE "If-Match: W/\"a\", \"b\"\r\n\r\n", 412},
        {PUT_LINE "If-Match: *\r\n\r\n", 501},
        {PUT_LINE "If-None-Match: *\r\n\r\n", 501},
        {PUT_LINE "If-None-Match: \"a\"\r\n\r\n", 501},
        {PUT_LINE "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", 501},
        {PUT_LINE "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", 0},
        {PUT_LINE "If: (<opaquelocktoken:a>)\r\n\r\n", 501},
        {PUT_LINE "IF-Schedule-Tag-Match: \"a\"\r\n\r\n", 501},
        {PUT_LINE "if-a: b\r\n\r\n", 501},
        {PUT_LINE "If-: b\r\n\r\n", 501},
        {PUT_LINE "If-Modified-Sinse: b\r\n\r\n", 501},
        {PUT_LINE "If-A-Condition-With-A-Name-That-Is-Longer-Than-All: b\r\n\r\n", 501},
        {PUT_LINE "If-Range: \"a\"\r\n\r\n", 0},
        {PUT_LINE "Iff: a\r\nI: a\r\nX-If: a\r\nIfMatch: a\r\n\r\n", 0},
        {GET "If: a\r\nIf-Other: a\r\n\r\n", 0},
        {PUT_LINE "Range: bytes=0-4\r\n\r\n", 0},
        {PUT_LINE "Upgrade: h2c\r\n\r\n", 0},
        {PUT_LINE "X-HTTP-Method-Override: DELETE\r\n\r\n", 501},
        {"POST /a HTTP/1.1\r\nHost: h\r\nX-Method-Override: DELETE\r\n\r\n", 501},
        {"DELETE /a HTTP/1.1\r\nHost: h\r\nIf-Match: \"a\"\r\n\r\n", 412},
        {"POST /a HTTP/1.1\r\nHost: h\r\nContent-Encoding: deflate\r\n\r\n", 415},
        {GET "Content-Encoding: gzip\r\n\r\n", 0},
        {GET "If-None-Match: \"a\"\r\n\r\n", 0},
        {GET "If-Match: *\r\n\r\n", 0},
        {GET "If-Match: \"a\"\r\n\r\n", 412},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse(rows[i].text), HTTP_PARSE_DONE);
        if (head.unmet != rows[i].status)
            fail_msg("%d: %s", head.unmet, rows[i].text);
        assert_true(head.unmet == 0 || head.reason);
    }
}

static void assert_part(struct http_span span, const char *text, const char *expected)
{
    assert_int_equal(span.len, strlen(expected));
    assert_memory_equal(text + span.at, expected, span.len);
}

static void test_origin(void **state)
{
    (void)state;
    static const char text[] = "OPTIONS * HTTP/1.1\r\nHost: h:1\r\nOrigin: http://a\r\n"
                               "Sec-Fetch-Site: same-site\r\nAccess-Control-Request-Method: PUT\r\n"
                               "Access-Control-Request-Headers: x-a,x-b\r\n\r\n";
    assert_int_equal(parse(text), HTTP_PARSE_DONE);
    assert_int_equal(head.method, HTTP_OPTIONS);
    assert_part(head.host, text, "h:1");
    assert_part(head.origin, text, "http://a");
    assert_part(head.request_headers, text, "x-a,x-b");
    assert_true(head.cross_site && head.preflight);
    assert_int_equal(parse(GET "Sec-Fetch-Site: none\r\n\r\n"), HTTP_PARSE_DONE);
    assert_false(head.cross_site);
    assert_int_equal(parse(GET "Sec-Fetch-Site: cross-site\r\n\r\n"), HTTP_PARSE_DONE);
    assert_true(head.cross_site);
    assert_int_equal(parse(GET "Origin: a\r\nOrigin: b\r\n\r\n"), HTTP_PARSE_BAD);
}

static void test_expect(void **state)
{
    (void)state;
    assert_int_equal(parse(GET "Expect: 100-Continue\r\n\r\n"), HTTP_PARSE_DONE);
    assert_true(head.expect_continue);
    assert_int_equal(parse("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"), HTTP_PARSE_DONE);
    assert_false(head.expect_continue);
}

/* A request line, or fields, of n bytes without their end. */
static void test_limits(void **state)
{
    (void)state;
    static char text[65536];
    memset(text, 'a', sizeof text);
    memcpy(text, "GET /", 5);
    assert_int_equal(parse_bytes(text, HTTP_LINE_MAX), HTTP_PARSE_MORE);
    assert_int_equal(parse_bytes(text, HTTP_LINE_MAX + 1), HTTP_PARSE_BAD);
    assert_int_equal(head.error, 414);
    memcpy(text + HTTP_LINE_MAX - 9, " HTTP/1.1\r\nHost: h\r\n\r\n", 22);
    assert_int_equal(parse_bytes(text, HTTP_LINE_MAX + 13), HTTP_PARSE_DONE);
    memset(text, 'a', sizeof text);
    memcpy(text, GET, sizeof GET - 1);
    size_t fields = sizeof "GET /a HTTP/1.1\r\n" - 1;
    assert_int_equal(parse_bytes(text, fields + HTTP_FIELDS_MAX), HTTP_PARSE_MORE);
    assert_int_equal(parse_bytes(text, fields + HTTP_FIELDS_MAX + 3), HTTP_PARSE_BAD);
    assert_int_equal(head.error, 431);
}

static void test_field_count(void **state)
{
    (void)state;
    struct buffer text = {0};
    buffer_append_text(&text, GET);
    for (int i = 1; i < HTTP_FIELD_COUNT_MAX; i++)
        buffer_append_text(&text, "A: b\r\n");
    buffer_append_text(&text, "\r\n");
    assert_int_equal(parse_bytes((char *)text.data, text.len), HTTP_PARSE_DONE);
    text.len -= 2;
    buffer_append_text(&text, "A: b\r\n\r\n");
    assert_int_equal(parse_bytes((char *)text.data, text.len), HTTP_PARSE_BAD);
    assert_int_equal(head.error, 431);
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple),        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_methods),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_lengths),       cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_content_types), cmocka_unit_test(test_accept),
        cmocka_unit_test(test_prefer),        cmocka_unit_test(test_unmet),
        cmocka_unit_test(test_origin),        cmocka_unit_test(test_expect),
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_field_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
