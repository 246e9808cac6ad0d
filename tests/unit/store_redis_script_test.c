/* Requests that are messages as scripts, and what these return. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/redis/script.h"
#include "tests/unit/redis_resp.h"

static struct api_pool pool;
static const struct redis_terms terms = {.max_set = 7, .max_value = 100};

static void words_are_fields_and_terms(void **state)
{
    struct redis_command command;
    const struct request request = {.op = OP_KV_APPEND, .value = bytes_of("\x0a\x01k\x12\x03val")};
    (void)state;
    assert_true(redis_script_has(OP_KV_APPEND) && !redis_script_has(OP_KV_PUT));
    assert_true(redis_script_make(&command, &request, bytes_of("kv:k"), &terms, &pool));
    static const char *const words[] = {"EVAL", "TOOLARGE", "1", "kv:k", "val", "100"};
    assert_int_equal(command.count, 6);
    for (int i = 0; i < command.count; i++)
        assert_non_null(memmem(command.words[i], command.lens[i], words[i], strlen(words[i])));
    const struct request bad = {.op = OP_KV_APPEND, .value = bytes_of("\x0a\x05k")};
    assert_false(redis_script_make(&command, &bad, bytes_of("k"), &terms, &pool));
}

/* Every row names fields that there are, or making and reading panics. */
static void every_row_is_whole(void **state)
{
    struct redis_command command;
    (void)state;
    for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
        const struct request request = {.op = (enum op)op};
        if (!redis_script_has(request.op))
            continue;
        assert_int_equal(op_info(request.op)->takes, OP_TAKES_MESSAGE);
        assert_true(redis_script_make(&command, &request, bytes_of("k"), &terms, &pool));
        redisReply *answer = resp_parse("*8\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n"
                                        "$-1\r\n",
                                        44);
        assert_int_equal(redis_script_answer(request.op, answer, &pool).status, STATUS_OK);
        freeReplyObject(answer);
    }
}

static void assert_answer(const char *resp, enum status status, const char *packed)
{
    redisReply *answer = resp_parse(resp, strlen(resp));
    struct reply reply = redis_script_answer(OP_KV_APPEND, answer, &pool);
    assert_int_equal(reply.status, status);
    assert_int_equal(reply.value.len, strlen(packed));
    if (reply.value.len > 0)
        assert_memory_equal(reply.value.data, packed, reply.value.len);
    freeReplyObject(answer);
}

static void what_it_returns_is_the_answer(void **state)
{
    (void)state;
    assert_answer(":5\r\n", STATUS_OK, "\x08\x05");
    assert_answer("*1\r\n:5\r\n", STATUS_OK, "\x08\x05");
    assert_answer("$1\r\n5\r\n", STATUS_OK, "\x08\x05"); /* exact beyond 2^53 */
    assert_answer("$-1\r\n", STATUS_OK, "");
    assert_answer("$1\r\nx\r\n", STATUS_INTERNAL, "");
    assert_answer("+OK\r\n", STATUS_INTERNAL, "");
    assert_answer("*0\r\n", STATUS_INTERNAL, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_fields_and_terms),
        cmocka_unit_test(every_row_is_whole),
        cmocka_unit_test(what_it_returns_is_the_answer),
    };
    api_pool_open(&pool);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    api_pool_reset(&pool);
    return failed;
}
