/*
 * env - see env.h. Runs in store-disk.
 *
 * DIAGNOSTICS  Each refusal names the directory and what to do. After the start, an error that is
 * not for lack of room is logged and ends the process with RUN_EXIT_FAILURE; it is never retried
 * here, because after a failed fsync nobody knows what is on disk.
 */
#include "store/disk/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/coverage.h"
#include "proto/run/run.h"
#include "store/disk/flush.h"

static const char magic[] = "STRATO-DISK";

static const char *const table_names[TABLE_COUNT] = {
    [SERVICE_CACHE] = "cache", [SERVICE_COUNTER] = "counter", [SERVICE_FLAG] = "flag",
    [SERVICE_KV] = "kv",       [SERVICE_SET] = "set",         [TABLE_ITEM] = "item",
    [TABLE_EXPIRY] = "expiry", [TABLE_META] = "meta",
};

enum {
    READERS = 16,      /* ours, the flusher's, a snapshot's and what people look with */
    MISSING_MAX = 256, /* pages */
    LOCK_WAIT_MS = 2000,
    LOCK_LOOK_MS = 10,
};

void env_path(const char *directory, const char *name, char *path)
{
    snprintf(path, ENV_PATH_MAX, "%s/%s", directory, name);
}

/* ---- Errors ---- */

_Noreturn void env_fatal(const struct env *env, const char *what, const char *why)
{
    log_error("cannot %s %s: %s; ending, so that nothing is acknowledged that is not on disk", what,
              env->path, why);
    coverage_keep();
    _exit(RUN_EXIT_FAILURE); /* no clean end: it would write */
}

enum status env_status(const struct env *env, int code, const char *what)
{
    switch (code) {
    case MDB_SUCCESS:
        return STATUS_OK;
    case MDB_NOTFOUND:
        return STATUS_NOT_FOUND;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case ENOSPC:
    case EDQUOT:
        return STATUS_FULL;
    default:
        env_fatal(env, what, mdb_strerror(code));
    }
}

void env_must(const struct env *env, int code, const char *what)
{
    if (code != MDB_SUCCESS)
        env_fatal(env, what, mdb_strerror(code));
}

/* ---- The directory ---- */

bool env_sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return synced;
}

/* Makes the directory and those above it that are missing, for this user alone. */
static void make_directory(const char *path)
{
    char parent[CONF_TEXT_MAX];
    struct stat there;
    if (stat(path, &there) == 0 && S_ISDIR(there.st_mode))
        return;
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash && slash > parent) {
        *slash = '\0';
        make_directory(parent);
    }
    if (mkdir(path, 0700) != 0)
        run_child_fail(RUN_EXIT_CONFIG, "cannot make the data directory %s: %s", path,
                       strerror(errno));
    env_sync_directory(parent);
}

/* Whether the database is there. A directory with other people's files in it is not ours. */
static bool look_into(const char *path)
{
    DIR *directory = opendir(path);
    if (!directory)
        run_child_fail(RUN_EXIT_CONFIG, "cannot read the data directory %s: %s", path,
                       strerror(errno));
    char stranger[256] = "";
    bool found = false;
    for (const struct dirent *entry; (entry = readdir(directory));) {
        const char *name = entry->d_name;
        if (strcmp(name, "data.mdb") == 0)
            found = true;
        else if (name[0] != '.' && strcmp(name, "lock") != 0 && strcmp(name, "lock.mdb") != 0 &&
                 strcmp(name, "lost+found") != 0 && strcmp(name, "snapshots") != 0)
            snprintf(stranger, sizeof stranger, "%s", name);
    }
    closedir(directory);
    if (!found && *stranger)
        run_child_fail(RUN_EXIT_CONFIG,
                       "%s holds %s but no database of Strato: give [disk] path a directory of its "
                       "own",
                       path, stranger);
    return found;
}

static void lock(struct env *env)
{
    char path[ENV_PATH_MAX];
    env_path(env->path, "lock", path);
    env->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (env->lock_fd < 0)
        run_child_fail(RUN_EXIT_CONFIG, "cannot open %s: %s", path, strerror(errno));
    /* A predecessor that was killed may take a moment until all of it is gone. */
    for (int waited = 0; waited < LOCK_WAIT_MS; waited += LOCK_LOOK_MS) {
        if (flock(env->lock_fd, LOCK_EX | LOCK_NB) == 0)
            return;
        if (errno != EWOULDBLOCK)
            break;
        usleep(LOCK_LOOK_MS * 1000);
    }
    if (errno == EWOULDBLOCK)
        run_child_fail(RUN_EXIT_CONFIG, "%s is in use by another Strato", env->path);
    run_child_fail(RUN_EXIT_CONFIG, "cannot lock %s: %s", path, strerror(errno));
}

/* ---- The database ---- */

_Noreturn static void refuse(const struct env *env, int code)
{
    const char *why = mdb_strerror(code);
    bool for_good = true;
    if (code == MDB_INVALID)
        why = "data.mdb is not a database";
    else if (code == MDB_VERSION_MISMATCH)
        why = "data.mdb is of another version of LMDB";
    else
        for_good = code == EACCES;
    run_child_fail(for_good ? RUN_EXIT_CONFIG : RUN_EXIT_FAILURE,
                   "cannot open the database in %s: %s", env->path, why);
}

static void check_open(const struct env *env, int code)
{
    if (code != MDB_SUCCESS)
        refuse(env, code);
}

