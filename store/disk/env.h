/*
 * env - the data directory and the LMDB environment in it: opened, checked, locked, closed.
 *
 *     PATH/data.mdb    the database            PATH/unsynced    see flush.h
 *     PATH/lock.mdb    LMDB's readers          PATH/snapshots/  see snapshot.h
 *     PATH/lock        held while a store runs
 *
 * Codes of LMDB are translated here: what is no answer and no lack of room ends the process.
 */
#ifndef STRATO_STORE_DISK_ENV_H
#define STRATO_STORE_DISK_ENV_H

#include <lmdb.h>

#include "proto/conf/conf.h"
#include "store/disk/readers.h"

/* The database's tables. The first ones are the services, by number. */
enum table {
    TABLE_ITEM = SERVICE_COUNT, /* the items of sets */
    TABLE_EXPIRY,               /* what expires, in the order of its time */
    TABLE_META,                 /* formats, our own counters, what each channel has had applied */
    TABLE_NAMED,                /* the records of all services in all namespaces but 0 */
    TABLE_COUNT
};

enum {
    FORMAT_FIRST = 1,   /* of everything in the database: all of it is as release 0.2.0 knows it */
    FORMAT_NEWEST = 2,  /* see formats.h */
    ENV_PATH_MAX = 600, /* of a file in the data directory, with its NUL */
};

struct flush;

struct env {
    MDB_env *lmdb;
    MDB_dbi tables[TABLE_COUNT]; /* 0: there is none, for want of room */
    char path[CONF_TEXT_MAX];    /* the data directory; absolute */
    enum sync_mode sync;
    size_t page_size;
    uint64_t pages_max; /* pages of the map */
    int lock_fd;
    int data_fd; /* LMDB's own */
    struct flush *flush;
    struct readers readers;
    uint64_t damaged;    /* things met that make no sense, since this process started */
    uint64_t damaged_ms; /* when that was last logged */
    bool gone;           /* see gone.h */
    uint64_t looked_ms;  /* when it was last looked */
};

/*
 * Opens or creates. Ends the process through run_child_fail() with what is wrong: not ours, in use,
 * not readable, of another format, damaged.
 */
void env_open(struct env *env, const struct conf *conf);
/* Everything is on disk after it, whatever the sync mode. No transaction may be open. */
void env_close(struct env *env);

/* Names a file in the data directory. path holds ENV_PATH_MAX bytes. */
void env_path(const char *directory, const char *name, char *path);
/* Makes the names in a directory durable. False with errno set. */
bool env_sync_directory(const char *path);

/*
 * STATUS_OK, STATUS_NOT_FOUND, or STATUS_FULL (no room in the map, on the disk or within the file
 * size limit) or STATUS_DAMAGED (a page makes no sense; counted and logged): then the transaction
 * is of no more use but to be aborted. Anything else is logged as "cannot WHAT" and ends the
 * process at once: what was not answered is carried out by its successor.
 */
enum status env_status(struct env *env, int code, const char *what) MUST_CHECK;
/* Whether it says no room: for the write, in the map, on the disk, by a quota or the process's file
 * size limit. */
bool env_is_room(int code);
/* When the database is opened: ends the process through run_child_fail() unless it is a success. */
void env_check_open(const struct env *env, int code);
/* Counts and logs (at most once a second) something that Strato cannot have written. Returns
 * STATUS_DAMAGED. */
enum status env_damaged(struct env *env, const char *format, ...) MUST_CHECK
    __attribute__((format(printf, 2, 3)));
/* Begins to read. When all readers' slots are taken, those of dead processes are cleared first. An
 * LMDB error. */
int env_begin_read(struct env *env, MDB_txn **txn_r) MUST_CHECK;
/* The same where only success is possible. */
void env_must(const struct env *env, int code, const char *what);
/* Logs "cannot WHAT PATH: why" and ends the process. */
_Noreturn void env_fatal(const struct env *env, const char *what, const char *why);

static inline MDB_val env_val(struct bytes bytes)
{
    return (MDB_val){bytes.len, (void *)(uintptr_t)bytes.data};
}
static inline struct bytes env_bytes(MDB_val val)
{
    return (struct bytes){val.mv_data, val.mv_size};
}

#endif
