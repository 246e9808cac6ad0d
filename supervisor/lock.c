/*
 * lock - see lock.h. The supervisor; fails with one line for the operator.
 */
#include "supervisor/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/log.h"

enum { TRIES = 10, PAUSE_MS = 50 }; /* a cleaner holds a directory while it looks into it */

static enum status failed(struct buffer *why, const char *what, const char *path)
{
    buffer_append_format(why, "cannot %s %s: %s", what, path, strerror(errno));
    return STATUS_UNAVAILABLE;
}

static void let_go(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- Directories ---- */

/* Like mkdir -p. Returns why the last one could not be made (errno), or 0. */
static int make_directories(const char *path)
{
    char part[CONF_TEXT_MAX];
    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        mkdir(part, 0700);
        *p = '/';
    }
    return mkdir(part, 0700) == 0 ? 0 : errno;
}

/* Whether nobody else can change what is in a directory but root: mode bits of others' writing that
 * are not allowed are in forbidden. what names its key. */
static bool is_ours(const struct stat *info, mode_t forbidden, const char *what, const char *path,
                    struct buffer *why)
{
    if (!S_ISDIR(info->st_mode))
        buffer_append_format(why, "%s %s is not a directory", what, path);
    else if (info->st_uid != geteuid() && info->st_uid != 0)
        buffer_append_format(why,
                             "%s %s belongs to another user (uid %u; this is uid %u), who could "
                             "change what is in it; run: chown %u on it",
                             what, path, (unsigned)info->st_uid, (unsigned)geteuid(),
                             (unsigned)geteuid());
    else if (info->st_mode & forbidden)
        buffer_append_format(why, "%s %s may be written by others; run: chmod %s on it", what, path,
                             forbidden & S_IWGRP ? "700" : "o-w");
    else
        return true;
    return false;
}

/* The sockets in it must be out of other users' reach: nobody else may put files there. */
static enum status open_run_dir(const char *run_dir, int *fd_r, struct buffer *why)
{
    struct stat info;
    int error = make_directories(run_dir);
    int fd = open(run_dir, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) < 0) {
        errno = fd < 0 && errno == ENOENT && error ? error : errno;
        let_go(&fd);
        return failed(why, "make run_dir", run_dir);
    }
    if (is_ours(&info, S_IWGRP | S_IWOTH, "run_dir", run_dir, why)) {
        *fd_r = fd;
        return STATUS_OK;
    }
    let_go(&fd);
    return STATUS_UNAVAILABLE;
}

/* The store makes what is missing. A group may write: that is how Kubernetes hands out volumes. */
static bool check_data(const char *what, const char *path, struct buffer *why)
{
    struct stat info;
    return stat(path, &info) < 0 || is_ours(&info, S_IWOTH, what, path, why);
}

void lock_database_path(const struct conf *conf, char *path, size_t size)
{
    bool absolute = *conf->disk_path == '/';
    snprintf(path, size, "%s%s%s", absolute ? "" : conf->data_dir, absolute ? "" : "/",
             conf->disk_path);
}

/* ---- Locks ---- */

static bool lock_patiently(int fd)
{
    for (int i = 0; i < TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK)
            return false;
        poll(NULL, 0, PAUSE_MS);
    }
    errno = EWOULDBLOCK;
    return false;
}

