/*
 * os - see os.h. Any process. Only os_begin() can end it.
 */
#include "proto/base/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* Linux 6.3; the system may insist on it (vm.memfd_noexec = 2) */
#endif

enum { DESCRIPTORS_MAX = 1 << 20 }; /* what no process has unless root raised fs.nr_open */

/* ---- At the beginning ---- */

/* The lowest free number is the one that is opened. Without /dev/null anything that takes no data
 * will do: the number is what counts. */
static void fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0 && open("/", O_PATH) < 0)
            _exit(1); /* there is no way to say why */
}

void os_begin(void)
{
    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    umask(077);
}

/* ---- Descriptors ---- */

static void mark(int fd)
{
    int flags = fcntl(fd, F_GETFD);
    if (flags >= 0)
        fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
}

static void mark_all(int first)
{
    struct rlimit limit;
    rlim_t end = DESCRIPTORS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < end)
        end = limit.rlim_cur;
    for (int fd = first; fd < (int)end; fd++)
        mark(fd);
}

void os_close_on_exec(int first)
{
    if (close_range((unsigned)first, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    DIR *directory = opendir("/proc/self/fd");
    if (!directory) {
        mark_all(first);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(directory));) {
        int fd = atoi(entry->d_name); /* "." and ".." are 0 */
        if (fd >= first)
            mark(fd);
    }
    closedir(directory);
}

int os_memfd(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* ---- Waiting ---- */

int os_epoll_wait(int epoll_fd, struct epoll_event *events, int count, uint64_t timeout_ns)
{
    static _Atomic bool missing; /* epoll_pwait2() is of Linux 5.11 */
    struct timespec wait = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
    struct pollfd readable = {.fd = epoll_fd, .events = POLLIN};
    if (!atomic_load_explicit(&missing, memory_order_relaxed)) {
        int n = epoll_pwait2(epoll_fd, events, count, &wait, NULL);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return n;
        atomic_store_explicit(&missing, true, memory_order_relaxed);
    }
    int n = ppoll(&readable, 1, &wait, NULL);
    return n > 0 ? epoll_wait(epoll_fd, events, count, 0) : n;
}
