/* Answers that come before their turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/channel/channel.h"
#include "store/order.h"

static struct reply reply_of(const char *text)
{
    return (struct reply){.value = bytes_of(text)};
}

static void keeps_what_is_early(void **state)
{
    (void)state;
    struct order *order = order_open(2);
    char text[] = "value";
    struct reply early = reply_of(text);
    early.number = 7;
    order_hold(order, 1, 5, &early);
    memset(text, 'x', sizeof text - 1); /* it has a copy */
    assert_null(order_take(order, 1, 4));
    assert_null(order_take(order, 0, 5));
    const struct reply *taken = order_take(order, 1, 5);
    assert_non_null(taken);
    assert_int_equal(taken->number, 7);
    assert_true(bytes_equal(taken->value, bytes_of("value")));
    assert_null(order_take(order, 1, 5));
    order_close(&order);
    assert_null(order);
}

static void holds_as_many_as_can_be_under_way(void **state)
{
    (void)state;
    struct order *order = order_open(1);
    for (uint64_t round = 0; round < 3; round++) {
        uint64_t first = round * CHANNEL_SLOTS + 3;
        for (uint64_t i = CHANNEL_SLOTS; i-- > 0;) {
            char text[32];
            snprintf(text, sizeof text, "%" PRIu64, first + i);
            struct reply early = reply_of(text);
            order_hold(order, 0, first + i, &early);
        }
        for (uint64_t i = 0; i < CHANNEL_SLOTS; i++) {
            char text[32];
            snprintf(text, sizeof text, "%" PRIu64, first + i);
            assert_true(bytes_equal(order_take(order, 0, first + i)->value, bytes_of(text)));
        }
    }
    order_close(&order);
}

static void what_is_too_much_is_asked_for_again(void **state)
{
    (void)state;
    struct order *order = order_open(2);
    size_t half = ORDER_BYTES_MAX / 2;
    uint8_t *value = calloc(1, half + 1);
    assert_non_null(value);
    struct reply large = {.number = 3, .value = {value, half}};
    order_hold(order, 0, 1, &large);
    order_hold(order, 1, 1, &large);
    struct reply small = reply_of("x");
    order_hold(order, 0, 2, &small);
    assert_int_equal(order_take(order, 0, 1)->value.len, half);
    order_hold(order, 0, 3, &small);
    const struct reply *dropped = order_take(order, 0, 2);
    assert_int_equal(dropped->status, STATUS_RESTAGE);
    assert_int_equal(dropped->value.len, 0);
    assert_int_equal(order_take(order, 0, 3)->status, STATUS_OK);
    order_close(&order); /* with one still held */
    free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_is_early),
        cmocka_unit_test(holds_as_many_as_can_be_under_way),
        cmocka_unit_test(what_is_too_much_is_asked_for_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
