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
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/coverage.h"
#include "proto/run/run.h"
#include "store/disk/flush.h"
#include "store/disk/tables.h"

enum {
    MISSING_MAX = 256, /* pages */
    LOCK_WAIT_MS = 2000,
    LOCK_LOOK_MS = 10,
    DAMAGE_LOG_MS = 1000,
    NEW_SIZE = 256 * 1024, /* bytes of a new database at most */
    MAP_UNIT = 65536,      /* bytes; whole pages of any size */
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

enum status env_damaged(struct env *env, const char *format, ...)
{
    char text[256];
    uint64_t now_ms = clock_ms();
    env->damaged++;
    if (env->damaged_ms != 0 && now_ms - env->damaged_ms < DAMAGE_LOG_MS)
        return STATUS_DAMAGED;
    env->damaged_ms = now_ms;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_error("the database in %s is damaged: %s; what is concerned is refused, the rest goes on "
              "(%" PRIu64 " such cases since the start); a snapshot may have it whole",
              env->path, text, env->damaged);
    return STATUS_DAMAGED;
}

bool env_is_room(int code)
{
    return code == MDB_MAP_FULL || code == MDB_TXN_FULL || code == ENOSPC || code == EDQUOT ||
           code == EFBIG;
}

enum status env_status(struct env *env, int code, const char *what)
{
    if (env_is_room(code))
        return STATUS_FULL;
    switch (code) {
    case MDB_SUCCESS:
        return STATUS_OK;
    case MDB_NOTFOUND:
        return STATUS_NOT_FOUND;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_PAGE_FULL:
    case MDB_CURSOR_FULL:
    case MDB_BAD_VALSIZE:
    case MDB_BAD_TXN: /* after one of the others */
        return env_damaged(env, "cannot %s it: %s", what, mdb_strerror(code));
    default:
        env_fatal(env, what, mdb_strerror(code));
    }
}

void env_must(const struct env *env, int code, const char *what)
{
    if (code != MDB_SUCCESS)
        env_fatal(env, what, mdb_strerror(code));
}

int env_begin_read(struct env *env, MDB_txn **txn_r)
{
    char who[128];
    int code = mdb_txn_begin(env->lmdb, NULL, MDB_RDONLY, txn_r);
    if (code == MDB_READERS_FULL && readers_clear(&env->readers, env->lmdb) > 0)
        code = mdb_txn_begin(env->lmdb, NULL, MDB_RDONLY, txn_r);
    if (code == MDB_READERS_FULL) {
        readers_name(env->lmdb, who, sizeof who);
        log_error("no more room for readers of %s: the processes%s have it all", env->path, who);
    }
    return code;
}

/* ---- The directory ---- */

/* Lack of room, of descriptors and the like may pass: then it is worth another start. */
_Noreturn static void cannot(const char *what, const char *path, int error)
{
    bool passes = env_is_room(error) || error == EMFILE || error == ENFILE || error == ENOMEM;
    run_child_fail(passes ? RUN_EXIT_FAILURE : RUN_EXIT_CONFIG, "cannot %s %s: %s", what, path,
                   env_is_room(error) ? "no space left there" : strerror(error));
}

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
    /* PATH/. and PATH/ are there as soon as PATH is. */
    if (mkdir(path, 0700) != 0 &&
        (errno != EEXIST || stat(path, &there) != 0 || !S_ISDIR(there.st_mode)))
        cannot("make the data directory", path, errno);
    env_sync_directory(parent);
}

/* What a store leaves beside its database. */
static bool is_beside(const char *name)
{
    return strcmp(name, "clock") == 0 || strcmp(name, "unsynced") == 0;
}