/*
 * A file cut short would kill whoever reads the missing pages. Pages that a transaction took and
 * gave back again are not written, so the file's last ones may be missing rightly; they are put
 * there, empty, so that a file that lacks others too is found to be damaged when they are read.
 */
static void check_length(const struct env *env)
{
    MDB_envinfo info;
    struct stat file;
    mdb_env_info(env->lmdb, &info);
    uint64_t needed = ((uint64_t)info.me_last_pgno + 1) * env->page_size;
    if (fstat(env->data_fd, &file) != 0 ||
        (uint64_t)file.st_size + MISSING_MAX * env->page_size < needed)
        run_child_fail(
            RUN_EXIT_CONFIG,
            "the database in %s is damaged: data.mdb is shorter than the %llu bytes that "
            "it should have; start from a snapshot",
            env->path, (unsigned long long)needed);
    if ((uint64_t)file.st_size < needed && ftruncate(env->data_fd, (off_t)needed) != 0)
        run_child_fail(RUN_EXIT_FAILURE, "cannot write to the database in %s: %s", env->path,
                       strerror(errno));
}

static void map(struct env *env, const struct conf *conf)
{
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;
    MDB_stat stat;
    MDB_envinfo info;
    if (conf->disk_sync != SYNC_COMMIT)
        flags |= MDB_NOSYNC;
    check_open(env, mdb_env_create(&env->lmdb));
    check_open(env, mdb_env_set_maxdbs(env->lmdb, TABLE_COUNT));
    check_open(env, mdb_env_set_maxreaders(env->lmdb, READERS));
    check_open(env, mdb_env_set_mapsize(env->lmdb, conf->disk_map_size));
    check_open(env, mdb_env_open(env->lmdb, env->path, flags, 0600));
    check_open(env, mdb_env_get_fd(env->lmdb, &env->data_fd));
    check_open(env, mdb_env_stat(env->lmdb, &stat));
    check_open(env, mdb_env_info(env->lmdb, &info));
    env->page_size = stat.ms_psize;
    env->pages_max = info.me_mapsize / stat.ms_psize;
    check_length(env);
    mdb_reader_check(env->lmdb, NULL);
}

/* Whether the main table has nothing in it: new, or its first start was cut off. */
static bool is_empty(MDB_txn *txn)
{
    MDB_dbi main_table;
    MDB_stat stat;
    return mdb_dbi_open(txn, NULL, 0, &main_table) == MDB_SUCCESS &&
           mdb_stat(txn, main_table, &stat) == MDB_SUCCESS && stat.ms_entries == 0;
}

static void check_format(const struct env *env, MDB_txn *txn)
{
    MDB_val key = {sizeof magic - 1, (void *)(uintptr_t)magic}, value;
    uint32_t format;
    int code = mdb_get(txn, env->tables[TABLE_META], &key, &value);
    if (code != MDB_SUCCESS || value.mv_size != sizeof format)
        run_child_fail(RUN_EXIT_CONFIG, "the database in %s is not one of Strato", env->path);
    memcpy(&format, value.mv_data, sizeof format);
    if (format != ENV_FORMAT)
        run_child_fail(RUN_EXIT_CONFIG,
                       "the database in %s has format %u, this program knows format %d", env->path,
                       format, ENV_FORMAT);
}

static void open_tables(struct env *env, MDB_txn *txn, unsigned flags)
{
    for (int i = 0; i < TABLE_COUNT; i++) {
        int code = mdb_dbi_open(txn, table_names[i], flags, &env->tables[i]);
        if (code == MDB_NOTFOUND || code == MDB_INCOMPATIBLE)
            run_child_fail(RUN_EXIT_CONFIG, "the database in %s is not one of Strato", env->path);
        check_open(env, code);
    }
}

static void lay_out(struct env *env)
{
    MDB_txn *txn;
    uint32_t format = ENV_FORMAT;
    MDB_val key = {sizeof magic - 1, (void *)(uintptr_t)magic}, value = {sizeof format, &format};
    check_open(env, mdb_txn_begin(env->lmdb, NULL, 0, &txn));
    open_tables(env, txn, MDB_CREATE);
    check_open(env, mdb_put(txn, env->tables[TABLE_META], &key, &value, 0));
    check_open(env, mdb_txn_commit(txn));
    check_open(env, mdb_env_sync(env->lmdb, 1));
    log_info("made a database in %s", env->path);
}

static void take_tables(struct env *env)
{
    MDB_txn *txn;
    check_open(env, mdb_txn_begin(env->lmdb, NULL, MDB_RDONLY, &txn));
    bool empty = is_empty(txn);
    if (!empty) {
        open_tables(env, txn, 0);
        check_format(env, txn);
    }
    check_open(env, mdb_txn_commit(txn)); /* an abort would close the tables again */
    if (empty)
        lay_out(env);
}

void env_open(struct env *env, const struct conf *conf)
{
    *env = (struct env){.sync = conf->disk_sync, .max_set = conf->max_set};
    snprintf(env->path, sizeof env->path, "%s", conf->disk_path);
    make_directory(env->path);
    bool found = look_into(env->path);
    lock(env);
    if (found)
        flush_recover(env->path);
    map(env, conf);
    take_tables(env);
    if (!found && !env_sync_directory(env->path)) /* else nothing in it can be promised */
        run_child_fail(RUN_EXIT_FAILURE, "cannot sync %s: %s", env->path, strerror(errno));
    env->flush = flush_open(env, conf);
}

void env_close(struct env *env)
{
    flush_close(&env->flush);
    mdb_env_close(env->lmdb);
    close(env->lock_fd);
}
