/*
 * op: the operations of the contract, each in its service, and which of them write.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "proto/base/op.h"

static void every_operation_has_a_row(void **state)
{
    (void)state;
    static const char *const prefix[] = {"Cache", "Counter", "Flag", "KV", "Set"};
    for (int i = OP_NONE + 1; i < OP_COUNT; i++) {
        const struct op_info *info = op_info((enum op)i);
        assert_non_null(info);
        assert_in_range(info->service, 0, SERVICE_COUNT - 1);
        size_t len = strlen(prefix[info->service]);
        assert_memory_equal(info->name, prefix[info->service], len);
        assert_int_equal(info->write, strcmp(info->name + len, "Get") != 0);
        assert_int_equal(info->write, info->kind != OP_READS);
        if (!info->write)
            assert_int_equal(info->repeat, OP_FREELY);
    }
}

static void a_number_that_is_no_operation_has_none(void **state)
{
    (void)state;
    assert_null(op_info(OP_NONE));
    assert_null(op_info(OP_COUNT));
    assert_null(op_info((enum op)0x7fffffff));
}

static void every_service_is_read_by_an_operation_of_its_own(void **state)
{
    (void)state;
    for (enum service service = 0; service < SERVICE_COUNT; service++) {
        const struct op_info *read = op_info(service_info(service)->read);
        assert_non_null(read);
        assert_int_equal(read->service, service);
        assert_int_equal(read->kind, OP_READS);
        assert_int_equal(read->takes, OP_TAKES_NOTHING);
    }
}

static void services_are_named_as_in_the_config(void **state)
{
    (void)state;
    assert_string_equal(service_name(SERVICE_CACHE), "cache");
    assert_string_equal(service_name(SERVICE_COUNTER), "counter");
    assert_string_equal(service_name(SERVICE_FLAG), "flag");
    assert_string_equal(service_name(SERVICE_KV), "kv");
    assert_string_equal(service_name(SERVICE_SET), "set");
    assert_string_equal(service_name(SERVICE_COUNT), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_has_a_row),
        cmocka_unit_test(a_number_that_is_no_operation_has_none),
        cmocka_unit_test(every_service_is_read_by_an_operation_of_its_own),
        cmocka_unit_test(services_are_named_as_in_the_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
