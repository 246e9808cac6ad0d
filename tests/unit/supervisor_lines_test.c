/* Lines from a child's pipe: whole, bounded, none lost at its death. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/lines.h"

static char seen[65536];
static unsigned count;

static void take(void *context, char *line)
{
    assert_ptr_equal(context, seen);
    strncat(seen, line, sizeof seen - strlen(seen) - 2);
    strcat(seen, "|");
    count++;
}

static int open_pipe(struct lines *lines)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    lines_open(lines, ends[0]);
    *seen = '\0';
    count = 0;
    return ends[1];
}

static void put(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void splits(void **state)
{
    (void)state;
    static struct lines lines;
    int fd = open_pipe(&lines);
    put(fd, "one\ntw");
    lines_read(&lines, take, seen);
    assert_string_equal(seen, "one|");
    put(fd, "o\n\nthree\nfour");
    lines_read(&lines, take, seen);
    assert_string_equal(seen, "one|two||three|");
    close(fd);
    lines_close(&lines, take, seen);
    assert_string_equal(seen, "one|two||three|four|");
    assert_int_equal(lines.fd, -1);
    lines_close(&lines, take, seen);
    assert_int_equal(count, 5);
}

static void end_of_file_closes(void **state)
{
    (void)state;
    static struct lines lines;
    int fd = open_pipe(&lines);
    put(fd, "last words");
    close(fd);
    lines_read(&lines, take, seen);
    assert_string_equal(seen, "last words|");
    assert_int_equal(lines.fd, -1);
    lines_read(&lines, take, seen);
}

static void long_lines_come_in_pieces(void **state)
{
    (void)state;
    static struct lines lines;
    char piece[1001];
    int fd = open_pipe(&lines);
    memset(piece, 'x', 1000);
    piece[1000] = '\0';
    for (int i = 0; i < 9; i++)
        put(fd, piece);
    put(fd, "\n");
    lines_read(&lines, take, seen);
    assert_int_equal(count, 5);
    assert_int_equal(strlen(seen), 9000 + 5);
    close(fd);
    lines_close(&lines, take, seen);
    assert_int_equal(count, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(splits),
                                       cmocka_unit_test(end_of_file_closes),
                                       cmocka_unit_test(long_lines_come_in_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