/* Whether the database is there. A directory with other people's files in it is not ours. */
static bool look_into(const char *path)
{
    DIR *directory = opendir(path);
    if (!directory)
        cannot("read the data directory", path, errno);
    char stranger[256] = "", beside[256] = "";
    bool found = false;
    for (const struct dirent *entry; (entry = readdir(directory));) {
        const char *name = entry->d_name;
        if (strcmp(name, "data.mdb") == 0)
            found = true;
        else if (is_beside(name))
            snprintf(beside, sizeof beside, "%s", name);
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
    if (!found && *beside)
        run_child_fail(
            RUN_EXIT_CONFIG,
            "data.mdb is gone from %s, where a database was: put it back, or a backup; or "
            "remove %s/%s to begin with nothing",
            path, path, beside);
    return found;
}

static void lock(struct env *env)
{
    char path[ENV_PATH_MAX];
    env_path(env->path, "lock", path);
    env->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (env->lock_fd < 0)
        cannot("open", path, errno);
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
    if (env_is_room(code))
        run_child_fail(RUN_EXIT_FAILURE, "no space left for the database in %s", env->path);
    if (code == MDB_INVALID)
        why = "data.mdb is not a database";
    else if (code == MDB_VERSION_MISMATCH)
        why = "data.mdb is of another version of LMDB";
    else if (code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND)
        why = "data.mdb is damaged; start from a snapshot";
    else
        for_good = code == EACCES;
    run_child_fail(for_good ? RUN_EXIT_CONFIG : RUN_EXIT_FAILURE,
                   "cannot open the database in %s: %s", env->path, why);
}

void env_check_open(const struct env *env, int code)
{
    if (code != MDB_SUCCESS)
        refuse(env, code);
}

/*
 * LMDB maps lock.mdb and writes to it: without a block on the disk behind it that would kill us.
 * Before LMDB opens it, for closing it gives up all of this process's locks on it.
 */
static void reserve_lock_file(const struct env *env)
{
    char path[ENV_PATH_MAX];
    struct stat info;
    env_path(env->path, "lock.mdb", path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EACCES && stat(path, &info) == 0 && info.st_uid != geteuid())
        run_child_fail(RUN_EXIT_CONFIG,
                       "%s belongs to user %u, who has looked into the database: when no such "
                       "program runs any more, remove that file",
                       path, (unsigned)info.st_uid);
    if (fd < 0)
        cannot("open", path, errno);
    int error = posix_fallocate(fd, 0, READERS_LOCK_SIZE);
    close(fd);
    if (error != 0 && error != EOPNOTSUPP && error != EINVAL)
        cannot("reserve room for", path, error);
}

/* The blocks that a new database is made in: of a write that has room for a part only, the system
 * does that part, and LMDB calls it an I/O error. */
static void reserve_data_file(const struct env *env)
{
    char path[ENV_PATH_MAX];
    struct stat info;
    env_path(env->path, "data.mdb", path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fstat(fd, &info) != 0)
        cannot("open", path, errno);
    bool failed = info.st_size == 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, NEW_SIZE) != 0;
    int error = failed ? errno : 0;
    close(fd);
    if (env_is_room(error))
        cannot("reserve room for", path, error);
}

/* The head of LMDB's meta pages, as far as it is checked here: LMDB believes all of it. */
struct meta_head {
    uint8_t page[16];
    uint32_t magic, version;
    uint64_t address, map_size;
    uint32_t page_size;
    uint8_t tables[92];
    uint64_t last_page, txn;
} __attribute__((packed));

/* LMDB divides by the page size. */
static bool is_page_size(uint32_t size)
{
    return size >= 256 && size <= 65536 && (size & (size - 1)) == 0;
}

static bool read_head(int fd, off_t at, struct meta_head *head_r)
{
    return pread(fd, head_r, sizeof *head_r, at) == sizeof *head_r && head_r->magic == 0xBEEFC0DE;
}

/*
 * A file cut short would kill each process that reads the missing pages. Pages that a transaction
 * took and gave back again are not written, so a few of the file's last ones may be missing
 * rightly.
 */
