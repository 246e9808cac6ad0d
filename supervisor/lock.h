/*
 * lock - one stratod per run directory, and per database.
 *
 * Held are the directory run_dir itself (which cleaners of temporary files leave alone then), a
 * file in it with our pid, and the directory of the database. The kernel frees all of them however
 * the process ends. Each can be missing: a file system may not lock directories, and a cleaner may
 * have removed the file or the directory.
 */
#ifndef STRATO_SUPERVISOR_LOCK_H
#define STRATO_SUPERVISOR_LOCK_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/conf/conf.h"

struct lock {
    int directory, file, data; /* descriptors, -1: not held */
};

#define LOCK_NONE ((struct lock){-1, -1, -1})

/*
 * Makes run_dir (0700, with its parents) if it is missing, checks who owns it and who may write
 * to it and to the data directories that conf uses, and takes the locks. Waits half a second for
 * one that another process holds. On failure appends one line to why: which process holds it, or
 * what is wrong.
 */
enum status lock_take(struct lock *lock, const struct conf *conf, struct buffer *why) MUST_CHECK;

/* Whether run_dir and the file in it are those that we have locked. Takes the lock of the database
 * if it was not there yet. Cheap. */
bool lock_is_there(struct lock *lock, const struct conf *conf);
/* Makes again and locks what is not there any more. On failure appends why, and what was held stays
 * held. */
enum status lock_renew(struct lock *lock, const struct conf *conf, struct buffer *why) MUST_CHECK;

/* The directory that the disk backend's database is in: [disk] path, within data_dir if relative.
 */
void lock_database_path(const struct conf *conf, char *path, size_t size);

/* Takes our number out of the lock file and frees the locks. */
void lock_release(struct lock *lock);

#endif
