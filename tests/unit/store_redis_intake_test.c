/* Bytes as answers, in every way of cutting them, within bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/redis/intake.h"

enum { LIMIT = 4000, STRING_MAX = 100 };

/* Feeds text in pieces of so many bytes; each answer adds a letter to seen: i(nteger), s(tring),
 * n(il), a(rray), + or -, and ! for one that was too large; # when it is broken, and then no more.
 */
static void feed(const char *text, size_t len, size_t piece, char *seen, size_t size)
{
    struct redis_intake intake;
    size_t count = 0;
    bool broken = false;
    redis_intake_open(&intake, LIMIT, STRING_MAX);
    for (size_t at = 0; at < len && !broken; at += piece) {
        enum redis_intake_result result;
        redisReply *answer;
        redis_intake_feed(&intake, text + at, len - at < piece ? len - at : piece);
        while ((result = redis_intake_next(&intake, &answer)) == INTAKE_ANSWER) {
            bool over = answer->type == REDIS_REPLY_ERROR && !strncmp(answer->str, "TOOLARGE ", 9);
            assert_true(count + 2 < size);
            seen[count++] = over ? '!' : "?sain+-"[answer->type];
            redis_intake_free(answer);
        }
        assert_true(intake.used <= LIMIT);
        broken = result == INTAKE_BROKEN;
    }
    if (broken)
        seen[count++] = '#';
    if (broken)
        assert_true(strlen(redis_intake_error(&intake)) > 0);
    seen[count] = '\0';
    redis_intake_close(&intake);
    redis_intake_close(&intake); /* twice is harmless */
}

/* The same whatever the pieces. */
static void expect(const char *text, size_t len, const char *expected)
{
    char seen[200];
    const size_t pieces[] = {1, 2, 3, 5, 7, 64, 101, 1000, 16384, 1 << 20};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        feed(text, len, pieces[i], seen, sizeof seen);
        assert_string_equal(seen, expected);
    }
}

static void expect_text(const char *text, const char *expected)
{
    expect(text, strlen(text), expected);
}

static void takes_what_is_within_bounds(void **state)
{
    (void)state;
    expect_text(":1\r\n+OK\r\n-ERR no\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n",
                "i+-snnas");
    expect_text("*2\r\n*2\r\n:1\r\n$1\r\nx\r\n$-1\r\n:7\r\n", "ai");
    expect_text("", "");
    expect_text("*3\r\n:1\r\n", "");
}

static char *repeat(const char *head, const char *text, unsigned times, const char *tail,
                    size_t *len_r)
{
    size_t len = strlen(text);
    char *all = malloc(strlen(head) + len * times + strlen(tail) + 1);
    char *at = stpcpy(all, head);
    assert_non_null(all);
    for (unsigned i = 0; i < times; i++)
        at = stpcpy(at, text);
    at = stpcpy(at, tail);
    *len_r = (size_t)(at - all);
    return all;
}

static void expect_repeated(const char *head, const char *text, unsigned times, const char *tail,
                            const char *expected)
{
    size_t len;
    char *all = repeat(head, text, times, tail, &len);
    expect(all, len, expected);
    free(all);
}

static void drops_what_is_too_large_and_goes_on(void **state)
{
    (void)state;
    expect_repeated(":1\r\n$100\r\n", "0123456789", 10, "\r\n:2\r\n", "isi");
    expect_repeated("*1000\r\n", "$1\r\nx\r\n", 1000, ":2\r\n", "!i");
    expect_repeated("*1000\r\n", "*1\r\n:1\r\n", 1000, ":2\r\n", "!i");
    expect_repeated("*39\r\n", ":1\r\n", 39, ":2\r\n", "!i");
    expect_repeated("*20\r\n", ":1\r\n", 20, ":2\r\n", "ai");
    expect_repeated("*1\r\n*1000\r\n", "$-1\r\n", 1000, ":2\r\n", "!i");
}

/* One that is too long is dropped when it comes in pieces; who sees all of it at once may keep it,
 * for the bytes are there already. */
static void drops_strings_by_their_length(void **state)
{
    char seen[50];
    size_t len;
    char *all = repeat("$3000\r\n", "0123456789", 300, "\r\n:2\r\n", &len);
    (void)state;
    for (size_t piece = 1; piece < 3000; piece += 7) {
        feed(all, len, piece, seen, sizeof seen);
        assert_string_equal(seen, "!i");
    }
    free(all);
    all = repeat("*3\r\n:1\r\n$5000\r\n", "0123456789", 500, "\r\n$1\r\nx\r\n:2\r\n", &len);
    expect(all, len, "!i");
    free(all);
    all = repeat("*2\r\n$5000\r\n", "0123456789", 500, "\r\n$5000\r\n", &len);
    expect(all, len, "!"); /* the second need not come */
    free(all);
}

/* Its length alone is enough. */
static void does_not_wait_for_what_is_announced(void **state)
{
    struct redis_intake intake;
    redisReply *answer;
    (void)state;
    redis_intake_open(&intake, LIMIT, STRING_MAX);
    const char text[] = "$9223372036854775807\r\nabc";
    redis_intake_feed(&intake, text, sizeof text - 1);
    assert_int_equal(redis_intake_next(&intake, &answer), INTAKE_ANSWER);
    assert_int_equal(answer->type, REDIS_REPLY_ERROR);
    redis_intake_free(answer);
    for (int i = 0; i < 1000; i++) {
        redis_intake_feed(&intake, text, sizeof text - 1);
        assert_int_equal(redis_intake_next(&intake, &answer), INTAKE_MORE);
        assert_true(intake.reader->len < 100);
    }
    redis_intake_close(&intake);
}

static void large_lists_that_never_come_cost_nothing(void **state)
{
    char seen[50];
    (void)state;
    expect_text("*2147483647\r\n:1\r\n", "");
    feed("*2147483647\r\n*2147483647\r\n*2147483647\r\n:1\r\n", 43, 5, seen, sizeof seen);
    assert_string_equal(seen, "");
}

static void breaks_at_what_has_no_end(void **state)
{
    static const char *const texts[] = {
        "x",        "\r\n",     "*x\r\n", "$x\r\n",          ":x\r\n",
        "$-2\r\n",  "*-2\r\n",  "*\r\n",  "*2147483648\r\n", "$9223372036854775808\r\n",
        "$1 2\r\n", "HTTP/1.1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char text[100];
        snprintf(text, sizeof text, ":1\r\n%s", texts[i]);
        expect_text(text, "i#");
    }
    for (const char *head = "+-:"; *head; head++) {
        const char text[] = {*head, '\0'};
        size_t len;
        char seen[50], *all = repeat(text, "0123456789", REDIS_LINE_MAX / 10 + 2, "", &len);
        feed(all, len, 1000, seen, sizeof seen);
        assert_string_equal(seen, "#");
        free(all);
    }
    expect_repeated("$", "1", 40, "", "#");
    expect_repeated("*", "1", 40, "", "#");
    expect_repeated("", "*1\r\n", 20, "", "#"); /* too deep */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_is_within_bounds),
        cmocka_unit_test(drops_what_is_too_large_and_goes_on),
        cmocka_unit_test(drops_strings_by_their_length),
        cmocka_unit_test(does_not_wait_for_what_is_announced),
        cmocka_unit_test(large_lists_that_never_come_cost_nothing),
        cmocka_unit_test(breaks_at_what_has_no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
