/*
 * JSON and parameters to a message and back, of every kind of field.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "tests/kinds/kinds.pb-c.h"
#include "workers/core/message.h"

static struct buffer packed, shown;
static char error[400], body[8192];
static struct message_writer writer;
static struct api_pool pool;

static void begin(void)
{
    packed.len = shown.len = 0;
    error[0] = '\0';
    writer = (struct message_writer){&kinds__kinds__descriptor, &packed, error, sizeof error, 0};
}

static bool read(const char *json)
{
    begin();
    snprintf(body, sizeof body, "%s", json);
    return message_add_json(&writer, (uint8_t *)body, strlen(body));
}

static const Kinds__Kinds *unpacked(void)
{
    api_pool_reset(&pool);
    const Kinds__Kinds *message =
        api_unpack(&kinds__kinds__descriptor, buffer_bytes(&packed), &pool);
    assert_non_null(message);
    return message;
}

static void refuses(const char *json, const char *why)
{
    assert_false(read(json));
    assert_string_equal(error, why);
}

static void equals(ProtobufCBinaryData data, const char *text)
{
    assert_int_equal(data.len, strlen(text));
    assert_memory_equal(data.data, text, data.len);
}

/* What is written of a message holds this. */
static void shows(const char *json, bool strings, const char *part)
{
    assert_true(read(json));
    shown.len = 0;
    message_append_json(&unpacked()->base, strings, &shown);
    buffer_append(&shown, "", 1);
    if (!strstr((char *)shown.data, part))
        fail_msg("%s is not in %s", part, (char *)shown.data);
}

static void every_kind(void **state)
{
    (void)state;
    assert_true(
        read("{\"key\":\"k\",\"value_base64\":\"/wA=\",\"text\":\"\\u00e9\",\"i32\":-2147483648,"
             "\"i64\":\"-9223372036854775808\",\"u32\":4294967295,\"u64\":18446744073709551615,"
             "\"s32\":-1,\"s64\":-9223372036854775808,\"f32\":1,\"f64\":2,\"sf32\":-3,\"sf64\":-4,"
             "\"real\":1.5,\"large\":-1e300,\"flag\":true,\"colour\":\"dark_blue\","
             "\"inner\":{\"key\":\"in\",\"number\":7,\"leaves\":[{\"name\":\"x\"},{}]}}"));
    const Kinds__Kinds *m = unpacked();
    equals(m->key, "k");
    assert_int_equal(m->value.len, 2);
    assert_memory_equal(m->value.data, "\xff", 2);
    equals(m->text, "\xc3\xa9");
    assert_int_equal(m->i32, INT32_MIN);
    assert_true(m->i64 == INT64_MIN && m->s64 == INT64_MIN && m->u64 == UINT64_MAX);
    assert_int_equal(m->u32, UINT32_MAX);
    assert_true(m->s32 == -1 && m->f32 == 1 && m->f64 == 2 && m->sf32 == -3 && m->sf64 == -4);
    assert_true(m->real == 1.5f && m->large == -1e300 && m->flag);
    assert_int_equal(m->colour, KINDS__COLOUR__DARK_BLUE);
    equals(m->inner->key, "in");
    assert_int_equal(m->inner->number, 7);
    assert_int_equal(m->inner->n_leaves, 2);
    equals(m->inner->leaves[0]->name, "x");
    assert_true(
        api_is_string(protobuf_c_message_descriptor_get_field_by_name(m->base.descriptor, "text")));
    assert_false(api_is_string(
        protobuf_c_message_descriptor_get_field_by_name(m->base.descriptor, "value")));
}

static void several_and_one_of_several(void **state)
{
    (void)state;
    assert_true(read(
        " { \"items\" : [ \"a\" , \"\" ] , \"numbers\":[1,\"2\",-3],\"inners\":[{},{\"number\":1}],"
        "\"colours\":[\"red\",\"below\"],\"flags\":[true,false],\"reals\":[0.5],\"etag\":\"e\"} "));
    const Kinds__Kinds *m = unpacked();
    assert_int_equal(m->n_items, 2);
    equals(m->items[0], "a");
    assert_true(m->n_numbers == 3 && m->numbers[1] == 2 && m->numbers[2] == -3);
    assert_true(m->n_inners == 2 && m->inners[1]->number == 1);
    assert_true(m->n_colours == 2 && m->colours[1] == KINDS__COLOUR__BELOW);
    assert_true(m->n_flags == 2 && m->flags[0] && !m->flags[1]);
    assert_true(m->n_reals == 1 && m->test_case == KINDS__KINDS__TEST_ETAG);
    equals(m->etag, "e");
}

