/*
 * views - what stratoctl does beyond passing words on: shows the processes (status.c) and the
 * figures (figures.c), fetches a copy of the database (backup.c).
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
int view_figures(const struct options *options);
int view_backup(const struct options *options, const char *path);

#endif
