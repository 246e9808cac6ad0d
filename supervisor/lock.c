/*
 * lock - see lock.h. The supervisor; fails with one line for the operator.
 */
#include "supervisor/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/conf/conf.h"

static enum status failed(struct buffer *why, const char *what, const char *path)
{
    buffer_append_format(why, "cannot %s %s: %s", what, path, strerror(errno));
    return STATUS_UNAVAILABLE;
}

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

/* The sockets in it must be out of other users' reach: nobody else may put files there. */
static enum status check_directory(const char *run_dir, struct buffer *why)
{
    struct stat stat_;
    int error = make_directories(run_dir);
    if (stat(run_dir, &stat_) < 0) {
        errno = error;
        return failed(why, "make run_dir", run_dir);
    }
    if (S_ISDIR(stat_.st_mode) && (stat_.st_mode & 022) == 0)
        return STATUS_OK;
    buffer_append_format(why, "run_dir %s %s", run_dir,
                         S_ISDIR(stat_.st_mode) ? "may be written by others; run: chmod 700 on it"
                                                : "is not a directory");
    return STATUS_UNAVAILABLE;
}

static enum status refused(int fd, const char *run_dir, struct buffer *why)
{
    char text[16] = "";
    int pid = pread(fd, text, sizeof text - 1, 0) > 0 ? atoi(text) : 0;
    buffer_append_format(why, "run_dir %s is in use by stratod", run_dir);
    if (pid > 0) /* it has not written it yet, or no more */
        buffer_append_format(why, ", pid %d", pid);
    close(fd);
    return STATUS_UNAVAILABLE;
}

enum status lock_take(const char *run_dir, int *fd_r, struct buffer *why)
{
    char path[CONF_TEXT_MAX + 8];
    if (check_directory(run_dir, why) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    snprintf(path, sizeof path, "%s/lock", run_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return failed(why, "open", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? refused(fd, run_dir, why) : failed(why, "lock", path);
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
        return failed(why, "write", path);
    *fd_r = fd;
    return STATUS_OK;
}

void lock_release(int fd)
{
    if (ftruncate(fd, 0) < 0)
        log_warn("the lock file keeps our pid: %s", strerror(errno));
    close(fd);
}
