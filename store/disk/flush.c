/*
 * flush - see flush.h. Runs in store-disk, with a thread of its own for sync = interval.
 *
 * The file has two slots that are written in turn, each with its checksum: one is always whole.
 * The thread touches only its own read transactions, the file and LMDB's descriptor.
 *
 * DIAGNOSTICS  A sync that fails ends the process; see env.h.
 */
#include "store/disk/flush.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "proto/base/clock.h"
#include "proto/run/run.h"

#define SLOT_MAGIC "STRSYNC" /* with its NUL eight bytes */

enum {
    SLOT_PITCH = 4096,
    BOOT_ID_MAX = 40, /* with its NUL */
    ROOT_SIZE = 512,  /* the part of a meta page that LMDB uses lies in its first sector */
};

struct slot {
    char magic[8];
    char boot_id[BOOT_ID_MAX];
    uint64_t count;     /* the higher one is the newer one */
    uint32_t page_size; /* of the database; 0: there are no roots (sync = off) */
    uint32_t reserved;
    uint8_t roots[2][ROOT_SIZE];
    uint64_t check; /* XXH3 of all before it */
};
_Static_assert(sizeof(struct slot) == 8 + BOOT_ID_MAX + 16 + 2 * ROOT_SIZE + 8, "no padding");

struct flush {
    struct env *env;
    int fd; /* of the file */
    struct slot slot;
    uint64_t interval_ms;
    bool threaded;
    pthread_t thread;
    pthread_mutex_t lock; /* held around commits; guards what follows */
    pthread_cond_t wake;
    bool stop;
    MDB_txn *pin; /* holds the snapshot that slot.roots are of */
    uint64_t commits, synced_commits;
    uint64_t last_ns;
};

/* ---- The file ---- */

static void read_boot_id(char id[BOOT_ID_MAX])
{
    memset(id, 0, BOOT_ID_MAX);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, id, BOOT_ID_MAX - 1);
    if (got <= 0)
        run_child_fail(RUN_EXIT_FAILURE, "cannot read the machine's boot id: %s", strerror(errno));
    close(fd);
}

static uint64_t check_of(const struct slot *slot)
{
    return XXH3_64bits(slot, offsetof(struct slot, check));
}

/* The newer slot that is whole. False when there is none: then nothing unsynced was committed. */
static bool read_file(const char *path, struct slot *slot_r)
{
    struct slot slot;
    bool found = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        run_child_fail(RUN_EXIT_CONFIG, "cannot open %s: %s", path, strerror(errno));
    for (int i = 0; fd >= 0 && i < 2; i++) {
        if (pread(fd, &slot, sizeof slot, (off_t)i * SLOT_PITCH) != sizeof slot ||
            memcmp(slot.magic, SLOT_MAGIC, sizeof slot.magic) != 0 ||
            slot.check != check_of(&slot) || (found && slot.count < slot_r->count))
            continue;
        *slot_r = slot;
        found = true;
    }
    if (fd >= 0)
        close(fd);
    return found;
}

static bool write_slot(struct flush *flush)
{
    struct slot *slot = &flush->slot;
    slot->count++;
    slot->check = check_of(slot);
    return pwrite(flush->fd, slot, sizeof *slot, (off_t)(slot->count & 1) * SLOT_PITCH) ==
               sizeof *slot &&
           fdatasync(flush->fd) == 0;
}

/* ---- Recovery ---- */

static bool put_back(const char *directory, const struct slot *slot)
{
    char path[ENV_PATH_MAX];
    env_path(directory, "data.mdb", path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0;
    for (int i = 0; done && i < 2; i++)
        done = pwrite(fd, slot->roots[i], ROOT_SIZE, (off_t)i * slot->page_size) == ROOT_SIZE;
    done = done && fdatasync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

void flush_recover(const char *directory)
{
    char path[ENV_PATH_MAX], boot_id[BOOT_ID_MAX];
    struct slot slot;
    env_path(directory, "unsynced", path);
    if (!read_file(path, &slot))
        return;
    read_boot_id(boot_id);
    if (memcmp(boot_id, slot.boot_id, sizeof boot_id) == 0)
        return; /* what was written is there, on disk or in the kernel's memory */
    if (slot.page_size == 0)
        run_child_fail(RUN_EXIT_CONFIG,
                       "the machine went down while the store ran with sync = off, so the database "
                       "in %s may be torn: start from a snapshot, or delete %s to try it as it is",
                       directory, path);
    if (!put_back(directory, &slot))
        run_child_fail(RUN_EXIT_FAILURE, "cannot write to data.mdb in %s: %s", directory,
                       strerror(errno));
    log_warn(
        "the machine went down while the store ran with sync = interval: the database is as it "
        "was when it was synced last, at most about sync_interval before that");
}

/* ---- Syncing ---- */

/* Takes the snapshot there is now: pins it and reads its roots. Not while a commit is made. */
static MDB_txn *take_snapshot(struct flush *flush)
{
    struct env *env = flush->env;
    MDB_txn *pin;
    env_must(env, env_begin_read(env, &pin), "begin to read");
    for (int i = 0; i < 2; i++)
        if (pread(env->data_fd, flush->slot.roots[i], ROOT_SIZE,
                  (off_t)i * (off_t)env->page_size) != ROOT_SIZE)
            env_fatal(env, "read the roots of", strerror(errno));
    return pin;
}

/* Makes the snapshot there is now the one to return to. */
static void sync_all(struct flush *flush)
{
    const struct env *env = flush->env;
    uint64_t start = clock_ns();
    pthread_mutex_lock(&flush->lock);
    uint64_t commits = flush->commits;
    MDB_txn *pin = take_snapshot(flush);
    pthread_mutex_unlock(&flush->lock);
    env_must(env, mdb_env_sync(env->lmdb, 1), "sync");
    if (!write_slot(flush))
        env_fatal(env, "write the file unsynced in", strerror(errno));
    MDB_txn *old = flush->pin;
    pthread_mutex_lock(&flush->lock);
    flush->pin = pin;
    flush->synced_commits = commits;
    flush->last_ns = clock_ns() - start;
    pthread_mutex_unlock(&flush->lock);
    if (old)
        mdb_txn_abort(old);
}

static struct timespec after_ms(struct timespec t, uint64_t ms)
{
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

static void *run(void *argument)
{
    struct flush *flush = argument;
    struct timespec due;
    pthread_mutex_lock(&flush->lock);
    while (!flush->stop) {
        clock_gettime(CLOCK_MONOTONIC, &due);
        due = after_ms(due, flush->interval_ms);
        while (!flush->stop && pthread_cond_timedwait(&flush->wake, &flush->lock, &due) == 0)
            ;
        if (flush->stop || flush->commits == flush->synced_commits)
            continue;
        pthread_mutex_unlock(&flush->lock);
        sync_all(flush);
        pthread_mutex_lock(&flush->lock);
    }
    pthread_mutex_unlock(&flush->lock);
    return NULL;
}

static void start_thread(struct flush *flush)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&flush->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&flush->thread, NULL, run, flush) != 0)
        run_child_fail(RUN_EXIT_FAILURE, "cannot start a thread: %s", strerror(errno));
    flush->threaded = true;
}

