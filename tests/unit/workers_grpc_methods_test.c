/*
 * Tests of workers/grpc/methods.c: the table, each message that can be decoded, each that cannot,
 * and each answer, byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/base/set.h"
#include "workers/core/core.h"
#include "workers/grpc/methods.h"

static struct api_pool pool;
static struct request request;
static const char *error;

static const struct rpc_method *method(const char *path)
{
    for (size_t i = 0; i < RPC_METHODS; i++)
        if (strcmp(rpc_methods[i].path, path) == 0)
            return &rpc_methods[i];
    fail_msg("no method %s", path);
    return NULL;
}

static bool decode_bytes(const char *path, const char *message, size_t len)
{
    struct rpc_input input = {
        .message = {(const uint8_t *)message, len}, .pool = &pool, .now_ms = 1000000};
    const struct rpc_method *row = method(path);
    api_pool_reset(&pool);
    request = (struct request){.op = row->op};
    bool good = row->decode(&input, &request);
    error = input.error;
    return good;
}

#define DECODE(path, message) decode_bytes(path, message, sizeof(message) - 1)
#define REFUSE(path, message, why)                                                                 \
    do {                                                                                           \
        assert_false(DECODE(path, message));                                                       \
        assert_string_equal(error, why);                                                           \
    } while (0)

static void assert_bytes(struct bytes bytes, const char *text, size_t len)
{
    assert_int_equal(bytes.len, len);
    assert_memory_equal(bytes.data, text, len);
}

#define ASSERT_BYTES(bytes, text) assert_bytes(bytes, text, sizeof(text) - 1)

/* ---- Requests ---- */

static const char no_parse[] = "the request does not parse as the protobuf message of this method";

static void every_operation_has_a_method(void **state)
{
    (void)state;
    for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
        bool found = false;
        for (size_t i = 0; i < RPC_METHODS; i++)
            found = found || rpc_methods[i].op == (enum op)op;
        assert_true(found);
    }
}

static void keys(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/proto.Cache/CacheGet", "/proto.Counter/GetCounter", "/proto.Counter/CounterGet",
        "/proto.Flag/FlagGet",   "/proto.KV/KVGet",           "/proto.KV/KVDelete",
        "/proto.Set/SetGet",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        assert_true(DECODE(paths[i], "\x0a\3a\0b"));
        ASSERT_BYTES(request.key, "a\0b");
        assert_true(DECODE(paths[i], ""));
        assert_int_equal(request.key.len, 0); /* the core refuses it */
        assert_true(
            DECODE(paths[i], "\x0a\1x\x0a\1y\x78\5")); /* the last one; field 15 is unknown */
        ASSERT_BYTES(request.key, "y");
        REFUSE(paths[i], "\x0a\1\xff", "the key is not valid UTF-8");
        REFUSE(paths[i], "\x0a\2x", no_parse);
        REFUSE(paths[i], "\x08\1", no_parse);
        REFUSE(paths[i], "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", no_parse);
    }
}

static void kv_put(void **state)
{
    (void)state;
    static const char path[] = "/proto.KV/KVPut";
    assert_true(DECODE(path, "\x0a\3\x0a\1k\x12\4\x0a\2\xff\0"));
    ASSERT_BYTES(request.key, "k");
    ASSERT_BYTES(request.value, "\xff\0");
    assert_true(DECODE(path, "\x0a\3\x0a\1k\x12\0")); /* an empty value is one */
    assert_int_equal(request.value.len, 0);
    REFUSE(path, "\x0a\3\x0a\1k", "no value provided");
    assert_true(DECODE(path, "")); /* no key either: the core refuses it */
    assert_true(DECODE(path, "\x12\3\x0a\1v"));
    assert_int_equal(request.key.len, 0);
    REFUSE(path, "\x0a\3\x0a\1\xff\x12\0", "the key is not valid UTF-8");
    REFUSE(path, "\x0a\1k", no_parse);
}

static void cache_set(void **state)
{
    (void)state;
    static const char path[] = "/proto.Cache/CacheSet";
    assert_true(DECODE(path, "\x0a\1k\x12\5\x0a\1v\x10\7"));
    ASSERT_BYTES(request.key, "k");
    ASSERT_BYTES(request.value, "v");
    assert_int_equal(request.expiry_ms, 1000000 + 7000);
    assert_true(DECODE(path, "\x0a\1k\x12\3\x0a\1v"));
    assert_int_equal(request.expiry_ms, 1000000 + 5000);
    assert_true(DECODE(path, "\x0a\1k\x12\x09\x0a\1v\x10\xff\xff\xff\xff\7"));
    assert_true(request.expiry_ms == 1000000 + 2147483647000u);
    REFUSE(path, "\x0a\1k\x12\x0e\x0a\1v\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\1",
           core_ttl_error);
    REFUSE(path, "\x0a\1k", "no value provided");
    REFUSE(path, "\x0a\1k\x12\3\x0a\1\xff", "the value is not valid UTF-8");
    REFUSE(path, "\x0a\1\xff\x12\3\x0a\1v", "the key is not valid UTF-8");
    assert_true(DECODE(path, ""));
    assert_true(DECODE(path, "\x0a\1k\x12\0")); /* the core refuses an empty value */
}

