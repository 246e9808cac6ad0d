/*
 * snapshot - see snapshot.h. Runs in store-disk, the copying in a thread of its own, which touches
 * only the new directory, LMDB's own reading, and what the lock guards.
 *
 * A copy that fails is removed and its reason is the answer; the store goes on.
 */
#include "store/disk/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/clock.h"

enum {
    UNFINISHED_PREFIX = '.',
    PATH_SIZE = 1024,          /* of any path here */
    FORGOTTEN_MS = 30000,      /* a client that wants it asks several times a second */
    KEPT_MS = 6 * 3600 * 1000, /* one that is complete waits so long to be copied */
    FILES_MAX = 1000,          /* removed with a snapshot */
};

struct snapshot {
    struct env *env;
    char directory[ENV_PATH_MAX]; /* PATH/snapshots */
    char name[SNAPSHOT_NAME_MAX + 1];
    char path[ENV_PATH_MAX + SNAPSHOT_NAME_MAX + 2]; /* of the one called name */
    bool running;                                    /* the thread has to be joined */
    uint64_t asked_ms;                               /* when it was last asked for */
    uint64_t told_ms; /* when one was last told to be complete; 0: none is there */
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows while the thread runs */
    bool ended;
    bool done; /* the one called name is there */
    uint64_t bytes;
    char error[256];
};

/* ---- Directories ---- */

/* With the files in it, also those that somebody's tools have left there. */
static void remove_one(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    if (!directory) {
        if (fd >= 0)
            close(fd);
        unlink(path); /* it is none */
        return;
    }
    for (unsigned i = 0; i < FILES_MAX && (entry = readdir(directory)); i++)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(fd, entry->d_name, 0);
    closedir(directory);
    if (rmdir(path) != 0 && errno != ENOENT)
        log_warn("cannot remove the old snapshot %s: %s", path, strerror(errno));
}

/* Unfinished ones, and those that nobody has fetched. */
static void remove_all(const struct snapshot *snapshot)
{
    char path[PATH_SIZE];
    DIR *directory = opendir(snapshot->directory);
    for (const struct dirent *entry; directory && (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", snapshot->directory, entry->d_name);
        remove_one(path);
    }
    if (directory)
        closedir(directory);
}

struct snapshot *snapshot_open(struct env *env)
{
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (!snapshot)
        panic("out of memory");
    snapshot->env = env;
    env_path(env->path, "snapshots", snapshot->directory);
    pthread_mutex_init(&snapshot->lock, NULL);
    remove_all(snapshot);
    return snapshot;
}

/* ---- Copying: the thread ---- */

/* Also takes it from other users, whom LMDB lets read. */
static bool sync_file(const char *path, uint64_t *bytes_r)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool synced = fd >= 0 && fchmod(fd, 0600) == 0 && fsync(fd) == 0 && fstat(fd, &info) == 0;
    if (fd >= 0)
        close(fd);
    if (synced)
        *bytes_r = (uint64_t)info.st_size;
    return synced;
}

/* Writes the copy and gives it its name. False and why. */
static bool copy(const struct snapshot *snapshot, uint64_t *bytes_r, char *error, size_t error_size)
{
    char unfinished[PATH_SIZE], file[PATH_SIZE + 16], who[128] = "";
    snprintf(unfinished, sizeof unfinished, "%s/%c%s", snapshot->directory, UNFINISHED_PREFIX,
             snapshot->name);
    snprintf(file, sizeof file, "%s/data.mdb", unfinished);
    if (mkdir(unfinished, 0700) != 0) {
        snprintf(error, error_size, "cannot make its directory: %s", strerror(errno));
        return false;
    }
    readers_clear(&snapshot->env->readers, snapshot->env->lmdb);
    int code = mdb_env_copy2(snapshot->env->lmdb, unfinished, MDB_CP_COMPACT);
    bool done = code == MDB_SUCCESS;
    if (code == MDB_READERS_FULL)
        readers_name(snapshot->env->lmdb, who, sizeof who);
    if (!done) {
        snprintf(error, error_size, "cannot copy: %s%s", mdb_strerror(code), who);
    } else if (!sync_file(file, bytes_r) || !env_sync_directory(unfinished) ||
               rename(unfinished, snapshot->path) != 0 ||
               !env_sync_directory(snapshot->directory)) {
        snprintf(error, error_size, "cannot sync or name it: %s", strerror(errno));
        done = false;
    }
    if (!done)
        remove_one(unfinished);
    return done;
}

static void *run(void *argument)
{
    struct snapshot *snapshot = argument;
    char error[sizeof snapshot->error] = "";
    uint64_t bytes = 0;
    bool done = copy(snapshot, &bytes, error, sizeof error);
    pthread_mutex_lock(&snapshot->lock);
    snapshot->done = done;
    snapshot->bytes = bytes;
    memcpy(snapshot->error, error, sizeof error);
    snapshot->ended = true;
    pthread_mutex_unlock(&snapshot->lock);
    return NULL;
}

