/*
 * Tests of proto/run/roster.c: what was written is read; what is not whole is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/run/roster.h"

static struct roster roster, last, seen;
static int fd;

static int open_one(void **state)
{
    (void)state;
    memset(&last, 0, sizeof last);
    roster = (struct roster){.count = 2};
    strcpy(roster.rows[0].name, "stratod");
    strcpy(roster.rows[1].name, "http-0");
    roster.rows[1].pid = 12;
    roster.rows[1].restarts = 3;
    fd = roster_create();
    return fd < 0;
}

static int close_one(void **state)
{
    (void)state;
    return close(fd);
}

static void change(size_t offset, uint32_t value)
{
    assert_int_equal(pwrite(fd, &value, sizeof value, (off_t)offset), sizeof value);
}

static void reads_what_was_written(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        roster.rows[1].deaths++;
        roster_write(fd, &last, &roster);
        assert_true(roster_read(fd, &seen));
        assert_int_equal(seen.count, 2);
        assert_memory_equal(seen.rows, roster.rows, sizeof roster.rows);
    }
}

static void writes_only_what_is_new(void **state)
{
    (void)state;
    roster_write(fd, &last, &roster);
    change(offsetof(struct roster, rows), 7); /* would be overwritten */
    roster_write(fd, &last, &roster);
    assert_true(roster_read(fd, &seen));
    assert_memory_equal(seen.rows[0].name, "\7\0\0", 4);
}

static void refuses_what_is_not_whole(void **state)
{
    (void)state;
    assert_false(roster_read(fd, &seen)); /* nothing was written yet */
    assert_false(roster_read(-1, &seen));
    roster_write(fd, &last, &roster);
    change(offsetof(struct roster, round), 1);
    assert_false(roster_read(fd, &seen));
    change(offsetof(struct roster, round), 2);
    assert_true(roster_read(fd, &seen));
    change(offsetof(struct roster, version), ROSTER_VERSION + 1);
    assert_false(roster_read(fd, &seen));
    change(offsetof(struct roster, version), ROSTER_VERSION);
    change(offsetof(struct roster, count), ROSTER_ROWS + 1);
    assert_false(roster_read(fd, &seen));
    change(offsetof(struct roster, count), 1);
    assert_true(roster_read(fd, &seen));
    assert_int_equal(ftruncate(fd, sizeof roster - 1), 0);
    assert_false(roster_read(fd, &seen));
}

static void ends_every_name(void **state)
{
    (void)state;
    memset(roster.rows[0].name, 'x', RUN_NAME_MAX);
    roster_write(fd, &last, &roster);
    assert_true(roster_read(fd, &seen));
    assert_int_equal(strlen(seen.rows[0].name), RUN_NAME_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_what_was_written, open_one, close_one),
        cmocka_unit_test_setup_teardown(writes_only_what_is_new, open_one, close_one),
        cmocka_unit_test_setup_teardown(refuses_what_is_not_whole, open_one, close_one),
        cmocka_unit_test_setup_teardown(ends_every_name, open_one, close_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
