/*
 * disk_faults - the system calls through which LMDB writes, defined here so that a test can count
 * what is written and have it fail. Include it in one file of a program only.
 */
#ifndef STRATO_TESTS_UNIT_DISK_FAULTS_H
#define STRATO_TESTS_UNIT_DISK_FAULTS_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
    uint64_t written, syncs;
    uint64_t space;      /* no write may end behind this; 0: any */
    uint64_t longest;    /* a longer write is beyond the process's file size limit; 0: any */
    int sync_error;      /* of fdatasync and fsync; 0: none */
    int write_error;     /* likewise */
    const char *boot_id; /* a file to read instead of the kernel's */
} disk_faults;

/* -1 with errno set when a write may not be. */
static int disk_faults_check(uint64_t end, uint64_t len)
{
    disk_faults.written += len;
    errno = disk_faults.write_error;
    if (!errno && disk_faults.space && end > disk_faults.space)
        errno = ENOSPC;
    if (!errno && disk_faults.longest && len > disk_faults.longest)
        errno = EFBIG;
    return errno ? -1 : 0;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    if (disk_faults_check((uint64_t)offset + len, len) != 0)
        return -1;
    return syscall(SYS_pwrite64, fd, data, len, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    uint64_t len = 0;
    for (int i = 0; i < count; i++)
        len += parts[i].iov_len;
    if (disk_faults_check((uint64_t)lseek(fd, 0, SEEK_CUR) + len, len) != 0)
        return -1;
    return syscall(SYS_writev, fd, parts, count);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    if (disk_faults.space && (uint64_t)(offset + len) > disk_faults.space) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

int fdatasync(int fd)
{
    disk_faults.syncs++;
    errno = disk_faults.sync_error;
    return errno ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    errno = disk_faults.sync_error;
    return errno ? -1 : (int)syscall(SYS_fsync, fd);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    if (disk_faults.boot_id && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
        path = disk_faults.boot_id;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

#endif