static void check_heads(const struct env *env, int fd)
{
    struct meta_head heads[2] = {0};
    struct stat file;
    if (!read_head(fd, 0, &heads[0]))
        return; /* LMDB says so itself */
    uint32_t size = heads[0].page_size;
    if (!is_page_size(size) || fstat(fd, &file) != 0)
        refuse(env, MDB_INVALID);
    if (file.st_size < 2 * (off_t)size && heads[0].txn == 0) {
        log_warn("the database in %s was never made to its end: making it anew", env->path);
        if (ftruncate(fd, 0) != 0)
            cannot("write to the database in", env->path, errno);
        return;
    }
    if (!read_head(fd, size, &heads[1]))
        refuse(env, MDB_INVALID);
    const struct meta_head *newest = &heads[heads[1].txn > heads[0].txn];
    if (newest->page_size != size)
        refuse(env, MDB_INVALID);
    if ((uint64_t)file.st_size / size + MISSING_MAX <= newest->last_page)
        run_child_fail(RUN_EXIT_CONFIG,
                       "the database in %s is damaged: data.mdb is shorter than the %" PRIu64
                       " pages of %u bytes that it should have; start from a snapshot",
                       env->path, newest->last_page, size);
}

static void check_file(const struct env *env)
{
    char path[ENV_PATH_MAX];
    env_path(env->path, "data.mdb", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        cannot("open", path, errno);
    check_heads(env, fd);
    close(fd);
}

/* Pages that are missing rightly are put there, empty, so that a file that lacks others too is
 * found to be damaged when they are read. */
static void complete_file(const struct env *env)
{
    MDB_envinfo info;
    struct stat file;
    mdb_env_info(env->lmdb, &info);
    off_t needed = (off_t)((info.me_last_pgno + 1) * env->page_size);
    if (fstat(env->data_fd, &file) != 0)
        cannot("look at the database in", env->path, errno);
    if (file.st_size < needed && posix_fallocate(env->data_fd, 0, needed) != 0 &&
        ftruncate(env->data_fd, needed) != 0)
        cannot("write to the database in", env->path, errno);
}

/* What the database may grow to. Within the process's file size limit (ulimit -f), because of a
 * write across it the system does a part, and that LMDB calls an I/O error. */
static uint64_t map_size(const struct env *env, const struct conf *conf)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur >= conf->disk_map_size)
        return conf->disk_map_size;
    log_warn("this process may write files of %" PRIu64
             " bytes only (ulimit -f), less than map_size: "
             "the database in %s grows no further",
             (uint64_t)limit.rlim_cur, env->path);
    return limit.rlim_cur & ~(uint64_t)(MAP_UNIT - 1);
}

static void map(struct env *env, const struct conf *conf)
{
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;
    MDB_stat stat;
    MDB_envinfo info;
    if (conf->disk_sync != SYNC_COMMIT)
        flags |= MDB_NOSYNC;
    env_check_open(env, mdb_env_create(&env->lmdb));
    env_check_open(env, mdb_env_set_maxdbs(env->lmdb, TABLE_COUNT));
    env_check_open(env, mdb_env_set_maxreaders(env->lmdb, READERS_MAX));
    env_check_open(env, mdb_env_set_mapsize(env->lmdb, map_size(env, conf)));
    env_check_open(env, mdb_env_open(env->lmdb, env->path, flags, 0600));
    env_check_open(env, mdb_env_get_fd(env->lmdb, &env->data_fd));
    env_check_open(env, mdb_env_stat(env->lmdb, &stat));
    env_check_open(env, mdb_env_info(env->lmdb, &info));
    env->page_size = stat.ms_psize;
    env->pages_max = info.me_mapsize / stat.ms_psize;
    complete_file(env);
    readers_clear(&env->readers, env->lmdb);
}

void env_open(struct env *env, const struct conf *conf)
{
    *env = (struct env){.sync = conf->disk_sync};
    snprintf(env->path, sizeof env->path, "%s", conf->disk_path);
    make_directory(env->path);
    bool found = look_into(env->path);
    lock(env);
    if (found)
        flush_recover(env->path);
    reserve_lock_file(env);
    if (found)
        check_file(env);
    reserve_data_file(env);
    map(env, conf);
    tables_open(env);
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