static enum status refused(int directory, const char *run_dir, struct buffer *why)
{
    char text[16] = "";
    int fd = openat(directory, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int pid = fd >= 0 && pread(fd, text, sizeof text - 1, 0) > 0 ? atoi(text) : 0;
    let_go(&fd);
    buffer_append_format(why, "run_dir %s is in use by stratod", run_dir);
    if (pid > 0) /* it has not written it yet, or no more */
        buffer_append_format(why, ", pid %d", pid);
    return STATUS_UNAVAILABLE;
}

/* Locks the directory that fd is open on, unless it is the one that is held already. */
static enum status hold_directory(struct lock *lock, int fd, const char *run_dir,
                                  struct buffer *why)
{
    struct stat held, info;
    if (lock->directory >= 0 && fstat(lock->directory, &held) == 0 && fstat(fd, &info) == 0 &&
        held.st_dev == info.st_dev && held.st_ino == info.st_ino) {
        close(fd);
        return STATUS_OK;
    }
    if (!lock_patiently(fd)) {
        if (errno == EWOULDBLOCK) {
            enum status status = refused(fd, run_dir, why);
            close(fd);
            return status;
        }
        log_debug("run_dir itself cannot be locked: %s", strerror(errno)); /* the file can */
    }
    let_go(&lock->directory);
    lock->directory = fd;
    return STATUS_OK;
}

static enum status hold_file(struct lock *lock, const char *run_dir, struct buffer *why)
{
    char path[CONF_TEXT_MAX + 8];
    snprintf(path, sizeof path, "%s/lock", run_dir);
    int fd = openat(lock->directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                    0600);
    if (fd < 0)
        return failed(why, "open", path);
    if (!lock_patiently(fd)) {
        enum status status = errno == EWOULDBLOCK ? refused(lock->directory, run_dir, why)
                                                  : failed(why, "lock", path);
        close(fd);
        return status;
    }
    /* On a full disk the lock is there all the same. */
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
        log_warn("%s does not hold our pid: %s", path, strerror(errno));
    let_go(&lock->file);
    lock->file = fd;
    return STATUS_OK;
}

/* False when another process holds it. Before the first start it is not there: the store makes it,
 * and has a lock of its own in it. */
static bool hold_data(struct lock *lock, const struct conf *conf)
{
    char path[2 * CONF_TEXT_MAX];
    if (lock->data >= 0 || !conf_uses(conf, BACKEND_DISK))
        return true;
    lock_database_path(conf, path, sizeof path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return true;
    bool held = flock(fd, LOCK_EX | LOCK_NB) == 0;
    bool taken = !held && errno == EWOULDBLOCK;
    if (held)
        lock->data = fd;
    else
        close(fd);
    return !taken;
}

/* ---- For the supervisor ---- */

enum status lock_renew(struct lock *lock, const struct conf *conf, struct buffer *why)
{
    int fd = -1;
    struct stat held, info;
    if (open_run_dir(conf->run_dir, &fd, why) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    bool same_file = lock->file >= 0 && fstat(lock->file, &held) == 0 &&
                     fstatat(fd, "lock", &info, AT_SYMLINK_NOFOLLOW) == 0 &&
                     held.st_dev == info.st_dev && held.st_ino == info.st_ino;
    if (hold_directory(lock, fd, conf->run_dir, why) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    return same_file ? STATUS_OK : hold_file(lock, conf->run_dir, why);
}

static enum status take_data(struct lock *lock, const struct conf *conf, struct buffer *why)
{
    char path[2 * CONF_TEXT_MAX];
    lock_database_path(conf, path, sizeof path);
    if (!conf_uses(conf, BACKEND_DISK))
        return STATUS_OK;
    if (!check_data("data_dir", conf->data_dir, why) || !check_data("[disk] path", path, why))
        return STATUS_UNAVAILABLE;
    for (int i = 0; !hold_data(lock, conf); i++) {
        if (i == TRIES) {
            buffer_append_format(why, "the data in %s is in use by another Strato", path);
            return STATUS_UNAVAILABLE;
        }
        poll(NULL, 0, PAUSE_MS);
    }
    return STATUS_OK;
}

enum status lock_take(struct lock *lock, const struct conf *conf, struct buffer *why)
{
    *lock = LOCK_NONE;
    if (lock_renew(lock, conf, why) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    return take_data(lock, conf, why);
}

bool lock_is_there(struct lock *lock, const struct conf *conf)
{
    char path[CONF_TEXT_MAX + 8];
    struct stat held, info;
    hold_data(lock, conf);
    snprintf(path, sizeof path, "%s/lock", conf->run_dir);
    return fstat(lock->file, &held) == 0 && lstat(path, &info) == 0 && held.st_dev == info.st_dev &&
           held.st_ino == info.st_ino;
}

void lock_release(struct lock *lock)
{
    if (lock->file >= 0 && ftruncate(lock->file, 0) < 0)
        log_warn("the lock file keeps our pid: %s", strerror(errno));
    let_go(&lock->data);
    let_go(&lock->file);
    let_go(&lock->directory);
}
