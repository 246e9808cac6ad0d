/*
 * views - what stratoctl shows: the processes (status.c), the figures (stats.c).
 */
#ifndef STRATO_SUPERVISOR_STRATOCTL_VIEWS_H
#define STRATO_SUPERVISOR_STRATOCTL_VIEWS_H

#include <stdbool.h>

struct options {
    const char *socket;
    bool json;
    bool watch; /* again every second */
};

/* Each returns the exit status. */
int view_status(const struct options *options);
int view_stats(const struct options *options);

#endif
