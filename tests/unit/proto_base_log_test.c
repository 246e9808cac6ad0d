/*
 * log: one event is one line, as text or as JSON, whatever the message holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"

/* What write() logs, caught on a pipe in place of standard error. */
static char caught[4 * LOG_LINE_MAX];

static void catch_log(void (*write)(void))
{
    int ends[2];
    int saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_true(saved >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    write();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    ssize_t len = read(ends[0], caught, sizeof caught - 1);
    close(ends[0]);
    caught[len > 0 ? len : 0] = '\0';
}

static void write_awkward(void)
{
    log_info("quote \" backslash \\ newline \n escape \033 high \xff end");
}

static void text_is_one_line(void **state)
{
    (void)state;
    log_open("unit-0", LOG_INFO, false);
    catch_log(write_awkward);
    assert_non_null(strstr(caught, "info  unit-0["));
    assert_non_null(strstr(caught, "newline   escape   high"));
    assert_ptr_equal(strchr(caught, '\n'), caught + strlen(caught) - 1);
}

static void json_is_one_escaped_line(void **state)
{
    (void)state;
    log_open("unit-0", LOG_INFO, true);
    catch_log(write_awkward);
    assert_int_equal(caught[0], '{');
    assert_non_null(strstr(caught, "\"level\":\"info\",\"process\":\"unit-0\",\"pid\":"));
    assert_non_null(strstr(caught, "\"message\":\"quote \\\" backslash \\\\ newline"));
    assert_non_null(strstr(caught, "high \\u00ff end\"}\n"));
    assert_ptr_equal(strchr(caught, '\n'), caught + strlen(caught) - 1);
}

static void write_debug(void)
{
    log_debug(" warn and error");
}

static void write_info(void)
{
    log_info(" warn and error");
}

static void write_warn(void)
{
    log_warn(" info and debug");
}

static void write_error(void)
{
    log_error("{\"level\":\"info\"");
}

static void a_line_tells_its_level(void **state)
{
    (void)state;
    for (int json = 0; json < 2; json++) {
        log_open("unit-0", LOG_DEBUG, json);
        catch_log(write_debug);
        assert_int_equal(log_level_of(caught), LOG_DEBUG);
        catch_log(write_info);
        assert_int_equal(log_level_of(caught), LOG_INFO);
        catch_log(write_warn);
        assert_int_equal(log_level_of(caught), LOG_WARN);
        catch_log(write_error);
        assert_int_equal(log_level_of(caught), LOG_ERROR);
    }
    assert_int_equal(log_level_of(""), LOG_WARN);
    assert_int_equal(log_level_of("terminate called after info "), LOG_WARN);
    assert_int_equal(log_level_of("{\"time\":"), LOG_WARN);
}

static void write_long(void)
{
    log_error("%0*d", 3 * LOG_LINE_MAX, 7);
}

static void write_long_escapes(void)
{
    char text[LOG_LINE_MAX];
    memset(text, '"', sizeof text);
    text[sizeof text - 1] = '\0';
    log_error("%s", text);
}

static void a_line_has_a_longest_length(void **state)
{
    (void)state;
    for (int json = 0; json < 2; json++) {
        log_open("unit-0", LOG_INFO, json);
        catch_log(write_long);
        assert_true(strlen(caught) <= LOG_LINE_MAX);
        assert_int_equal(caught[strlen(caught) - 1], '\n');
        catch_log(write_long_escapes);
        assert_true(strlen(caught) <= LOG_LINE_MAX);
        assert_int_equal(caught[strlen(caught) - 1], '\n');
        if (json)
            assert_string_equal(caught + strlen(caught) - 3, "\"}\n");
    }
}

static void write_all_levels(void)
{
    log_debug("a");
    log_info("b");
    log_warn("c");
    log_error("d");
}

static void levels_below_the_threshold_are_silent(void **state)
{
    (void)state;
    log_open("unit-0", LOG_WARN, false);
    assert_int_equal(log_level(), LOG_WARN);
    catch_log(write_all_levels);
    assert_null(strstr(caught, ": b\n"));
    assert_non_null(strstr(caught, ": c\n"));
    assert_non_null(strstr(caught, ": d\n"));
    log_set_level(LOG_DEBUG);
    catch_log(write_all_levels);
    assert_non_null(strstr(caught, ": a\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_one_line),
        cmocka_unit_test(json_is_one_escaped_line),
        cmocka_unit_test(a_line_tells_its_level),
        cmocka_unit_test(a_line_has_a_longest_length),
        cmocka_unit_test(levels_below_the_threshold_are_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
