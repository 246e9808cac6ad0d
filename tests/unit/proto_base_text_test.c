/*
 * text: nothing that is printed does anything to a terminal, and JSON stays JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "proto/base/text.h"

static void assert_flat(const char *text, const char *flat)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", text);
    text_flatten(copy);
    assert_string_equal(copy, flat);
}

static void controls_become_blanks(void **state)
{
    (void)state;
    assert_flat("plain", "plain");
    assert_flat("a\033[31mb\nc\td\x7f", "a [31mb c d ");
    assert_flat("C1: \xc2\x9b"
                "31m \xc2\x80 \xc2\x9f",
                "C1:   31m      ");
    assert_flat("bare: \x9b"
                "31m \x80\x9f \xff",
                "bare: ?31m ?? ?");
    assert_flat("turned: \xe2\x80\xae \xe2\x81\xa6", "turned:        ");
}

static void utf8_stays(void **state)
{
    (void)state;
    /* The second byte of the first one is 0x80. */
    assert_flat("\xc3\x80 \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xc2\xa0",
                "\xc3\x80 \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xc2\xa0");
}

static void no_utf8_is_found(void **state)
{
    (void)state;
    assert_flat("\xc0\x80 \xc1\xbf", "?? ??");                /* longer than needed */
    assert_flat("\xe0\x82\x9b \xf0\x80\x82\x9b", "??? ????"); /* a control, longer than needed */
    assert_flat("\xed\xa0\x80", "???");                       /* half of a pair */
    assert_flat("\xf4\x90\x80\x80 \xf5\x80\x80\x80", "???? ????"); /* beyond the last */
    assert_flat("cut \xe2\x82", "cut ??");
    assert_flat("\xe2\x82"
                "a",
                "??a");
}

static void assert_json(const char *text, const char *json)
{
    char out[256] = "";
    while (*text)
        text += text_json(text, out + strlen(out));
    assert_string_equal(out, json);
}

static void json_is_escaped(void **state)
{
    (void)state;
    assert_json("a\"b\\c\nd", "a\\\"b\\\\c\\u000ad");
    assert_json("\xc3\xa9\xf0\x9f\x98\x80", "\xc3\xa9\xf0\x9f\x98\x80");
    assert_json("\xc2\x9b \x9b \x7f", "\\u009b \\u009b \\u007f");
    assert_json("\xe2\x80\xae", "\\u202e");
}

static void printing_keeps_lines(void **state)
{
    (void)state;
    char data[4096] = "", text[2000];
    FILE *file = fmemopen(data, sizeof data, "w");
    static const char lines[] = "one\033\ntwo\0\nthree";
    text_print(file, lines, sizeof lines - 1);
    memset(text, 'x', sizeof text);
    text_print(file, text, sizeof text);
    text_print(file, NULL, 0);
    fclose(file);
    assert_memory_equal(data, "one \ntwo", 8);
    assert_non_null(strstr(data, "threexxx"));
    assert_true(strlen(data) > 2000);
}

static void numbers_as_a_whole(void **state)
{
    static const char *const good[] = {"5", "05", "10", "9"};
    static const char *const bad[] = {"",
                                      "4",
                                      "11",
                                      "-5",
                                      "+5",
                                      " 5",
                                      "5 ",
                                      "5x",
                                      "0x5",
                                      "18446744073709551616",
                                      "18446744073709551621"};
    uint64_t number;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(text_number(good[i], 5, 10, &number));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(text_number(bad[i], 5, 10, &number));
    assert_true(text_number("18446744073709551615", 0, UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
}

static void digits_stop(void **state)
{
    const char *rest;
    uint64_t number;
    (void)state;
    assert_true(text_digits("12 max", &number, &rest));
    assert_true(number == 12);
    assert_string_equal(rest, " max");
    assert_false(text_digits("max", &number, &rest));
}

static void assert_int64(const char *text, bool good, int64_t wanted)
{
    int64_t number = 0;
    assert_int_equal(text_int64(bytes_of(text), &number), good);
    assert_true(number == wanted);
}

static void signed_numbers(void **state)
{
    (void)state;
    assert_int64("0", true, 0);
    assert_int64("-0", true, 0);
    assert_int64("+17", true, 17);
    assert_int64("9223372036854775807", true, INT64_MAX);
    assert_int64("-9223372036854775808", true, INT64_MIN);
    assert_int64("9223372036854775808", false, 0);
    assert_int64("-9223372036854775809", false, 0);
    assert_int64("", false, 0);
    assert_int64("-", false, 0);
    assert_int64("1-", false, 0);
    assert_int64("--1", false, 0);
}

static void flags(void **state)
{
    static const char *const bad[] = {"", "2", "tRUE", "yes", "true ", "00"};
    bool flag = false;
    (void)state;
    assert_true(text_flag(bytes_of("True"), &flag) && flag);
    assert_true(text_flag(bytes_of("f"), &flag) && !flag);
    assert_true(text_flag(bytes_of("1"), &flag) && flag);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(text_flag(bytes_of(bad[i]), &flag));
}

static void assert_percent(const char *text, bool plus, const char *wanted)
{
    uint8_t data[32];
    size_t len = strlen(text);
    memcpy(data, text, len);
    assert_int_equal(text_percent_decode(data, &len, plus), wanted != NULL);
    if (wanted) {
        assert_int_equal(len, strlen(wanted));
        assert_memory_equal(data, wanted, len);
    }
}

static void percents(void **state)
{
    (void)state;
    assert_percent("", false, "");
    assert_percent("a%41%7e%7E+b", false, "aA~~+b");
    assert_percent("a+%2B", true, "a +");
    assert_percent("a%", false, NULL);
    assert_percent("a%4", false, NULL);
    assert_percent("%4g", false, NULL);
    assert_percent("%g4", false, NULL);
    assert_int_equal(text_hex('a'), 10);
    assert_int_equal(text_hex('F'), 15);
    assert_int_equal(text_hex('@'), -1);
    assert_int_equal(text_hex(0xe1), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controls_become_blanks),
        cmocka_unit_test(utf8_stays),
        cmocka_unit_test(no_utf8_is_found),
        cmocka_unit_test(json_is_escaped),
        cmocka_unit_test(printing_keeps_lines),
        cmocka_unit_test(numbers_as_a_whole),
        cmocka_unit_test(digits_stop),
        cmocka_unit_test(signed_numbers),
        cmocka_unit_test(flags),
        cmocka_unit_test(percents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
