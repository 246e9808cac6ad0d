/*
 * snapshot - a consistent, compact copy of the database, made while it is in use.
 *
 * A thread reads one committed state and writes it to PATH/snapshots/NAME/data.mdb; the directory
 * has that name only when all of it is on disk. It is itself a data directory to start from. While
 * it is made, pages that are given back cannot be used again, so the database may grow.
 *
 * Who asked for it fetches and removes it. One that nobody asks for any more is removed; one that
 * was left otherwise, before the next is made and when the store starts.
 */
#ifndef STRATO_STORE_DISK_SNAPSHOT_H
#define STRATO_STORE_DISK_SNAPSHOT_H

#include "store/disk/env.h"
#include "store/engine.h"

enum { SNAPSHOT_NAME_MAX = 64 };

struct snapshot;

/* Removes what a predecessor has left. env is borrowed until snapshot_close(). */
struct snapshot *snapshot_open(struct env *env);
/* False while one is being made: then it and the environment must be left to the process's end,
 * which is near, and what was made is removed by the successor. */
bool snapshot_close(struct snapshot **snapshot) MUST_CHECK;

/* As engine_ops.snapshot. */
enum status snapshot_make(struct snapshot *snapshot, const char *name,
                          struct engine_snapshot *result_r) MUST_CHECK;
/* Removes one that is forgotten. Cheap; to be called now and then. */
void snapshot_tend(struct snapshot *snapshot);

#endif