static void numbers_and_items(void **state)
{
    (void)state;
    static const char increment[] = "/proto.Counter/IncrementCounter";
    assert_true(DECODE(increment, "\x0a\1k\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"));
    assert_int_equal(request.number, -1);
    assert_true(DECODE(increment, "\x0a\1k\x10\xff\xff\xff\xff\xff\xff\xff\xff\x7f"));
    assert_true(request.number == INT64_MAX);
    assert_true(DECODE(increment, "\x0a\1k"));
    assert_int_equal(request.number, 0);
    REFUSE(increment, "\x0a\1\x80\x10\1", "the key is not valid UTF-8");
    REFUSE(increment, "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", no_parse);
    assert_true(DECODE("/proto.Counter/CounterIncrement", "\x0a\1k\x10\5"));
    assert_int_equal(request.number, 5);
    assert_true(DECODE("/proto.Flag/FlagSet", "\x0a\1k\x10\1"));
    assert_int_equal(request.number, 1);
    assert_true(DECODE("/proto.Flag/FlagSet", "\x0a\1k"));
    assert_int_equal(request.number, 0);
    for (int add = 0; add < 2; add++) {
        const char *path = add ? "/proto.Set/SetAdd" : "/proto.Set/SetRemove";
        assert_true(DECODE(path, "\x0a\1k\x12\2i\0"));
        ASSERT_BYTES(request.value, "i\0");
        REFUSE(path, "\x0a\1k\x12\1\xc3", "the item is not valid UTF-8");
    }
}

/* ---- Replies ---- */

static struct buffer out;

static bool encode(const char *path, struct reply reply)
{
    out.len = 0;
    return method(path)->encode(&reply, &out);
}

static void replies(void **state)
{
    (void)state;
    struct reply value = {.value = {(const uint8_t *)"v\0", 2}};
    assert_true(encode("/proto.KV/KVGet", value));
    ASSERT_BYTES(buffer_bytes(&out), "\x0a\4\x0a\2v\0");
    assert_true(encode("/proto.KV/KVGet", (struct reply){0}));
    ASSERT_BYTES(buffer_bytes(&out), "\x0a\0");
    assert_true(encode("/proto.Cache/CacheGet", value));
    ASSERT_BYTES(buffer_bytes(&out), "\x0a\2v\0");
    assert_true(encode("/proto.Counter/IncrementCounter", (struct reply){.number = 300}));
    ASSERT_BYTES(buffer_bytes(&out), "\x08\xac\2");
    assert_true(encode("/proto.Counter/CounterGet", (struct reply){.number = -1}));
    ASSERT_BYTES(buffer_bytes(&out), "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\1");
    assert_true(encode("/proto.Counter/GetCounter", (struct reply){0}));
    assert_int_equal(out.len, 0);
    assert_true(encode("/proto.Flag/FlagGet", (struct reply){.number = 1}));
    ASSERT_BYTES(buffer_bytes(&out), "\x08\1");
    static const char *const empty[] = {"/proto.KV/KVPut", "/proto.KV/KVDelete",
                                        "/proto.Cache/CacheSet", "/proto.Flag/FlagSet"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        assert_true(encode(empty[i], value));
        assert_int_equal(out.len, 0);
    }
}

static void sets(void **state)
{
    (void)state;
    static const char packed[] = "\1\0a\3\0b\0c\2\0\xc3\xa9";
    struct reply reply = {.value = {(const uint8_t *)packed, sizeof packed - 1}};
    static const char *const paths[] = {"/proto.Set/SetGet", "/proto.Set/SetAdd",
                                        "/proto.Set/SetRemove"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        assert_true(encode(paths[i], reply));
        ASSERT_BYTES(buffer_bytes(&out), "\x0a\1a\x0a\3b\0c\x0a\2\xc3\xa9");
        assert_true(encode(paths[i], (struct reply){0}));
        assert_int_equal(out.len, 0);
    }
}

static void what_is_no_utf8(void **state)
{
    (void)state;
    struct reply value = {.value = {(const uint8_t *)"\xff", 1}};
    assert_false(encode("/proto.Cache/CacheGet", value));
    assert_int_equal(out.len, 0);
    static const char packed[] = "\1\0a\1\0\xff";
    struct reply items = {.value = {(const uint8_t *)packed, sizeof packed - 1}};
    assert_false(encode("/proto.Set/SetGet", items));
    assert_int_equal(out.len, 0);
    assert_true(encode("/proto.KV/KVGet", value)); /* bytes may be any */
}

static int open_pool(void **state)
{
    (void)state;
    api_pool_open(&pool);
    return 0;
}

static int close_pool(void **state)
{
    (void)state;
    api_pool_reset(&pool);
    buffer_free(&out);
    return 0;
}

/* What comes in goes on as it is, and what comes back. */
static void messages_pass_through(void **state)
{
    static const char path[] = "/strato.v1.Store/KVAppend";
    static const char message[] = "\x0a\2k\xff\x12\1v\x78\x01"; /* with an unknown field */
    struct buffer made = {0};
    (void)state;
    assert_true(decode_bytes(path, message, sizeof message - 1));
    ASSERT_BYTES(request.key, "k\xff"); /* bytes, so no UTF-8 is asked for */
    assert_bytes(request.value, message, sizeof message - 1);
    assert_true(DECODE(path, ""));
    assert_int_equal(request.key.len, 0);
    REFUSE(path, "\x0a\x05k", no_parse);
    const struct reply reply = {.value = bytes_of("\x08\x05")};
    assert_true(method(path)->encode(&reply, &made));
    ASSERT_BYTES(buffer_bytes(&made), "\x08\x05");
    buffer_free(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_has_a_method),
        cmocka_unit_test(keys),
        cmocka_unit_test(messages_pass_through),
        cmocka_unit_test(kv_put),
        cmocka_unit_test(cache_set),
        cmocka_unit_test(numbers_and_items),
        cmocka_unit_test(replies),
        cmocka_unit_test(sets),
        cmocka_unit_test(what_is_no_utf8),
    };
    return cmocka_run_group_tests(tests, open_pool, close_pool);
}
