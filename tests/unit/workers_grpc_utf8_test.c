/*
 * Tests of workers/grpc/utf8.c: what is UTF-8 and what is not, at every place in a text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "workers/grpc/utf8.h"

/* Judges a sequence behind 0 to 20 and before 0 to 20 letters. */
static void check(const char *sequence, size_t len, bool good)
{
    uint8_t text[64];
    for (size_t before = 0; before <= 20; before++) {
        for (size_t after = 0; after <= 20; after++) {
            memset(text, 'a', sizeof text);
            memcpy(text + before, sequence, len);
            struct bytes bytes = {text, before + len + after};
            assert_int_equal(rpc_utf8(bytes), good);
        }
    }
}

#define GOOD(sequence) check(sequence, sizeof(sequence) - 1, true)
#define BAD(sequence)  check(sequence, sizeof(sequence) - 1, false)

static void good(void **state)
{
    (void)state;
    GOOD("");
    GOOD("\0");
    GOOD("\x7f");
    GOOD("\xc2\x80");
    GOOD("\xdf\xbf");
    GOOD("\xe0\xa0\x80");
    GOOD("\xed\x9f\xbf");
    GOOD("\xee\x80\x80");
    GOOD("\xef\xbf\xbf");
    GOOD("\xf0\x90\x80\x80");
    GOOD("\xf4\x8f\xbf\xbf");
    GOOD("\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x91");
}

static void bad(void **state)
{
    (void)state;
    BAD("\x80");
    BAD("\xbf");
    BAD("\xc0\x80");
    BAD("\xc1\xbf");
    BAD("\xc2");
    BAD("\xc2\xc2");
    BAD("\xe0\x9f\xbf");
    BAD("\xe1\x80");
    BAD("\xe1\x80\xc0");
    BAD("\xed\xa0\x80");
    BAD("\xed\xbf\xbf");
    BAD("\xf0\x8f\xbf\xbf");
    BAD("\xf1\x80\x80");
    BAD("\xf1\x80\x80\x20");
    BAD("\xf4\x90\x80\x80");
    BAD("\xf5\x80\x80\x80");
    BAD("\xff");
}

/* Every code point, written out by the definition. */
static void every_code_point(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x110fff; c++) {
        uint8_t text[4];
        size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = len; i-- > 1;)
            text[i] = (uint8_t)(0x80 | (c >> (6 * (len - 1 - i)) & 0x3f));
        text[0] = (uint8_t)(lead[len] | c >> (6 * (len - 1)));
        bool valid = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        assert_int_equal(rpc_utf8((struct bytes){text, len}), valid);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(bad),
        cmocka_unit_test(every_code_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
