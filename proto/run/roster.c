/*
 * roster - see roster.h. The supervisor writes, HTTP workers read.
 *
 * A failed write is tried again with the next change; a reader then sees the roster as unfinished.
 */
#include "proto/run/roster.h"

#include <unistd.h>

#include "proto/base/os.h"

enum { READ_TRIES = 100 };

static bool put(int fd, const void *data, size_t len, size_t offset)
{
    return pwrite(fd, data, len, (off_t)offset) == (ssize_t)len;
}

static bool get(int fd, void *data, size_t len, size_t offset)
{
    return pread(fd, data, len, (off_t)offset) == (ssize_t)len;
}

int roster_create(void)
{
    int fd = os_memfd("strato-roster");
    if (fd >= 0 && ftruncate(fd, sizeof(struct roster)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

void roster_write(int fd, struct roster *last, const struct roster *roster)
{
    struct roster next = *roster;
    next.magic = ROSTER_MAGIC;
    next.version = ROSTER_VERSION;
    next.round = last->round;
    if (memcmp(last, &next, sizeof next) == 0)
        return;
    const size_t at = offsetof(struct roster, round);
    uint64_t even = last->round + 2;
    next.round = last->round + 1;
    if (!put(fd, &next.round, sizeof next.round, at) || !put(fd, &next, sizeof next, 0) ||
        !put(fd, &even, sizeof even, at))
        return;
    *last = next;
    last->round = even;
}

static bool read_once(int fd, struct roster *roster)
{
    uint64_t after;
    return get(fd, roster, sizeof *roster, 0) &&
           get(fd, &after, sizeof after, offsetof(struct roster, round)) &&
           roster->round % 2 == 0 && roster->round == after;
}

bool roster_read(int fd, struct roster *roster_r)
{
    bool done = false;
    for (int i = 0; i < READ_TRIES && !done; i++)
        done = read_once(fd, roster_r);
    if (!done || roster_r->magic != ROSTER_MAGIC || roster_r->version != ROSTER_VERSION ||
        roster_r->count > ROSTER_ROWS)
        return false;
    for (uint32_t i = 0; i < roster_r->count; i++)
        roster_r->rows[i].name[RUN_NAME_MAX - 1] = '\0';
    return true;
}
