/* bulk: pieces in order, bounds, the oldest goes, channels keep apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/channel/channel.h"
#include "store/bulk.h"

static enum status stage(struct bulk *bulk, uint64_t id, uint64_t total, uint64_t offset,
                         const char *piece)
{
    uint64_t there;
    enum status status = bulk_stage(bulk, 0, id, total, offset, bytes_of(piece), &there);
    if (status == STATUS_OK)
        assert_true(there >= offset + strlen(piece));
    return status;
}

static bool staged_is(struct bulk *bulk, unsigned channel, uint64_t id, const char *text)
{
    struct bytes value;
    return bulk_staged(bulk, channel, id, &value) && bytes_equal(value, bytes_of(text));
}

static void test_pieces_make_a_value(void **state)
{
    struct bulk *bulk = bulk_open(2, 100, 100);
    struct bytes value;
    (void)state;
    assert_int_equal(stage(bulk, 7, 9, 0, "abc"), STATUS_OK);
    assert_int_equal(stage(bulk, 7, 9, 3, "def"), STATUS_OK);
    assert_false(bulk_staged(bulk, 0, 7, &value));
    assert_int_equal(stage(bulk, 7, 9, 6, "ghi"), STATUS_OK);
    assert_true(staged_is(bulk, 0, 7, "abcdefghi"));
    assert_true(staged_is(bulk, 0, 7, "abcdefghi"));
    assert_false(bulk_staged(bulk, 1, 7, &value));
    bulk_drop_staged(bulk, 0, 7);
    assert_false(bulk_staged(bulk, 0, 7, &value));
    assert_int_equal(bulk_bytes(bulk), 0);
    bulk_close(&bulk);
    assert_null(bulk);
}

static void test_a_repeated_piece_is_taken_once(void **state)
{
    struct bulk *bulk = bulk_open(1, 100, 100);
    (void)state;
    assert_int_equal(stage(bulk, 7, 6, 0, "abc"), STATUS_OK);
    assert_int_equal(stage(bulk, 7, 6, 0, "abc"), STATUS_OK);
    assert_int_equal(stage(bulk, 7, 6, 3, "d"), STATUS_OK);
    assert_int_equal(stage(bulk, 7, 6, 4, "ef"), STATUS_OK);
    assert_int_equal(stage(bulk, 7, 6, 3, "d"), STATUS_OK);
    assert_int_equal(stage(bulk, 7, 6, 4, "ef"), STATUS_OK);
    assert_true(staged_is(bulk, 0, 7, "abcdef"));
    bulk_close(&bulk);
}

static void test_out_of_order_is_to_be_staged_again(void **state)
{
    struct bulk *bulk = bulk_open(1, 100, 100);
    (void)state;
    assert_int_equal(stage(bulk, 7, 9, 3, "def"), STATUS_RESTAGE);
    assert_int_equal(stage(bulk, 7, 9, 0, "abc"), STATUS_OK);
    assert_int_equal(stage(bulk, 7, 9, 6, "ghi"), STATUS_RESTAGE);
    assert_int_equal(stage(bulk, 7, 9, 1, "bcd"), STATUS_RESTAGE);
    assert_int_equal(stage(bulk, 7, 8, 3, "def"), STATUS_RESTAGE); /* another total */
    assert_int_equal(stage(bulk, 7, 3, 0, "xyz"), STATUS_OK);      /* starts anew */
    assert_true(staged_is(bulk, 0, 7, "xyz"));
    bulk_close(&bulk);
}

static void test_impossible_pieces_are_refused(void **state)
{
    struct bulk *bulk = bulk_open(1, 100, 100);
    (void)state;
    assert_int_equal(stage(bulk, 7, 101, 0, "a"), STATUS_TOO_LARGE);
    assert_int_equal(stage(bulk, 7, UINT64_MAX, 0, "a"), STATUS_TOO_LARGE);
    assert_int_equal(stage(bulk, 0, 3, 0, "abc"), STATUS_INVALID);
    assert_int_equal(stage(bulk, 7, 0, 0, ""), STATUS_INVALID);
    assert_int_equal(stage(bulk, 7, 3, 0, ""), STATUS_INVALID);
    assert_int_equal(stage(bulk, 7, 2, 0, "abc"), STATUS_INVALID);
    assert_int_equal(stage(bulk, 7, 3, 4, "a"), STATUS_INVALID);
    assert_int_equal(stage(bulk, 7, 3, UINT64_MAX, "ab"), STATUS_INVALID);
    assert_int_equal(bulk_bytes(bulk), 0);
    bulk_close(&bulk);
}

