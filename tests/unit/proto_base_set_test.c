/*
 * set: what is packed comes apart again, and damage is told from the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/base/op.h"
#include "proto/base/set.h"

static void pack(struct buffer *buffer, const void *item, size_t len)
{
    uint8_t prefix[2];
    set_prefix(len, prefix);
    buffer_append(buffer, prefix, 2);
    buffer_append(buffer, item, len);
}

static void items_come_apart_as_packed(void **state)
{
    (void)state;
    uint8_t longest[KEY_MAX];
    memset(longest, 0xfe, sizeof longest);
    struct buffer buffer = {0};
    pack(&buffer, "a", 1);
    pack(&buffer, longest, sizeof longest);
    pack(&buffer, "\0\xff", 2);

    struct bytes rest = buffer_bytes(&buffer);
    struct bytes item = {0};
    assert_true(set_next(&rest, &item));
    assert_true(bytes_equal(item, bytes_of("a")));
    assert_true(set_next(&rest, &item));
    assert_true(bytes_equal(item, (struct bytes){longest, sizeof longest}));
    assert_true(set_next(&rest, &item));
    assert_int_equal(item.len, 2);
    assert_false(set_next(&rest, &item));
    assert_int_equal(rest.len, 0);
    buffer_free(&buffer);
}

/* Each is the whole packed value; none may be taken for an item or for the end. */
static void damage_is_told_from_the_end(void **state)
{
    (void)state;
    static const struct {
        uint8_t data[4];
        size_t len;
    } cases[] = {
        {{0, 0}, 2},          /* an empty item */
        {{1, 0}, 2},          /* its byte is missing */
        {{1}, 1},             /* half a length */
        {{0xe1, 1, 'x'}, 3},  /* 481 bytes: over KEY_MAX */
        {{3, 0, 'x', 'y'}, 4} /* a byte short */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes rest = {cases[i].data, cases[i].len};
        struct bytes item = {0};
        assert_false(set_next(&rest, &item));
        assert_int_not_equal(rest.len, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_apart_as_packed),
        cmocka_unit_test(damage_is_told_from_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
