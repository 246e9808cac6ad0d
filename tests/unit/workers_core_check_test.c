/*
 * What holds for a request whatever its protocol.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "workers/core/internal.h"

static char error[200];
static uint8_t filler[KEY_MAX + 1];

static enum status check(enum op op, size_t key_len, size_t value_len)
{
    struct request request = {.op = op, .key = {filler, key_len}, .value = {filler, value_len}};
    error[0] = '\0';
    return core_check(&request, 100, error, sizeof error);
}

static void test_keys(void **state)
{
    (void)state;
    for (enum op op = OP_CACHE_GET; op < OP_COUNT; op++) {
        assert_int_equal(check(op, 0, 1), STATUS_INVALID);
        assert_string_equal(error, "no resource key provided");
        assert_int_equal(check(op, 1, 1), STATUS_OK);
        assert_int_equal(check(op, KEY_MAX, 1), STATUS_OK);
        assert_int_equal(check(op, KEY_MAX + 1, 1), STATUS_INVALID);
        assert_string_equal(error, "the key is 481 bytes long; 1 to 480 are allowed");
    }
}

static void test_values(void **state)
{
    (void)state;
    assert_int_equal(check(OP_KV_PUT, 1, 0), STATUS_OK);
    assert_int_equal(check(OP_KV_PUT, 1, 100), STATUS_OK);
    assert_int_equal(check(OP_KV_PUT, 1, 101), STATUS_TOO_LARGE);
    assert_string_equal(error, "the value is 101 bytes long; at most 100 (max_value) are allowed");
    assert_int_equal(check(OP_CACHE_SET, 1, 0), STATUS_INVALID);
    assert_int_equal(check(OP_CACHE_SET, 1, 100), STATUS_OK);
    assert_int_equal(check(OP_CACHE_SET, 1, 101), STATUS_TOO_LARGE);
}

static void test_items(void **state)
{
    (void)state;
    assert_int_equal(check(OP_SET_ADD, 1, 0), STATUS_INVALID);
    assert_int_equal(check(OP_SET_ADD, 1, KEY_MAX), STATUS_OK);
    assert_int_equal(check(OP_SET_REMOVE, 1, KEY_MAX + 1), STATUS_INVALID);
    assert_string_equal(error, "the item is 481 bytes long; 1 to 480 are allowed");
}

static void test_expiry(void **state)
{
    (void)state;
    uint64_t expiry = 0;
    assert_int_equal(core_expiry(0, 1000, &expiry), STATUS_OK);
    assert_int_equal(expiry, 6000);
    assert_int_equal(core_expiry(1, 1000, &expiry), STATUS_OK);
    assert_int_equal(expiry, 2000);
    assert_int_equal(core_expiry(INT32_MAX, 0, &expiry), STATUS_OK);
    assert_int_equal(expiry, (uint64_t)INT32_MAX * 1000);
    assert_int_equal(core_expiry(-1, 0, &expiry), STATUS_INVALID);
    assert_int_equal(core_expiry((int64_t)INT32_MAX + 1, 0, &expiry), STATUS_INVALID);
}

/* Deadlines in any order come out in order, also when some are taken out of the middle. */
static void test_deadlines(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    static struct core_call calls[COUNT];
    struct deadlines deadlines = {0};
    uint64_t random = 1;
    for (int i = 0; i < COUNT; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        calls[i].state.deadline_ns = random >> 54;
        deadlines_add(&deadlines, &calls[i]);
    }
    for (int i = 0; i < COUNT; i += 3)
        deadlines_remove(&deadlines, &calls[i]);
    uint64_t last = 0;
    unsigned left = 0;
    for (struct core_call *next; (next = deadlines_next(&deadlines)); left++) {
        assert_true(next->state.deadline_ns >= last);
        assert_int_not_equal((next - calls) % 3, 0);
        last = next->state.deadline_ns;
        deadlines_remove(&deadlines, next);
        assert_int_equal(next->state.timer, 0);
    }
    assert_int_equal(left, COUNT - (COUNT + 2) / 3);
    deadlines_free(&deadlines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),      cmocka_unit_test(test_values),
        cmocka_unit_test(test_items),     cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_deadlines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
