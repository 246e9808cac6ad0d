/*
 * bytes: the growable buffer keeps what is put into it, across growth.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/base/bytes.h"

static void views_compare_by_content(void **state)
{
    (void)state;
    assert_true(bytes_equal(bytes_of("abc"), bytes_of("abc")));
    assert_false(bytes_equal(bytes_of("abc"), bytes_of("abd")));
    assert_false(bytes_equal(bytes_of("abc"), bytes_of("ab")));
    assert_true(bytes_equal((struct bytes){NULL, 0}, bytes_of("")));
    assert_true(bytes_equal((struct bytes){(const uint8_t *)"a\0b", 3},
                            (struct bytes){(const uint8_t *)"a\0b", 3}));
}

static void append_grows_and_keeps(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    for (unsigned i = 0; i < 100000; i++) {
        uint8_t byte = (uint8_t)(i * 7);
        buffer_append(&buffer, &byte, 1);
    }
    assert_int_equal(buffer.len, 100000);
    assert_true(buffer.capacity >= buffer.len);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(buffer.data[i], (uint8_t)(i * 7));
    buffer_append(&buffer, NULL, 0);
    assert_int_equal(buffer.len, 100000);
    buffer_free(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.len, 0);
    buffer_free(&buffer);
}

static void reserve_makes_room_for_large_and_none(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_reserve(&buffer, 0);
    buffer_append_text(&buffer, "head");
    buffer_reserve(&buffer, 10 << 20);
    assert_true(buffer.capacity - buffer.len >= 10 << 20);
    assert_memory_equal(buffer.data, "head", 4);
    buffer_free(&buffer);
}

static void format_appends_without_a_nul(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append_format(&buffer, "%s=%d", "a", -7);
    buffer_append_format(&buffer, "%s", "");
    buffer_append_format(&buffer, "%0300d", 1);
    assert_int_equal(buffer.len, 4 + 300);
    assert_memory_equal(buffer.data, "a=-70000", 8);
    assert_int_equal(buffer.data[buffer.len - 1], '1');
    buffer_free(&buffer);
}

static void consume_moves_the_rest_to_the_front(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append_text(&buffer, "0123456789");
    buffer_consume(&buffer, 0);
    buffer_consume(&buffer, 4);
    assert_true(bytes_equal(buffer_bytes(&buffer), bytes_of("456789")));
    buffer_consume(&buffer, 6);
    assert_int_equal(buffer.len, 0);
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_compare_by_content),
        cmocka_unit_test(append_grows_and_keeps),
        cmocka_unit_test(reserve_makes_room_for_large_and_none),
        cmocka_unit_test(format_appends_without_a_nul),
        cmocka_unit_test(consume_moves_the_rest_to_the_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
