/*
 * Which requests may be carried out by where they come from.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "workers/http/access.h"

static bool cors;

static bool allowed(const char *hosts, const char *origins, bool loopback, const char *host,
                    const char *origin, bool cross_site)
{
    struct http_access access = {.hosts = hosts, .origins = origins};
    struct http_access_request request = {bytes_of(host), bytes_of(origin), cross_site, loopback};
    const char *first = http_access_check(&access, &request, &cors);
    const char *again = http_access_check(&access, &request, &cors);
    assert_ptr_equal(first, again);
    return !first;
}

static void test_hosts_on_loopback(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "localhost",
                                       "localhost:8081",
                                       "LOCALHOST:1",
                                       "localhost.",
                                       "127.0.0.1",
                                       "127.0.0.1:8081",
                                       "127.9.8.7:80",
                                       "[::1]",
                                       "[::1]:8081",
                                       "a.b.localhost",
                                       "strato",
                                       "strato:8081",
                                       "[::ffff:127.0.0.1]:8081"};
    static const char *const bad[] = {"evil.example",
                                      "evil.example:8081",
                                      "localhost.evil.example",
                                      "127.0.0.1.evil.example",
                                      "192.0.2.1",
                                      "10.0.0.1:8081",
                                      "[2001:db8::1]",
                                      "[::1",
                                      "[::1]x",
                                      "localhost:80x",
                                      "evil.example.",
                                      "a:b:c",
                                      "0.0.0.0",
                                      "[::]",
                                      "xlocalhost.evil.example"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!allowed("", "", true, good[i], "", false))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (allowed("", "", true, bad[i], "", false))
            fail_msg("allowed: %s", bad[i]);
        assert_true(allowed("", "", false, bad[i], "", false));
        assert_true(allowed("*", "", true, bad[i], "", false) || strchr("[al", bad[i][0]));
    }
}

static void test_named_hosts(void **state)
{
    (void)state;
    static const char names[] = "strato.example.org, *.internal.example.org";
    assert_true(allowed(names, "", true, "strato.example.org:8081", "", false));
    assert_true(allowed(names, "", true, "Strato.Example.Org", "", false));
    assert_true(allowed(names, "", true, "a.b.internal.example.org", "", false));
    assert_false(allowed(names, "", true, "internal.example.org", "", false));
    assert_false(allowed(names, "", true, "xstrato.example.org", "", false));
    assert_false(allowed(names, "", false, "evil.example", "", false));
    assert_true(allowed(names, "", false, "192.0.2.1:8081", "", false));
    assert_true(allowed(names, "", false, "localhost", "", false));
}

static void test_origins(void **state)
{
    (void)state;
    static const char app[] = "https://app.example.org http://localhost:3000";
    assert_true(allowed("", "", true, "localhost:8081", "http://localhost:8081", false));
    assert_false(cors);
    assert_true(allowed("", "", true, "localhost:8081", "HTTP://LocalHost:8081", false));
    assert_false(allowed("", "", true, "localhost:8081", "http://localhost:3000", false));
    assert_false(allowed("", "", true, "localhost:8081", "https://app.example.org", false));
    assert_false(allowed("", "", true, "localhost:8081", "null", false));
    assert_false(allowed("", "", true, "localhost:8081", "", true));
    assert_false(allowed("", "", true, "localhost:8081", "http://localhost:8081", true));
    assert_false(allowed("", "", false, "192.0.2.1", "https://app.example.org", false));
    assert_false(allowed("", "", true, "", "http://", false));
    assert_true(allowed("", app, true, "localhost:8081", "http://localhost:3000", true));
    assert_true(cors);
    assert_true(allowed("", app, false, "strato.example.org", "https://app.example.org", true));
    assert_false(allowed("", app, true, "localhost:8081", "https://app.example.org:444", true));
    assert_false(cors);
    assert_false(allowed("", app, true, "evil.example", "https://app.example.org", true));
    assert_false(allowed("", app, true, "localhost", "", true));
    assert_true(allowed("", "*", true, "localhost", "null", true));
}

/* A default port and the dot of the root may be written or not. */
static void test_one_site_by_several_texts(void **state)
{
    (void)state;
    static const struct {
        const char *host, *origin;
        bool same;
    } rows[] = {
        {"localhost:80", "http://localhost", true},
        {"localhost:443", "https://localhost", true},
        {"localhost", "http://localhost:80", true},
        {"localhost", "https://localhost:443", true},
        {"localhost:", "http://localhost", true},
        {"localhost.", "http://localhost", true},
        {"localhost", "http://localhost.", true},
        {"localhost.:8081", "http://localhost:8081", true},
        {"[::1]:80", "http://[::1]", true},
        {"[::1]", "HTTP://[::1]:80", true},
        {"localhost", "https://localhost", true},
        {"localhost:80", "https://localhost", false},
        {"localhost:443", "http://localhost", false},
        {"localhost", "https://localhost:80", false},
        {"localhost:8080", "http://localhost", false},
        {"localhost", "http://localhost:8080", false},
        {"localhost", "http://localhost:80:80", false},
        {"localhost", "http://localhost:80x", false},
        {"localhost", "http://a@localhost", false},
        {"localhost", "http://localhost/", false},
        {"localhost", "http:/localhost", false},
        {"localhost", "http:localhost", false},
        {"localhost", "ftp://localhost", false},
        {"localhost", "://localhost", false},
        {"localhost", "localhost", false},
        {"localhost:18446744073709551616", "http://localhost:0", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (allowed("", "", true, rows[i].host, rows[i].origin, false) != rows[i].same)
            fail_msg("%s, %s", rows[i].host, rows[i].origin);
    static const char lists[] = "https://a.example:443 http://b.example app://c null";
    assert_true(allowed("", lists, true, "localhost", "https://a.example", true));
    assert_true(cors);
    assert_true(allowed("", lists, true, "localhost", "https://A.example:443", true));
    assert_true(allowed("", lists, true, "localhost", "http://b.example:80", true));
    assert_true(allowed("", lists, true, "localhost", "app://c", true));
    assert_true(allowed("", lists, true, "localhost", "null", true));
    assert_false(allowed("", lists, true, "localhost", "http://a.example", true));
    assert_false(allowed("", lists, true, "localhost", "http://a.example:443", true));
    assert_false(allowed("", lists, true, "localhost", "https://b.example:80", true));
    assert_false(allowed("", lists, true, "localhost", "app://c:1", true));
    assert_false(allowed("", lists, true, "localhost", "*", true));
}

static void test_loopback(void **state)
{
    (void)state;
    struct sockaddr_storage address = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    v4->sin_family = AF_INET;
    inet_pton(AF_INET, "127.1.2.3", &v4->sin_addr);
    assert_true(http_access_is_loopback(&address));
    inet_pton(AF_INET, "0.0.0.0", &v4->sin_addr);
    assert_false(http_access_is_loopback(&address));
    v6->sin6_family = AF_INET6;
    inet_pton(AF_INET6, "::1", &v6->sin6_addr);
    assert_true(http_access_is_loopback(&address));
    inet_pton(AF_INET6, "::", &v6->sin6_addr);
    assert_false(http_access_is_loopback(&address));
    address.ss_family = AF_UNIX;
    assert_false(http_access_is_loopback(&address));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts_on_loopback), cmocka_unit_test(test_named_hosts),
        cmocka_unit_test(test_origins),           cmocka_unit_test(test_one_site_by_several_texts),
        cmocka_unit_test(test_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
