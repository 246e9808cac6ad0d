/* redis:// URLs in their parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/conf/url.h"

static void takes_what_is_right(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
        const char *user, *password;
    } rows[] = {
        {"redis://127.0.0.1:6379", "127.0.0.1", 6379, "", ""},
        {"localhost:1", "localhost", 1, "", ""},
        {"redis://[::1]:65535", "::1", 65535, "", ""},
        {"redis://app:secret@host.example:6380", "host.example", 6380, "app", "secret"},
        {"redis://:secret@h:1", "h", 1, "", "secret"},
        {"redis://u:a:b@c@h:1", "h", 1, "u", "a:b@c"},
        {"redis://%75%3a:%40%2F%25@h:1", "h", 1, "u:", "@/%"},
        {"u:p@[fe80::1]:7", "fe80::1", 7, "u", "p"},
        {"[fe80::1%eth0]:7", "fe80::1%eth0", 7, "", ""},
        {":%7B{%24a$b@my_host-1:7", "my_host-1", 7, "", "{{$a$b"},
        {":$lower$@h:7", "h", 7, "", "$lower$"},
    };
    struct conf_url url;
    const char *why;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_true(conf_url_parse(rows[i].text, &url, &why));
        assert_string_equal(url.host, rows[i].host);
        assert_int_equal(url.port, rows[i].port);
        assert_string_equal(url.user, rows[i].user);
        assert_string_equal(url.password, rows[i].password);
    }
}

static void refuses_what_is_wrong(void **state)
{
    static const char *const texts[] = {
        "",
        "redis://",
        "host",
        ":6379",
        "host:",
        "host:0",
        "host:65536",
        "host:-1",
        "host:1x",
        "host: 1",
        "[]:1",
        "user@host:1",
        "u:%@h:1",
        "u:%4@h:1",
        "u:%4",
        "u:%00@h:1",
        "u:%zz@h:1",
        "u%0:p@h:1",
        "u:p@:1",
        /* taken by the letter */
        "{{host}}:1",
        "$HOST:1",
        "h:1 # remark",
        "'h:1",
        "u:{{ p }}@h:1",
        "u:$PASSWORD@h:1",
        "$USER:p@h:1",
        "h/2:1",
        "a b:1",
        "<host>:1",
        ":100%sure@h:6379",
        "redis://:100%sure@h:6379",
    };
    struct conf_url url;
    const char *why;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (conf_url_parse(texts[i], &url, &why))
            fail_msg("%s was taken", texts[i]);
}

static void takes_nothing_too_long(void **state)
{
    char text[2 * CONF_TEXT_MAX];
    struct conf_url url;
    const char *why;
    (void)state;
    memset(text, 'h', sizeof text);
    memcpy(text + sizeof text - 3, ":1", 3);
    assert_false(conf_url_parse(text, &url, &why));
    assert_true(conf_url_parse(text + sizeof text - CONF_TEXT_MAX, &url, &why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_is_right),
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(takes_nothing_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
