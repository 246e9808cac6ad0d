/*
 * lines - see lines.h. The supervisor; what it reads is gossip of children, so it is bounded and
 * only ever copied.
 */
#include "supervisor/lines.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/text.h"

enum { READS_AT_ONCE = 16, READS_AT_DEATH = 256 };

static unsigned long dropped;

void lines_open(struct lines *lines, int fd)
{
    lines->fd = fd;
    lines->len = 0;
}

static void hand_on(struct lines *lines, size_t end, lines_handler *handler, void *context)
{
    char line[LOG_LINE_MAX + 1];
    memcpy(line, lines->text, end);
    line[end] = '\0';
    handler(context, line);
}

/* Hands on each whole line in the text and keeps the rest. */
static void split(struct lines *lines, lines_handler *handler, void *context)
{
    char *newline;
    while ((newline = memchr(lines->text, '\n', lines->len))) {
        size_t end = (size_t)(newline - lines->text);
        hand_on(lines, end, handler, context);
        lines->len -= end + 1;
        memmove(lines->text, newline + 1, lines->len);
    }
    if (lines->len == sizeof lines->text) {
        hand_on(lines, lines->len, handler, context);
        lines->len = 0;
    }
}

/* Hands on the unfinished line and closes: at end of file there would be an event for ever. */
static void end(struct lines *lines, lines_handler *handler, void *context)
{
    if (lines->len > 0)
        hand_on(lines, lines->len, handler, context);
    close(lines->fd);
    lines_open(lines, -1);
}

static void read_some(struct lines *lines, unsigned reads, lines_handler *handler, void *context)
{
    while (reads-- > 0 && lines->fd >= 0) {
        ssize_t n = read(lines->fd, lines->text + lines->len, sizeof lines->text - lines->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            end(lines, handler, context);
        if (n <= 0)
            return;
        lines->len += (size_t)n;
        split(lines, handler, context);
    }
}

void lines_read(struct lines *lines, lines_handler *handler, void *context)
{
    read_some(lines, READS_AT_ONCE, handler, context);
}

void lines_close(struct lines *lines, lines_handler *handler, void *context)
{
    if (lines->fd < 0)
        return;
    read_some(lines, READS_AT_DEATH, handler, context);
    if (lines->fd >= 0)
        end(lines, handler, context);
}

/* False when standard error would make us wait. */
static bool write_error(const char *text, size_t len)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&out, 1, 0) != 1)
        return false;
    return write(STDERR_FILENO, text, len) >= 0;
}

void lines_relay(const char *line)
{
    char text[LOG_LINE_MAX + 8];
    if (dropped > 0) {
        int n =
            snprintf(text, sizeof text, "(%lu log lines of children were dropped here)\n", dropped);
        if (!write_error(text, (size_t)n)) {
            dropped++;
            return;
        }
        dropped = 0;
    }
    int prefix = snprintf(text, sizeof text, "%s", log_prefix(log_level_of(line)));
    snprintf(text + prefix, sizeof text - (size_t)prefix - 1, "%s", line);
    text_flatten(text + prefix); /* a reader of our log trusts us, not our children */
    int n = prefix + (int)strlen(text + prefix);
    text[n++] = '\n';
    if (!write_error(text, (size_t)n))
        dropped++;
}