/* ---- Opening and closing ---- */

/* Syncs all that was committed without; then there is nothing to remember. */
static void finish_file(const struct env *env)
{
    char path[ENV_PATH_MAX];
    env_path(env->path, "unsynced", path);
    if (access(path, F_OK) != 0)
        return;
    env_must(env, mdb_env_sync(env->lmdb, 1), "sync");
    if (unlink(path) != 0 || !env_sync_directory(env->path))
        log_warn("cannot remove %s: %s", path, strerror(errno));
}

/* False: the file says already what it would say. */
static bool prepare_slot(struct flush *flush)
{
    const struct env *env = flush->env;
    struct slot *slot = &flush->slot;
    char path[ENV_PATH_MAX], boot_id[BOOT_ID_MAX];
    env_path(env->path, "unsynced", path);
    bool found = read_file(path, slot);
    if (!found)
        *slot = (struct slot){.magic = SLOT_MAGIC};
    read_boot_id(boot_id);
    if (found && env->sync == SYNC_OFF && slot->page_size == 0 &&
        memcmp(slot->boot_id, boot_id, sizeof boot_id) == 0)
        return false;
    memcpy(slot->boot_id, boot_id, sizeof boot_id);
    slot->page_size = env->sync == SYNC_INTERVAL ? (uint32_t)env->page_size : 0;
    flush->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (flush->fd < 0)
        run_child_fail(RUN_EXIT_FAILURE, "cannot open %s: %s", path, strerror(errno));
    return true;
}

static void start_file(struct flush *flush)
{
    const struct env *env = flush->env;
    if (!prepare_slot(flush))
        return;
    if (env->sync == SYNC_INTERVAL)
        sync_all(flush);
    else if (!write_slot(flush))
        env_fatal(env, "write the file unsynced in", strerror(errno));
    if (!env_sync_directory(env->path))
        run_child_fail(RUN_EXIT_FAILURE, "cannot sync %s: %s", env->path, strerror(errno));
}

struct flush *flush_open(struct env *env, const struct conf *conf)
{
    if (env->sync == SYNC_COMMIT) {
        finish_file(env);
        return NULL;
    }
    struct flush *flush = calloc(1, sizeof *flush);
    if (!flush)
        panic("out of memory");
    flush->env = env;
    flush->interval_ms = conf->disk_sync_interval_ms;
    pthread_mutex_init(&flush->lock, NULL);
    flush->fd = -1;
    start_file(flush);
    if (env->sync == SYNC_INTERVAL)
        start_thread(flush);
    return flush;
}

void flush_close(struct flush **flush)
{
    struct flush *closing = *flush;
    *flush = NULL;
    if (!closing)
        return;
    if (closing->threaded) {
        pthread_mutex_lock(&closing->lock);
        closing->stop = true;
        pthread_cond_signal(&closing->wake);
        pthread_mutex_unlock(&closing->lock);
        pthread_join(closing->thread, NULL);
        pthread_cond_destroy(&closing->wake);
    }
    finish_file(closing->env);
    if (closing->pin)
        mdb_txn_abort(closing->pin);
    pthread_mutex_destroy(&closing->lock);
    if (closing->fd >= 0)
        close(closing->fd);
    free(closing);
}

void flush_before_commit(struct flush *flush)
{
    if (flush)
        pthread_mutex_lock(&flush->lock);
}

void flush_after_commit(struct flush *flush)
{
    if (!flush)
        return;
    flush->commits++;
    pthread_mutex_unlock(&flush->lock);
}

uint64_t flush_pinned(struct flush *flush)
{
    uint64_t id = UINT64_MAX;
    if (!flush)
        return id;
    pthread_mutex_lock(&flush->lock);
    if (flush->pin)
        id = mdb_txn_id(flush->pin);
    pthread_mutex_unlock(&flush->lock);
    return id;
}

uint64_t flush_last_ns(struct flush *flush)
{
    if (!flush)
        return 0;
    pthread_mutex_lock(&flush->lock);
    uint64_t ns = flush->last_ns;
    pthread_mutex_unlock(&flush->lock);
    return ns;
}
