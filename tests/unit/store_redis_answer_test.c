/* What Redis answers, as replies: RESP as it comes from the socket, through the parser in use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/set.h"
#include "store/redis/answer.h"
#include "tests/unit/redis_resp.h"

enum { MAX_VALUE = 100 };

static struct buffer scratch;
static redisReply *answer;

static struct reply ask(enum op op, const char *resp)
{
    const struct redis_asked asked = {
        .op = op, .number = 1, .max_value = MAX_VALUE, .max_items = 64 * MAX_VALUE};
    if (answer)
        freeReplyObject(answer);
    answer = resp_parse(resp, strlen(resp));
    return redis_answer(&asked, answer, &scratch);
}

static int teardown(void **state)
{
    (void)state;
    freeReplyObject(answer);
    answer = NULL;
    buffer_free(&scratch);
    return 0;
}

static void values(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        enum op op = i ? OP_KV_GET : OP_CACHE_GET;
        struct reply reply = ask(op, "$5\r\nva\r\ne\r\n");
        assert_int_equal(reply.status, STATUS_OK);
        assert_true(bytes_equal(reply.value, bytes_of("va\r\ne")));
        assert_int_equal(reply.revision, 0);
        assert_int_equal(ask(op, "$0\r\n\r\n").status, STATUS_OK);
        assert_int_equal(ask(op, "$-1\r\n").status, STATUS_NOT_FOUND);
        assert_int_equal(ask(op, ":1\r\n").status, STATUS_INTERNAL);
        assert_int_equal(ask(op, "*-1\r\n").status, STATUS_NOT_FOUND);
    }
    char large[200];
    snprintf(large, sizeof large, "$%d\r\n%0*d\r\n", MAX_VALUE, MAX_VALUE, 0);
    assert_int_equal(ask(OP_KV_GET, large).status, STATUS_OK);
    snprintf(large, sizeof large, "$%d\r\n%0*d\r\n", MAX_VALUE + 1, MAX_VALUE + 1, 0);
    assert_int_equal(ask(OP_KV_GET, large).status, STATUS_TOO_LARGE);
}

static void counters(void **state)
{
    static const struct {
        const char *text;
        int64_t number;
        bool good;
    } rows[] = {
        {"0", 0, true},
        {"-0", 0, false},
        {"007", 0, false},
        {"00", 0, false},
        {"-07", 0, false},
        {"42", 42, true},
        {"-7", -7, true},
        {"9223372036854775807", INT64_MAX, true},
        {"-9223372036854775808", INT64_MIN, true},
        {"9223372036854775808", 0, false},
        {"-9223372036854775809", 0, false},
        {"99999999999999999999", 0, false},
        {"", 0, false},
        {"-", 0, false},
        {"+1", 0, false},
        {"1.0", 0, false},
        {" 1", 0, false},
        {"1 ", 0, false},
        {"many", 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char resp[64];
        snprintf(resp, sizeof resp, "$%zu\r\n%s\r\n", strlen(rows[i].text), rows[i].text);
        struct reply reply = ask(OP_COUNTER_GET, resp);
        assert_int_equal(reply.status, rows[i].good ? STATUS_OK : STATUS_WRONG_TYPE);
        assert_int_equal(reply.number, rows[i].number);
    }
    struct reply missing = ask(OP_COUNTER_GET, "$-1\r\n");
    assert_int_equal(missing.status, STATUS_OK);
    assert_int_equal(missing.number, 0);
    assert_int_equal(ask(OP_COUNTER_INCREMENT, ":-9223372036854775808\r\n").number, INT64_MIN);
    assert_int_equal(ask(OP_COUNTER_INCREMENT, "$1\r\n1\r\n").status, STATUS_INTERNAL);
}

static void flags(void **state)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    char resp[64];
    (void)state;
    for (int i = 0; i < 6; i++) {
        snprintf(resp, sizeof resp, "$%zu\r\n%s\r\n", strlen(yes[i]), yes[i]);
        assert_int_equal(ask(OP_FLAG_GET, resp).number, 1);
        snprintf(resp, sizeof resp, "$%zu\r\n%s\r\n", strlen(no[i]), no[i]);
        assert_int_equal(ask(OP_FLAG_GET, resp).number, 0);
        assert_int_equal(ask(OP_FLAG_GET, resp).status, STATUS_OK);
    }
    assert_int_equal(ask(OP_FLAG_GET, "$-1\r\n").status, STATUS_OK);
    assert_int_equal(ask(OP_FLAG_GET, "$3\r\nyes\r\n").status, STATUS_WRONG_TYPE);
    assert_int_equal(ask(OP_FLAG_GET, "$0\r\n\r\n").status, STATUS_WRONG_TYPE);
    assert_int_equal(ask(OP_FLAG_SET, "+OK\r\n").number, 1);
}

static void changes(void **state)
{
    (void)state;
    assert_int_equal(ask(OP_KV_PUT, "+OK\r\n").status, STATUS_OK);
    assert_int_equal(ask(OP_CACHE_SET, "$-1\r\n").status, STATUS_INTERNAL);
    assert_int_equal(ask(OP_KV_DELETE, ":1\r\n").status, STATUS_OK);
    assert_int_equal(ask(OP_KV_DELETE, ":0\r\n").status, STATUS_NOT_FOUND);
    const struct redis_asked again = {.op = OP_KV_DELETE, .repeated = true};
    assert_int_equal(redis_answer(&again, answer, &scratch).status, STATUS_OK);
}

static void sets(void **state)
{
    static const enum op ops[] = {OP_SET_GET, OP_SET_ADD, OP_SET_REMOVE};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct reply reply = ask(ops[i], "*2\r\n$1\r\na\r\n$2\r\nbc\r\n");
        struct bytes rest = reply.value, item;
        assert_int_equal(reply.status, STATUS_OK);
        assert_true(set_next(&rest, &item) && bytes_equal(item, bytes_of("a")));
        assert_true(set_next(&rest, &item) && bytes_equal(item, bytes_of("bc")));
        assert_int_equal(rest.len, 0);
        assert_int_equal(ask(ops[i], "*0\r\n").status, STATUS_OK);
        assert_int_equal(ask(ops[i], "*0\r\n").value.len, 0);
        assert_int_equal(ask(ops[i], "*1\r\n$0\r\n\r\n").status, STATUS_WRONG_TYPE);
        assert_int_equal(ask(ops[i], "*1\r\n:1\r\n").status, STATUS_INTERNAL);
        assert_int_equal(ask(ops[i], "*1\r\n*1\r\n$1\r\na\r\n").status, STATUS_INTERNAL);
        assert_int_equal(ask(ops[i], "+OK\r\n").status, STATUS_INTERNAL);
    }
}

static void items_that_are_too_long_or_too_many(void **state)
{
    char resp[600];
    struct buffer many = {0};
    (void)state;
    snprintf(resp, sizeof resp, "*1\r\n$480\r\n%0480d\r\n", 0);
    assert_int_equal(ask(OP_SET_GET, resp).status, STATUS_OK);
    snprintf(resp, sizeof resp, "*1\r\n$481\r\n%0481d\r\n", 0);
    assert_int_equal(ask(OP_SET_GET, resp).status, STATUS_WRONG_TYPE);
    buffer_append_text(&many, "*100\r\n");
    for (int i = 0; i < 100; i++)
        buffer_append_format(&many, "$100\r\n%0100d\r\n", i);
    buffer_append(&many, "", 1);
    assert_int_equal(ask(OP_SET_GET, (const char *)many.data).status, STATUS_TOO_LARGE);
    buffer_free(&many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(values, teardown),
        cmocka_unit_test_teardown(counters, teardown),
        cmocka_unit_test_teardown(flags, teardown),
        cmocka_unit_test_teardown(changes, teardown),
        cmocka_unit_test_teardown(sets, teardown),
        cmocka_unit_test_teardown(items_that_are_too_long_or_too_many, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
