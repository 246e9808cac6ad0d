/*
 * fault - a library for LD_PRELOAD that has the writes to data.mdb fail as the file named by
 * STRATO_FAULT says: "write" or "sync" (EIO), "space BYTES" (ENOSPC behind that). Without the file
 * all is well.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_data(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path);
    return len > 9 && memcmp(path + len - 9, "/data.mdb", 9) == 0;
}

/* The error that a call shall have; 0: none. end: of what it writes. */
static int fault(int fd, const char *call, uint64_t end)
{
    char text[64] = "";
    const char *path = getenv("STRATO_FAULT");
    int file = path && is_data(fd) ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY) : -1;
    if (file < 0)
        return 0;
    ssize_t len = read(file, text, sizeof text - 1);
    close(file);
    if (len > 0 && strncmp(text, call, strlen(call)) == 0)
        return EIO;
    if (len > 6 && strncmp(text, "space ", 6) == 0 && end > strtoull(text + 6, NULL, 10))
        return ENOSPC;
    return 0;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    errno = fault(fd, "write", (uint64_t)offset + len);
    return errno ? -1 : syscall(SYS_pwrite64, fd, data, len, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    uint64_t end = (uint64_t)lseek(fd, 0, SEEK_CUR);
    for (int i = 0; i < count; i++)
        end += parts[i].iov_len;
    errno = fault(fd, "write", end);
    return errno ? -1 : syscall(SYS_writev, fd, parts, count);
}

int fdatasync(int fd)
{
    errno = fault(fd, "sync", 0);
    return errno ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    errno = fault(fd, "fallocate", (uint64_t)(offset + len));
    return errno ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, len);
}
