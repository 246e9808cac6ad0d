/* What errors of Redis mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "store/redis/fault.h"

static void classifies(void **state)
{
    static const struct {
        const char *text;
        enum redis_fault fault;
        enum status status;
    } rows[] = {
        {"MOVED 3999 127.0.0.1:6381", FAULT_MOVED, STATUS_UNAVAILABLE},
        {"ASK 3999 127.0.0.1:6381", FAULT_ASK, STATUS_UNAVAILABLE},
        {"TRYAGAIN Multiple keys request during rehashing of slot", FAULT_WAIT, STATUS_UNAVAILABLE},
        {"CLUSTERDOWN Hash slot not served", FAULT_WAIT, STATUS_UNAVAILABLE},
        {"LOADING Redis is loading the dataset in memory", FAULT_ELSEWHERE, STATUS_UNAVAILABLE},
        {"OOM command not allowed when used memory > 'maxmemory'.", FAULT_FULL, STATUS_FULL},
        {"READONLY You can't write against a read only replica.", FAULT_READ_ONLY,
         STATUS_UNAVAILABLE},
        {"MISCONF Redis is configured to save RDB snapshots", FAULT_SUSPENDED, STATUS_UNAVAILABLE},
        {"NOAUTH Authentication required.", FAULT_LOGIN, STATUS_REFUSED},
        {"WRONGTYPE Operation against a key holding the wrong kind of value", FAULT_WRONG_TYPE,
         STATUS_WRONG_TYPE},
        {"ERR value is not an integer or out of range", FAULT_WRONG_TYPE, STATUS_WRONG_TYPE},
        {"ERR increment or decrement would overflow", FAULT_RANGE, STATUS_OUT_OF_RANGE},
        {"ERR unknown command 'GET'", FAULT_ACCESS, STATUS_REFUSED},
        {"NOPERM this user has no permissions to run the 'eval' command", FAULT_ACCESS,
         STATUS_REFUSED},
        {"ERR DB index is out of range", FAULT_ACCESS, STATUS_REFUSED},
        {"ERR max number of clients reached", FAULT_ACCESS, STATUS_REFUSED},
        {"ERR The user executing the script can't run this command or subcommand script: 3b",
         FAULT_ACCESS, STATUS_REFUSED},
        {"NOREPLICAS Not enough good replicas to write.", FAULT_SUSPENDED, STATUS_UNAVAILABLE},
        {"MASTERDOWN Link with MASTER is down", FAULT_ELSEWHERE, STATUS_UNAVAILABLE},
        {"TOOLARGE the set", FAULT_TOO_LARGE, STATUS_TOO_LARGE},
        {"ERR syntax error", FAULT_OTHER, STATUS_INTERNAL},
        {"", FAULT_OTHER, STATUS_INTERNAL},
        {"MOVED", FAULT_OTHER, STATUS_INTERNAL},
        /* Raised within a script, by Redis 7 and before. */
        {"OOM command not allowed when used memory > 'maxmemory'. script: 3b, on @user_script:1.",
         FAULT_FULL, STATUS_FULL},
        {"ERR Error running script (call to f_3b): @user_script:1: WRONGTYPE Operation against",
         FAULT_WRONG_TYPE, STATUS_WRONG_TYPE},
        {"ERR Error running script (call to f_3b): @user_script:1: @user_script: 1: -OOM command",
         FAULT_FULL, STATUS_FULL},
        {"ERR Error running script (call to f_3b): @user_script:1: @user_script: 1: "
         "Unknown Redis command called from Lua script",
         FAULT_ACCESS, STATUS_REFUSED},
        {"ERR Error running script (call to f_3b): @user_script:1: @user_script: 1: "
         "The user executing the script can't run this command or subcommand",
         FAULT_ACCESS, STATUS_REFUSED},
        {"ERR Error running script (call to f_3b): @user_script:", FAULT_OTHER, STATUS_INTERNAL},
        {"ERR Unknown Redis command called from script script: 3b, on @user_script:1.",
         FAULT_ACCESS, STATUS_REFUSED},
        {"ERR ACL failure in script: User app has no permissions to run the 'sadd' command",
         FAULT_ACCESS, STATUS_REFUSED},
        {"ERR Error running script", FAULT_OTHER, STATUS_INTERNAL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum redis_fault fault = redis_fault_of(bytes_of(rows[i].text));
        assert_int_equal(fault, rows[i].fault);
        assert_int_equal(redis_fault_status(fault), rows[i].status);
    }
}

