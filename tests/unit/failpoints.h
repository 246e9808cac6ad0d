/*
 * failpoints - has this process end at a failpoint (proto/base/failpoint.h), for unit tests that
 * kill.
 */
#ifndef STRATO_TESTS_UNIT_FAILPOINTS_H
#define STRATO_TESTS_UNIT_FAILPOINTS_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/failpoint.h"

/* It ends when it comes to the point for the count-th time. process: the name that it goes by. */
static inline void failpoints_arm(const char *process, const char *point, int count)
{
    char path[] = "/tmp/strato-failpoint-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "%s %s %d\n", process, point, count);
    close(fd);
    setenv("STRATO_FAILPOINT", path, 1);
    failpoint_arm(process);
}

#endif
