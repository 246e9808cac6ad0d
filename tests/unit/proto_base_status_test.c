/*
 * status: every status has a complete row, and each maps as the contract says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "proto/base/status.h"

static void every_row_is_complete(void **state)
{
    (void)state;
    for (int i = 0; i < STATUS_COUNT; i++) {
        const struct status_info *info = status_info((enum status)i);
        assert_non_null(info);
        assert_non_null(info->name);
        assert_non_null(info->text);
        assert_in_range(info->http, 200, 599);
        assert_in_range(info->grpc, 0, 16);
        assert_int_equal(info->grpc == 0, i == STATUS_OK);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(info->name, status_info((enum status)j)->name);
    }
}

static void the_contracts_numbers(void **state)
{
    (void)state;
    assert_int_equal(status_info(STATUS_INVALID)->http, 400);
    assert_int_equal(status_info(STATUS_NOT_FOUND)->http, 404);
    assert_int_equal(status_info(STATUS_OUT_OF_RANGE)->http, 409);
    assert_int_equal(status_info(STATUS_TOO_LARGE)->http, 413);
    assert_int_equal(status_info(STATUS_FULL)->http, 507);
    assert_int_equal(status_info(STATUS_UNAVAILABLE)->http, 503);
    assert_int_equal(status_info(STATUS_DEADLINE)->http, 504);
    assert_int_equal(status_info(STATUS_NOT_FOUND)->grpc, 5);
    assert_int_equal(status_info(STATUS_OUT_OF_RANGE)->grpc, 11);
    assert_int_equal(status_info(STATUS_FULL)->grpc, 8);
    assert_int_equal(status_info(STATUS_UNAVAILABLE)->grpc, 14);
    assert_int_equal(status_info(STATUS_DEADLINE)->grpc, 4);
}

static void a_number_outside_is_an_internal_error(void **state)
{
    (void)state;
    const struct status_info *internal = status_info(STATUS_INTERNAL);
    assert_ptr_equal(status_info((enum status)STATUS_COUNT), internal);
    assert_ptr_equal(status_info((enum status)0x7fffffff), internal);
    assert_int_equal(internal->http, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(the_contracts_numbers),
        cmocka_unit_test(a_number_outside_is_an_internal_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