static void every_fault_has_a_row(void **state)
{
    (void)state;
    for (int i = 0; i < FAULT_COUNT; i++)
        assert_true(redis_fault_status((enum redis_fault)i) != STATUS_OK);
}

static void reads_targets(void **state)
{
    struct redis_target target;
    (void)state;
    assert_true(redis_fault_target(bytes_of("MOVED 3999 127.0.0.1:6381"), &target));
    assert_int_equal(target.slot, 3999);
    assert_string_equal(target.host, "127.0.0.1");
    assert_int_equal(target.port, 6381);
    assert_true(redis_fault_target(bytes_of("ASK 16383 ::1:65535"), &target));
    assert_string_equal(target.host, "::1");
    assert_true(redis_fault_target(bytes_of("MOVED 0 :7000"), &target));
    assert_string_equal(target.host, "");
}

static void refuses_garbled_targets(void **state)
{
    static const char *const texts[] = {
        "",
        "MOVED",
        "MOVED 1",
        "MOVED 1 ",
        "MOVED 1 host",
        "MOVED 1 h:",
        "MOVED 1 h:0",
        "MOVED 1 h:65536",
        "MOVED 1 h:7x",
        "MOVED 16384 h:1",
        "MOVED -1 h:1",
        "MOVED x h:1",
        "MOVED 1x h:1",
        "MOVED  1 h:1",
        "MOVED 1 h\r:1",
        "MOVED 1 h\x1b[2J:1",
        "MOVED 1 a/b:1",
    };
    char text[400];
    struct redis_target target;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (redis_fault_target(bytes_of(texts[i]), &target))
            fail_msg("%s was taken", texts[i]);
    memset(text, 'h', sizeof text);
    memcpy(text, "MOVED 1 ", 8);
    for (size_t len = 250; len < sizeof text; len++) {
        memcpy(text + len - 2, ":1", 2);
        assert_int_equal(redis_fault_target((struct bytes){(uint8_t *)text, len}, &target),
                         len - 10 < REDIS_HOST_MAX);
        memcpy(text + len - 2, "hh", 2);
    }
    assert_false(redis_fault_target((struct bytes){(const uint8_t *)"MOVED 1 h\0:1", 12}, &target));
}

static void shows_texts_safely(void **state)
{
    static const struct {
        const char *text, *shown;
    } rows[] = {
        {"ERR no\r\n\x1b[2J\x9b", "ERR no???[2J?"},
        {"", ""},
        {"ERR unknown command 'AUTH', with args beginning with: 'secret' ",
         "ERR unknown command 'AUTH'"},
    };
    char shown[REDIS_TEXT_MAX], text[4000];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(redis_fault_text(bytes_of(rows[i].text), shown, sizeof shown),
                            rows[i].shown);
    memset(text, 'x', sizeof text);
    redis_fault_text((struct bytes){(uint8_t *)text, sizeof text}, shown, sizeof shown);
    assert_int_equal(strlen(shown), sizeof shown - 1);
    assert_string_equal(redis_fault_text((struct bytes){(const uint8_t *)"a\0b", 3}, shown, 3),
                        "a?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classifies),         cmocka_unit_test(every_fault_has_a_row),
        cmocka_unit_test(reads_targets),      cmocka_unit_test(refuses_garbled_targets),
        cmocka_unit_test(shows_texts_safely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
