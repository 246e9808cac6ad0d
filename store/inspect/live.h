/*
 * live - finds the shared memory of running processes: /proc/PID/fd has a link to each memfd, by
 * the name that stratod gave it ("strato-arena-disk", "strato-channel-disk-3").
 *
 * Needs the rights to look into the process: root's, or those of the user that stratod runs as.
 */
#ifndef STRATO_STORE_INSPECT_LIVE_H
#define STRATO_STORE_INSPECT_LIVE_H

#include "store/inspect/show.h"

enum { LIVE_PATH_MAX = 600 };

/* The process that where names: a pid, or a run_dir with the lock file of a stratod. 0 and why. */
int live_process(const char *where, char *reason, size_t reason_size);

/* Writes /proc/PID/fd/N of the memfd with this name. path holds LIVE_PATH_MAX bytes. False and why
 * when the process holds none. */
bool live_find(int pid, const char *name, char *path, char *reason, size_t reason_size);

/* Where the database of the process lies, by the configuration that it was given. path holds
 * LIVE_PATH_MAX bytes. False and why. */
bool live_database(int pid, char *path, char *reason, size_t reason_size);

/* One row for each arena and channel, and the database. */
void live_list(int pid, struct report *report);

#endif
