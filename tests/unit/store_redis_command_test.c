/* Requests as commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "store/redis/command.h"

enum { NOW = 1000000, MAX_SET = 5000 };

static const struct redis_terms terms = {.now_wall_ms = NOW, .max_set = MAX_SET};

/* The words joined by one space each. */
static void check(const struct request *request, const char *expected)
{
    struct redis_command command;
    struct buffer text = {0};
    redis_command_make(&command, request, request->key, &terms);
    for (int i = 0; i < command.count; i++) {
        buffer_append(&text, " ", i > 0);
        buffer_append(&text, command.words[i], command.lens[i]);
    }
    buffer_append(&text, "", 1);
    assert_string_equal((const char *)text.data, expected);
    buffer_free(&text);
}

static void each_operation_is_one_command(void **state)
{
    const struct bytes key = bytes_of("key"), value = bytes_of("value");
    (void)state;
    check(&(struct request){.op = OP_CACHE_GET, .key = key}, "GET key");
    check(&(struct request){.op = OP_CACHE_SET, .key = key, .value = value, .expiry_ms = NOW + 5},
          "SET key value PX 5");
    check(&(struct request){.op = OP_COUNTER_GET, .key = key}, "GET key");
    check(&(struct request){.op = OP_COUNTER_INCREMENT, .key = key, .number = INT64_MIN},
          "INCRBY key -9223372036854775808");
    check(&(struct request){.op = OP_FLAG_GET, .key = key}, "GET key");
    check(&(struct request){.op = OP_FLAG_SET, .key = key, .number = 1}, "SET key 1");
    check(&(struct request){.op = OP_FLAG_SET, .key = key}, "SET key 0");
    check(&(struct request){.op = OP_KV_GET, .key = key}, "GET key");
    check(&(struct request){.op = OP_KV_PUT, .key = key, .value = value}, "SET key value");
    check(&(struct request){.op = OP_KV_PUT, .key = key}, "SET key ");
    check(&(struct request){.op = OP_KV_DELETE, .key = key}, "DEL key");
    check(&(struct request){.op = OP_SET_GET, .key = key}, "SMEMBERS key");
    check(&(struct request){.op = OP_SET_REMOVE, .key = key, .value = value},
          "EVAL redis.call('SREM',KEYS[1],ARGV[1]) return redis.call('SMEMBERS',KEYS[1]) 1 key "
          "value");
}

static void a_set_is_bounded_where_it_grows(void **state)
{
    struct redis_command command;
    const struct request request = {
        .op = OP_SET_ADD, .key = bytes_of("key"), .value = bytes_of("item")};
    (void)state;
    redis_command_make(&command, &request, request.key, &terms);
    assert_int_equal(command.count, 6);
    assert_string_equal(command.words[0], "EVAL");
    assert_non_null(strstr(command.words[1], "TOOLARGE "));
    assert_string_equal(command.words[3], "key");
    assert_string_equal(command.words[4], "item");
    assert_string_equal(command.words[5], "5000");
}

static void a_time_to_live_stays_within_int64(void **state)
{
    (void)state;
    for (uint64_t expiry = UINT64_MAX; expiry > 1ull << 54; expiry /= 2)
        check(&(struct request){.op = OP_CACHE_SET,
                                .key = bytes_of("k"),
                                .value = bytes_of("v"),
                                .expiry_ms = expiry},
              "SET k v PX 9007199254740992");
}

static void what_is_tried_changes_nothing(void **state)
{
    struct redis_command command;
    char key[REDIS_TRY_KEY_MAX];
    (void)state;
    for (int service = 0; service < SERVICE_COUNT; service++) {
        const char *prefix = redis_prefix((enum service)service);
        struct bytes name = redis_command_try_key(prefix, 65535, key);
        assert_true(name.len - strlen(prefix) > KEY_MAX); /* nobody's */
        assert_memory_equal(name.data, prefix, strlen(prefix));
        unsigned count = 0;
        while (redis_command_try(&command, (enum service)service, count, name)) {
            bool is_set = strcmp(command.words[0], "SET") == 0;
            assert_in_range(command.count, 2, REDIS_WORDS_MAX);
            if (is_set) /* which no key can meet */
                assert_string_equal(command.words[3], "NX");
            if (is_set)
                assert_string_equal(command.words[4], "XX");
            count++;
        }
        assert_in_range(count, 2, 4);
    }
}

static void every_operation_has_a_command(void **state)
{
    (void)state;
    for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
        struct redis_command command;
        const struct request request = {.op = (enum op)op, .key = bytes_of("k")};
        if (op_info(request.op)->takes == OP_TAKES_MESSAGE)
            continue; /* has a script, or is refused */
        redis_command_make(&command, &request, request.key, &terms);
        assert_in_range(command.count, 2, REDIS_WORDS_MAX);
    }
}

static void what_has_expired_on_its_way_still_replaces(void **state)
{
    struct request request = {
        .op = OP_CACHE_SET, .key = bytes_of("k"), .value = bytes_of("v"), .expiry_ms = NOW - 1};
    (void)state;
    check(&request, "SET k v PX 1");
    request.expiry_ms = NOW;
    check(&request, "SET k v PX 1");
    request.expiry_ms = 0;
    check(&request, "SET k v");
}

static void services_have_places_of_their_own(void **state)
{
    (void)state;
    for (int i = 0; i < SERVICE_COUNT; i++) {
        assert_int_equal(redis_database((enum service)i), i);
        assert_true(strlen(redis_prefix((enum service)i)) <= REDIS_PREFIX_MAX);
        for (int other = 0; other < i; other++)
            assert_string_not_equal(redis_prefix((enum service)i),
                                    redis_prefix((enum service)other));
    }
}

/* What stands before the key: as text. */
static void check_mark(uint16_t namespace, const char *key, const char *expected)
{
    char mark[REDIS_MARK_MAX];
    size_t len = redis_mark(namespace, bytes_of(key), mark);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(mark, expected, len);
}

static void keys_of_namespaces_never_meet(void **state)
{
    (void)state;
    check_mark(0, "k", "");
    check_mark(0, "\xffstrato", "");
    check_mark(1, "k", "\xffstrato@1:");
    check_mark(65535, "k", "\xffstrato@65535:");
    check_mark(0, "\xffstrato@1:k", "\xffstrato@0:");
    check_mark(0, "\xffstrato@", "\xffstrato@0:");
    check_mark(1, "\xffstrato@0:k", "\xffstrato@1:");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_operation_is_one_command),
        cmocka_unit_test(a_set_is_bounded_where_it_grows),
        cmocka_unit_test(a_time_to_live_stays_within_int64),
        cmocka_unit_test(what_is_tried_changes_nothing),
        cmocka_unit_test(every_operation_has_a_command),
        cmocka_unit_test(what_has_expired_on_its_way_still_replaces),
        cmocka_unit_test(services_have_places_of_their_own),
        cmocka_unit_test(keys_of_namespaces_never_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
