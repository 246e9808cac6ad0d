/* Answers to CLUSTER SLOTS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "store/redis/map.h"
#include "tests/unit/redis_resp.h"

struct seen {
    unsigned count;
    struct {
        unsigned first, last;
        char host[REDIS_HOST_MAX];
        uint16_t port;
    } rows[8];
};

static void note(void *context, unsigned first, unsigned last, const char *host, uint16_t port)
{
    struct seen *seen = context;
    assert_true(first <= last && last < 16384 && strlen(host) < REDIS_HOST_MAX);
    seen->rows[seen->count].first = first;
    seen->rows[seen->count].last = last;
    seen->rows[seen->count].port = port;
    snprintf(seen->rows[seen->count++].host, REDIS_HOST_MAX, "%s", host);
}

static unsigned read_map(const char *resp, struct seen *seen)
{
    redisReply *answer = resp_parse(resp, strlen(resp));
    *seen = (struct seen){0};
    unsigned count = redis_map_read(answer, note, seen);
    freeReplyObject(answer);
    assert_int_equal(count, seen->count);
    return count;
}

#define NODE(host, port) "*3\r\n" host ":" port "\r\n$2\r\nid\r\n"
#define HOST             "$9\r\n127.0.0.1\r\n"

static void reads_a_map(void **state)
{
    struct seen seen;
    (void)state;
    /* With replicas, with the metadata of Redis 7, and with a host that the node does not know. */
    assert_int_equal(
        read_map("*3\r\n"
                 "*4\r\n:0\r\n:5460\r\n" NODE(HOST, "7000")
                     NODE(HOST, "7003") "*3\r\n:5461\r\n:5461\r\n*4\r\n" HOST
                                        ":7001\r\n$2\r\nid\r\n*0\r\n"
                                        "*3\r\n:5462\r\n:16383\r\n" NODE("$-1\r\n", "65535"),
                 &seen),
        3);
    assert_int_equal(seen.rows[0].first, 0);
    assert_int_equal(seen.rows[0].last, 5460);
    assert_string_equal(seen.rows[0].host, "127.0.0.1");
    assert_int_equal(seen.rows[0].port, 7000);
    assert_int_equal(seen.rows[1].last, 5461);
    assert_string_equal(seen.rows[2].host, "");
    assert_int_equal(seen.rows[2].port, 65535);
}

static void leaves_out_what_is_garbled(void **state)
{
    static const char *const rows[] = {
        ":1\r\n",
        "$-1\r\n",
        "*0\r\n",
        "*2\r\n:0\r\n:1\r\n",
        "*3\r\n:1\r\n:0\r\n" NODE(HOST, "1"),
        "*3\r\n:-1\r\n:0\r\n" NODE(HOST, "1"),
        "*3\r\n:0\r\n:16384\r\n" NODE(HOST, "1"),
        "*3\r\n:0\r\n:9223372036854775807\r\n" NODE(HOST, "1"),
        "*3\r\n$1\r\n0\r\n:1\r\n" NODE(HOST, "1"),
        "*3\r\n:0\r\n:1\r\n$1\r\nx\r\n",
        "*3\r\n:0\r\n:1\r\n*1\r\n" HOST,
        "*3\r\n:0\r\n:1\r\n" NODE(HOST, "0"),
        "*3\r\n:0\r\n:1\r\n" NODE(HOST, "65536"),
        "*3\r\n:0\r\n:1\r\n*2\r\n" HOST "$1\r\n1\r\n",
        "*3\r\n:0\r\n:1\r\n*2\r\n:1\r\n:1\r\n",
    };
    struct seen seen;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char resp[400];
        snprintf(resp, sizeof resp, "*2\r\n%s*3\r\n:7\r\n:8\r\n" NODE(HOST, "9"), rows[i]);
        assert_int_equal(read_map(resp, &seen), 1);
        assert_int_equal(seen.rows[0].first, 7);
    }
    char text[512];
    snprintf(text, sizeof text, "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$300\r\n%0300d\r\n:1\r\n", 0);
    assert_int_equal(read_map(text, &seen), 0);
    assert_int_equal(read_map("*0\r\n", &seen), 0);
    assert_int_equal(read_map("+OK\r\n", &seen), 0);
    assert_int_equal(read_map("-ERR This instance has cluster support disabled\r\n", &seen), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_map),
        cmocka_unit_test(leaves_out_what_is_garbled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