static void times(void **state)
{
    static const struct {
        const char *json;
        int64_t ms;
    } rows[] = {{"{\"ttl\":\"500ms\"}", 500},
                {"{\"ttl\":90}", 90000},
                {"{\"ttl\":\"90\"}", 90000},
                {"{\"ttl\":\"5m\"}", 300000},
                {"{\"ttl\":\"12h\"}", 43200000},
                {"{\"ttl\":\"7d\"}", 604800000},
                {"{\"ttl_ms\":3}", 3}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_true(read(rows[i].json));
        assert_int_equal(unpacked()->ttl_ms, rows[i].ms);
    }
    assert_false(read("{\"ttl\":\"-1s\"}"));
    assert_false(read("{\"ttl\":\"1.5s\"}"));
    assert_false(read("{\"ttl\":\"99999999999999999d\"}"));
    assert_false(read("{\"ttl\":\"\"}"));
    assert_non_null(strstr(error, "500ms"));
    refuses("{\"ttl\":1,\"ttl_ms\":1}", "ttl_ms is given twice; give it once");
}

/* A member that nobody asked for may hold anything. */
static void what_is_unknown_is_ignored(void **state)
{
    (void)state;
    assert_true(
        read("{\"x\":1e99999,\"\":[{\"key\":5}],\"i32_base64\":\"A\",\"key\":null,\"i32\":3,"
             "\"inner\":{\"other\":[[]],\"number\":1}}"));
    assert_int_equal(unpacked()->key.len, 0);
    assert_int_equal(unpacked()->i32, 3);
    assert_int_equal(unpacked()->inner->number, 1);
    assert_true(read("{\"\\u0069\\u00332\":4}")); /* its name escaped */
    assert_int_equal(unpacked()->i32, 4);
    assert_true(read("{}"));
    assert_int_equal(packed.len, 0);
}

static void wrong_types_are_named(void **state)
{
    (void)state;
    refuses("{\"key\":1}", "key must be a string");
    refuses("{\"value\":[]}", "value must be a string");
    refuses("{\"value_base64\":\"a\"}", "value is no base64 (with its padding)");
    refuses("{\"value_base64\":\"a-b_\"}", "value is no base64 (with its padding)");
    refuses("{\"value\":\"a\",\"value_base64\":\"YQ==\"}", "value is given twice; give it once");
    refuses("{\"i32\":2147483648}", "i32 must be a whole number from -2147483648 to 2147483647");
    refuses("{\"i32\":1.0}", "i32 must be a whole number from -2147483648 to 2147483647");
    refuses("{\"u32\":-1}", "u32 must be a whole number from 0 to 4294967295");
    refuses("{\"u64\":18446744073709551616}",
            "u64 must be a whole number from 0 to 18446744073709551615");
    refuses("{\"s64\":true}",
            "s64 must be a whole number from -9223372036854775808 to 9223372036854775807");
    refuses("{\"flag\":1}", "flag must be true or false");
    refuses("{\"flag\":\"true\"}", "flag must not be a string");
    refuses("{\"real\":1e39}",
            "real must be a number of at most 64 characters that a float can hold");
    refuses("{\"large\":1111111111111111111111111111111111111111111111111111111111111111111111}",
            "large must be a number of at most 64 characters");
    refuses("{\"large\":true}", "large must be a number of at most 64 characters");
    refuses("{\"colour\":\"green\"}",
            "colour must be one of below colour_unspecified red dark_blue");
    refuses("{\"colour\":1}", "colour must be a string");
    refuses("{\"inner\":[]}", "inner must be an object");
    refuses("{\"items\":\"a\"}", "items must be an array");
    refuses("{\"inner\":{\"leaves\":[{},{\"name\":7}]}}", "inner.leaves[1].name must be a string");
    refuses("{\"inners\":[{\"number\":\"x\"}]}",
            "inners[0].number must be a whole number from -9223372036854775808 to "
            "9223372036854775807");
    refuses("{\"exists\":true,\"etag\":\"e\"}",
            "etag is given beside exists; only one of them may be");
}

static void what_is_no_json_says_where(void **state)
{
    (void)state;
    refuses("", "the body is no JSON (an object is expected, at byte 0)");
    refuses("[1]", "the body is no JSON (an object is expected, at byte 0)");
    refuses("{\"key\":\"a\"} x", "the body is no JSON (more follows behind its end, at byte 12)");
    refuses("{\"key\":\"\\ud800\"}",
            "the body is no JSON (half of a surrogate pair, which is no character, at byte 15)");
    refuses("{\"inner\":{\"number\":1}", "the body is no JSON (a comma or a closing bracket is "
                                         "expected, at byte 21)");
    refuses("{\"items\":[\"a\"",
            "the body is no JSON (a comma or a closing bracket is expected, at "
            "byte 13)");
    refuses("{\"i32\":}", "the body is no JSON (a value is expected, at byte 7)");
}

