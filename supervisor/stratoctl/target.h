/*
 * target - whether `stratoctl backup` may write to a path: nothing but an older backup is replaced,
 * and nothing is put where Strato keeps its own files.
 */
#ifndef STRATO_SUPERVISOR_STRATOCTL_TARGET_H
#define STRATO_SUPERVISOR_STRATOCTL_TARGET_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* status is stratod's row of the answer to status: it names the directories; one of an older
 * stratod names only some. False with why, one line. */
bool target_check(const char *path, const json_t *status, const char *run_dir, char *why,
                  size_t why_size);

#endif
