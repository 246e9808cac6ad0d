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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controls_become_blanks), cmocka_unit_test(utf8_stays),
        cmocka_unit_test(no_utf8_is_found),       cmocka_unit_test(json_is_escaped),
        cmocka_unit_test(printing_keeps_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