static void parameters(void **state)
{
    (void)state;
    begin();
    assert_true(message_add_parameter(&writer, bytes_of("i32"), bytes_of("-5")));
    assert_true(message_add_parameter(&writer, bytes_of("ttl"), bytes_of("2s")));
    assert_true(message_add_parameter(&writer, bytes_of("flag"), bytes_of("t")));
    assert_true(message_add_parameter(&writer, bytes_of("items"), bytes_of("a")));
    assert_true(message_add_parameter(&writer, bytes_of("items"), bytes_of("\xff")));
    assert_true(message_add_parameter(&writer, bytes_of("colour"), bytes_of("red")));
    assert_true(message_add_bytes(&writer, "key", bytes_of("k")));
    const Kinds__Kinds *m = unpacked();
    assert_true(m->i32 == -5 && m->ttl_ms == 2000 && m->flag && m->n_items == 2);
    assert_int_equal(m->colour, KINDS__COLOUR__RED);
    equals(m->key, "k");
    assert_false(message_add_parameter(&writer, bytes_of("i32"), bytes_of("6")));
    assert_string_equal(error, "i32 is given twice; give it once");
    assert_false(message_add_parameter(&writer, bytes_of("tll_ms"), bytes_of("6")));
    assert_string_equal(error, "unknown parameter tll_ms; did you mean ttl_ms?");
    assert_false(message_add_parameter(&writer, bytes_of("a\n\x1b]"), bytes_of("6")));
    assert_memory_equal(error, "unknown parameter a  ]; there are key value", 39);
    assert_false(message_add_parameter(&writer, bytes_of("inner"), bytes_of("6")));
    assert_string_equal(error, "inner is no parameter; give it in the body");
    assert_false(message_add_bytes(&writer, "i32", bytes_of("v")));
    assert_string_equal(error, "this request takes no i32");
    begin();
    assert_true(message_add_parameter(&writer, bytes_of("value"), bytes_of("v")));
    snprintf(body, sizeof body, "{\"value\":\"w\"}");
    assert_false(message_add_json(&writer, (uint8_t *)body, strlen(body)));
    assert_string_equal(error, "value is given twice; give it once");
}

static void written(void **state)
{
    (void)state;
    shows("{}", false, "{\"key\":\"\",\"value\":\"\",\"text\":\"\",\"i32\":0,");
    shows("{}", false, "\"colour\":\"colour_unspecified\",\"ttl_ms\":0,\"items\":[],");
    shows("{}", false, "\"reals\":[]}"); /* of what is not given, nothing */
    shows("{\"value_base64\":\"/w==\"}", false, "\"value_base64\":\"/w==\"");
    shows("{\"items_base64\":[\"/w==\",\"YQ==\"]}", false, "\"items_base64\":[\"/w==\",\"YQ==\"]");
    shows("{\"key\":\"\\\"\\n\"}", false, "\"key\":\"\\\"\\n\"");
    shows("{\"i64\":9007199254740991}", false, "\"i64\":9007199254740991,");
    shows("{\"i64\":9007199254740992}", false, "\"i64\":\"9007199254740992\",");
    shows("{\"i64\":-9007199254740992}", false, "\"i64\":\"-9007199254740992\",");
    shows("{\"u64\":18446744073709551615}", false, "\"u64\":\"18446744073709551615\"");
    shows("{\"i64\":5,\"numbers\":[6]}", true, "\"i64\":\"5\"");
    shows("{\"i64\":5,\"numbers\":[6]}", true, "\"numbers\":[\"6\"]");
    shows("{\"real\":0.1,\"large\":0.1}", false,
          "\"real\":0.100000001,\"large\":0.10000000000000001");
    shows("{\"inner\":{}}", false, "\"inner\":{\"key\":\"\",\"number\":0,\"leaves\":[]}");
    shows("{\"exists\":false}", false, "\"exists\":false}");
    shows("{\"within\":{\"number\":1}}", false,
          "\"within\":{\"key\":\"\",\"number\":1,\"leaves\":[]}}");
    shows("{\"colours\":[\"below\"]}", false, "\"colours\":[\"below\"]");
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char deep[8000];
    memset(deep, 0, sizeof deep);
    strcpy(deep, "{\"x\":");
    memset(deep + 5, '[', 7000);
    assert_false(read(deep));
    assert_non_null(strstr(error, "cut short"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),
        cmocka_unit_test(several_and_one_of_several),
        cmocka_unit_test(times),
        cmocka_unit_test(what_is_unknown_is_ignored),
        cmocka_unit_test(wrong_types_are_named),
        cmocka_unit_test(what_is_no_json_says_where),
        cmocka_unit_test(parameters),
        cmocka_unit_test(written),
        cmocka_unit_test(depth_is_bounded),
    };
    api_pool_open(&pool);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    api_pool_reset(&pool);
    buffer_free(&packed);
    buffer_free(&shown);
    return failed;
}