/* ---- Asking for one ---- */

static void join(struct snapshot *snapshot)
{
    if (snapshot->running)
        pthread_join(snapshot->thread, NULL);
    snapshot->running = false;
}

static bool has_ended(struct snapshot *snapshot)
{
    pthread_mutex_lock(&snapshot->lock);
    bool ended = snapshot->ended;
    pthread_mutex_unlock(&snapshot->lock);
    return ended;
}

bool snapshot_close(struct snapshot **snapshot)
{
    if ((*snapshot)->running && !has_ended(*snapshot)) {
        log_info("the snapshot %s is given up", (*snapshot)->path);
        return false;
    }
    join(*snapshot);
    pthread_mutex_destroy(&(*snapshot)->lock);
    free(*snapshot);
    *snapshot = NULL;
    return true;
}

/* Letters, digits and . _ -, the first no dot: a name and never a path. */
static bool is_name(const char *name)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strlen(name);
    return len > 0 && len <= SNAPSHOT_NAME_MAX && name[0] != '.' && strspn(name, allowed) == len;
}

static enum status start(struct snapshot *snapshot, const char *name, const char **error_r)
{
    snprintf(snapshot->name, sizeof snapshot->name, "%s", name);
    snprintf(snapshot->path, sizeof snapshot->path, "%s/%s", snapshot->directory, name);
    remove_all(snapshot);
    snapshot->ended = snapshot->done = false;
    snapshot->told_ms = 0;
    if ((mkdir(snapshot->directory, 0700) != 0 && errno != EEXIST) ||
        !env_sync_directory(snapshot->env->path)) {
        snprintf(snapshot->error, sizeof snapshot->error, "cannot make the directory snapshots: %s",
                 strerror(errno));
        *error_r = snapshot->error;
        snapshot->name[0] = '\0';
        return STATUS_INTERNAL;
    }
    if (pthread_create(&snapshot->thread, NULL, run, snapshot) != 0) {
        *error_r = "cannot start a thread";
        snapshot->name[0] = '\0';
        return STATUS_INTERNAL;
    }
    snapshot->running = true;
    log_info("making the snapshot %s", snapshot->path);
    return STATUS_OK;
}

/* Once the thread has ended: what came of it. A failure is told once, then it may be tried again.
 */
static enum status finish(struct snapshot *snapshot, struct engine_snapshot *result_r)
{
    join(snapshot);
    if (snapshot->done) {
        log_info("the snapshot %s is complete: %llu bytes", snapshot->path,
                 (unsigned long long)snapshot->bytes);
        return STATUS_OK;
    }
    log_warn("no snapshot %s: %s", snapshot->path, snapshot->error);
    snapshot->name[0] = '\0';
    result_r->error = snapshot->error;
    return STATUS_INTERNAL;
}

enum status snapshot_make(struct snapshot *snapshot, const char *name,
                          struct engine_snapshot *result_r)
{
    enum status status = STATUS_OK;
    *result_r = (struct engine_snapshot){0};
    if (!is_name(name)) {
        result_r->error = "a name has letters, digits and . _ - and does not begin with a dot";
        return STATUS_INVALID;
    }
    bool ended = has_ended(snapshot);
    snapshot->asked_ms = clock_ms();
    if (snapshot->running && strcmp(snapshot->name, name) != 0 && !ended) {
        result_r->error = "another snapshot is being made";
        return STATUS_UNAVAILABLE;
    }
    if (snapshot->running && ended) {
        bool mine = strcmp(snapshot->name, name) == 0;
        status = finish(snapshot, result_r);
        if (!mine)
            status = STATUS_OK;
    }
    if (status == STATUS_OK && strcmp(snapshot->name, name) != 0)
        return start(snapshot, name, &result_r->error);
    result_r->done = status == STATUS_OK && !snapshot->running;
    result_r->path = snapshot->path;
    if (result_r->done) {
        snapshot->told_ms = clock_ms();
        result_r->bytes = snapshot->bytes;
        snapshot->name[0] = '\0'; /* told; a request for this name now means another one */
    }
    return status;
}

/* One that was asked for, but not for a while. */
static bool is_forgotten(struct snapshot *snapshot)
{
    return snapshot->running && clock_ms() >= snapshot->asked_ms + FORGOTTEN_MS &&
           has_ended(snapshot);
}

/* One that is complete and was not fetched: the client was killed meanwhile. */
static bool is_left(const struct snapshot *snapshot)
{
    return !snapshot->running && snapshot->told_ms != 0 &&
           clock_ms() >= snapshot->told_ms + KEPT_MS;
}

void snapshot_tend(struct snapshot *snapshot)
{
    if (is_forgotten(snapshot)) {
        join(snapshot);
        log_info("the snapshot %s is removed: nobody asks for it any more", snapshot->path);
        snapshot->name[0] = '\0';
    } else if (!is_left(snapshot)) {
        return;
    }
    snapshot->told_ms = 0;
    remove_all(snapshot);
}
