/* Values of strato.ini: what each type takes, and what it says to the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <unistd.h>

#include "proto/conf/conf.h"

static struct conf conf;

static int reset(void **state)
{
    (void)state;
    conf_defaults(&conf, false);
    return 0;
}

static void take(const char *section, const char *key, const char *value)
{
    struct buffer problems = {0};
    if (conf_set(&conf, section, key, value, "test", &problems) != STATUS_OK)
        fail_msg("%s = %s: %.*s", key, value, (int)problems.len, (char *)problems.data);
    assert_int_equal(problems.len, 0);
}

static void refuse(const char *section, const char *key, const char *value, const char *text)
{
    struct buffer problems = {0};
    assert_int_not_equal(conf_set(&conf, section, key, value, "test", &problems), STATUS_OK);
    buffer_append(&problems, "", 1);
    assert_string_equal((char *)problems.data, text);
    buffer_free(&problems);
}

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"4194304", 4194304},   {"8192K", 8388608},  {"4M", 4194304},
                {"5m", 5242880},        {"1 G", 1073741824}, {"2T", 2199023255552},
                {"16T", 17592186044416}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        take("memory", "size", good[i].text);
        assert_int_equal(conf.memory_size, good[i].bytes);
    }
    static const char *const bad[] = {"",
                                      "M",
                                      "-4M",
                                      "+4M",
                                      "4.5M",
                                      "4MB",
                                      "0x400000",
                                      "3M",
                                      "4194303",
                                      "17T",
                                      "1E9",
                                      "18446744073709551616",
                                      "18446744073709551615T",
                                      "4M 4M",
                                      "M4"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse("memory", "size", bad[i],
               "test: must be auto or a size (bytes, or with K, M, G or T) from 4M to 16T\n");
}

static void times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"1ms", 1},     {"250ms", 250},  {"5s", 5000},
                {"2m", 120000}, {"1h", 3600000}, {"3600 s", 3600000}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        take("strato", "request_timeout", good[i].text);
        assert_int_equal(conf.request_timeout_ms, good[i].ms);
    }
    static const char *const bad[] = {"5", "0ms", "0s",  "2h",          "1d",
                                      "s", "-1s", "5ss", "99999999999h"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse("strato", "request_timeout", bad[i],
               "test: must be a time with its unit (ms, s, m or h) from 1ms to 1h\n");
}

static void bools(void **state)
{
    (void)state;
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};
    for (size_t i = 0; i < 4; i++) {
        take("redis", "cluster", yes[i]);
        assert_true(conf.redis_cluster);
        take("redis", "cluster", no[i]);
        assert_false(conf.redis_cluster);
    }
    refuse("redis", "cluster", "maybe",
           "test: must be yes or no (also true, false, on, off, 1, 0)\n");
    refuse("redis", "cluster", "", "test: must be yes or no (also true, false, on, off, 1, 0)\n");
}

static void words(void **state)
{
    (void)state;
    take("strato", "log_level", "error");
    assert_int_equal(conf.log_level, LOG_ERROR);
    take("strato", "log_format", "json");
    assert_true(conf.log_json);
    take("disk", "sync", "interval");
    assert_int_equal(conf.disk_sync, SYNC_INTERVAL);
    refuse("strato", "log_level", "loud", "test: must be debug, info, warn or error\n");
    refuse("strato", "log_format", "xml", "test: must be text or json\n");
    refuse("disk", "sync", "Off", "test: must be commit, interval or off\n");
    refuse("strato", "backend", "mongo", "test: must be memory, disk or redis\n");
}

static void workers(void **state)
{
    (void)state;
    take("http", "workers", "32");
    assert_int_equal(conf.http.workers, 32);
    take("http", "workers", "auto");
    assert_in_range(conf.http.workers, 1, 32);
    refuse("http", "workers", "0", "test: must be auto or a number from 1 to 32\n");
    refuse("http", "workers", "33", "test: must be auto or a number from 1 to 32\n");
    refuse("http", "workers", "two", "test: must be auto or a number from 1 to 32\n");
    refuse("http", "max_connections", "0", "test: must be a number from 1 to 1000000\n");
    refuse("http", "max_connections", "10K", "test: must be a number from 1 to 1000000\n");
}

static void addresses(void **state)
{
    (void)state;
    struct sockaddr_storage address;
    static const char *const good[] = {"127.0.0.1:0", "0.0.0.0:65535", "[::1]:8081", "[::]:1"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        take("http", "listen", good[i]);
    assert_int_equal(conf_address("[::1]:8081", &address), sizeof(struct sockaddr_in6));
    assert_int_equal(ntohs(((struct sockaddr_in6 *)&address)->sin6_port), 8081);
    assert_int_equal(conf_address("127.0.0.1:8081", &address), sizeof(struct sockaddr_in));
    assert_int_equal(ntohs(((struct sockaddr_in *)&address)->sin_port), 8081);
    static const char *const bad[] = {
        "",           "8081",          ":8081",           "localhost:80", "127.0.0.1",
        "127.0.0.1:", "::1:80",        "127.0.0.1:65536", "[::1]",        "[::1:80",
        "[]:80",      "127.0.0.1:80x", "1.2.3.4.5:1",     "127.0.0.1:-1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse("http", "listen", bad[i],
               "test: must be ADDRESS:PORT in numbers, such as 127.0.0.1:8081, 0.0.0.0:8081 or "
               "[::1]:8081, or "
               "unix:/PATH of at most 107 bytes; several with commas between them\n");
}

/* What could match no Host or Origin is refused. */
static void hosts_and_origins(void **state)
{
    (void)state;
    static const char *const good_hosts[] = {"*", "a", "strato.example.org, *.test", "192.0.2.1",
                                             "[::1] a_b-c.example"};
    static const char *const bad_hosts[] = {
        ".example.com", "x..com",   "example.com.", "*.",       "*..com", "*.x.", "a*",
        "a:80",         "http://a", "a, .b",        "[::1]:80", "a/b",    "**.a", "[example.org]"};
    static const char *const good_origins[] = {"*",
                                               "null",
                                               "https://x.com:443",
                                               "http://localhost:3000 https://x.com",
                                               "http://[::1]:80",
                                               "http://[::1]",
                                               "app://localhost",
                                               "https://x.com:65535"};
    static const char *const bad_origins[] = {"https://x.com:abc", "https://x.com:99999",
                                              "https://x.com:0",   "https://x.com:",
                                              "https://x.com/",    "https://x..com",
                                              "https://.x.com",    "https://:80",
                                              "https://*.x.com",   "https://a@x.com",
                                              "https://x.com:1:2", "x.com",
                                              "://x.com",          "https://",
                                              "https://x.com:-1",  "https://[::1",
                                              "https://[::1]x:80", "https://x.com:443x",
                                              "a/b://x.com"};
    for (size_t i = 0; i < sizeof good_hosts / sizeof good_hosts[0]; i++)
        take("http", "allowed_hosts", good_hosts[i]);
    for (size_t i = 0; i < sizeof bad_hosts / sizeof bad_hosts[0]; i++)
        refuse("http", "allowed_hosts", bad_hosts[i],
               "test: must be names without scheme and port, such as strato.example.org, "
               "*.example.org (all names below that) or *\n");
    for (size_t i = 0; i < sizeof good_origins / sizeof good_origins[0]; i++)
        take("http", "allowed_origins", good_origins[i]);
    for (size_t i = 0; i < sizeof bad_origins / sizeof bad_origins[0]; i++)
        refuse("http", "allowed_origins", bad_origins[i],
               "test: must be origins of web pages, such as https://app.example.org or "
               "http://localhost:3000 (port 1 to 65535), or *\n");
}