static void test_the_oldest_goes_when_there_are_too_many(void **state)
{
    struct bulk *bulk = bulk_open(1, 100, 100);
    struct bytes value;
    (void)state;
    for (uint64_t id = 1; id <= CHANNEL_SLOTS + 3; id++)
        assert_int_equal(stage(bulk, id, 1, 0, "x"), STATUS_OK);
    assert_int_equal(bulk_bytes(bulk), CHANNEL_SLOTS);
    assert_false(bulk_staged(bulk, 0, 3, &value));
    assert_true(bulk_staged(bulk, 0, 4, &value));
    bulk_close(&bulk);
}

static void test_the_oldest_goes_when_there_are_too_many_bytes(void **state)
{
    struct bulk *bulk = bulk_open(1, 100, 100);
    struct bytes value;
    uint8_t data[100] = {0};
    (void)state;
    /* What is claimed counts, not what came. */
    for (uint64_t id = 1; id <= BULK_PER_CHANNEL; id++)
        assert_int_equal(stage(bulk, id, 100, 0, "x"), STATUS_OK);
    assert_int_equal(stage(bulk, 1, 100, 1, "y"), STATUS_OK);
    assert_int_equal(stage(bulk, 1000, 1, 0, "x"), STATUS_OK);
    assert_int_equal(stage(bulk, 1, 100, 2, "y"), STATUS_RESTAGE);
    assert_int_equal(stage(bulk, 2, 100, 1, "y"), STATUS_OK);
    for (uint64_t sequence = 0; sequence <= BULK_PER_CHANNEL; sequence++)
        bulk_keep(bulk, 0, sequence, (struct bytes){data, sizeof data});
    assert_false(bulk_kept(bulk, 0, 0, &value));
    assert_true(bulk_kept(bulk, 0, 1, &value));
    assert_true(bulk_bytes(bulk) <= 2 * BULK_PER_CHANNEL * 100);
    bulk_close(&bulk);
}

static void test_answers_are_kept_until_dropped(void **state)
{
    struct bulk *bulk = bulk_open(2, 100, 100);
    struct bytes value;
    (void)state;
    bulk_keep(bulk, 1, 0, bytes_of("first"));
    bulk_keep(bulk, 1, 1, bytes_of("second"));
    bulk_keep(bulk, 1, 1, bytes_of("anew"));
    assert_true(bulk_kept(bulk, 1, 0, &value) && bytes_equal(value, bytes_of("first")));
    assert_true(bulk_kept(bulk, 1, 1, &value) && bytes_equal(value, bytes_of("anew")));
    assert_false(bulk_kept(bulk, 0, 0, &value));
    bulk_drop_kept(bulk, 1, 0);
    bulk_drop_kept(bulk, 1, 99);
    assert_false(bulk_kept(bulk, 1, 0, &value));
    assert_int_equal(stage(bulk, 5, 3, 0, "abc"), STATUS_OK);
    bulk_forget(bulk, 1);
    assert_false(bulk_kept(bulk, 1, 1, &value));
    assert_true(staged_is(bulk, 0, 5, "abc"));
    bulk_close(&bulk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_make_a_value),
        cmocka_unit_test(test_a_repeated_piece_is_taken_once),
        cmocka_unit_test(test_out_of_order_is_to_be_staged_again),
        cmocka_unit_test(test_impossible_pieces_are_refused),
        cmocka_unit_test(test_the_oldest_goes_when_there_are_too_many),
        cmocka_unit_test(test_the_oldest_goes_when_there_are_too_many_bytes),
        cmocka_unit_test(test_answers_are_kept_until_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