static void urls(void **state)
{
    (void)state;
    static const char *const good[] = {"redis://127.0.0.1:6379", "localhost:6379",
                                       "redis://user:p@ss:w/rd@host.example:1",
                                       "redis://:secret@[::1]:6379"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        take("redis", "url", good[i]);
    /* What may hold a password is never repeated. */
    static const char *const bad[] = {"",
                                      "redis://",
                                      "http://h:1",
                                      "redis://h",
                                      "redis://h:0",
                                      "redis://secret@h:1",
                                      "redis://h:1/2",
                                      "redis://:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse("redis", "url", bad[i], "test: must be redis://[user:password@]host:port\n");
}

static void paths(void **state)
{
    (void)state;
    char here[CONF_TEXT_MAX], expected[2 * CONF_TEXT_MAX], longest[CONF_TEXT_MAX + 1];
    assert_non_null(getcwd(here, sizeof here));
    take("strato", "run_dir", "./a/b");
    snprintf(expected, sizeof expected, "%s/a/b", here);
    assert_string_equal(conf.run_dir, expected);
    take("strato", "run_dir", "/x");
    assert_string_equal(conf.run_dir, "/x");
    refuse("strato", "run_dir", "", "test: must not be empty\n");
    memset(longest, 'a', CONF_TEXT_MAX);
    longest[CONF_TEXT_MAX] = '\0';
    refuse("strato", "run_dir", longest, "test: is too long: at most 511 bytes\n");
}

static void environment(void **state)
{
    (void)state;
    setenv("STRATO_TEST_NAME", "one ${STRATO_TEST_NAME}", 1);
    setenv("STRATO_TEST_EMPTY", "", 1);
    take("disk", "path", "/a/${STRATO_TEST_NAME}/${STRATO_TEST_EMPTY}b$c");
    assert_string_equal(conf.disk_path, "/a/one ${STRATO_TEST_NAME}/b$c");
    take("disk", "path", "/$${x}/$$${y}");
    assert_string_equal(conf.disk_path, "/${x}/$${y}");
    unsetenv("STRATO_TEST_NONE");
    refuse("disk", "path", "/a/${STRATO_TEST_NONE}",
           "test: needs the environment variable STRATO_TEST_NONE, which is not set\n");
    static const char *const bad[] = {"${",   "${}", "${1A}", "${A B}", "${STRATO_TEST_NAME",
                                      "a${-}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse("disk", "path", bad[i],
               "test: has ${ without a NAME} behind it (a plain ${ is written $${)\n");
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    setenv("STRATO_TEST_NAME", big, 1);
    refuse("disk", "path", "${STRATO_TEST_NAME}", "test: is too long: at most 511 bytes\n");
    setenv("STRATO_TEST_NAME", "a\nb", 1);
    refuse("disk", "path", "${STRATO_TEST_NAME}", "test: must not contain control characters\n");
    setenv("STRATO_TEST_NAME", "a ;b", 1);
    refuse("disk", "path", "${STRATO_TEST_NAME}",
           "test: must not contain a ; behind a blank: it begins a comment\n");
}

static void unknown(void **state)
{
    (void)state;
    refuse("http", "lsten", "x", "test: unknown key lsten in [http]; did you mean listen?\n");
    refuse("http", "path", "x", "test: unknown key path in [http]; it belongs to [disk]\n");
    refuse("memory", "listen", "x",
           "test: unknown key listen in [memory]; it belongs to [http] or [grpc]\n");
    refuse("memory", "zzz", "x", "test: unknown key zzz in [memory]; there are size\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sizes, reset),
        cmocka_unit_test_setup(times, reset),
        cmocka_unit_test_setup(bools, reset),
        cmocka_unit_test_setup(words, reset),
        cmocka_unit_test_setup(workers, reset),
        cmocka_unit_test_setup(addresses, reset),
        cmocka_unit_test_setup(hosts_and_origins, reset),
        cmocka_unit_test_setup(urls, reset),
        cmocka_unit_test_setup(paths, reset),
        cmocka_unit_test_setup(environment, reset),
        cmocka_unit_test_setup(unknown, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
