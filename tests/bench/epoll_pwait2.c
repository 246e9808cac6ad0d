/* epoll_pwait2 - for bench_instructions.py: valgrind does not know this call. Milliseconds do. */
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <time.h>

int epoll_pwait2(int fd, struct epoll_event *events, int count, const struct timespec *timeout,
                 const sigset_t *mask)
{
    long ms = timeout ? timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000 : -1;
    return epoll_pwait(fd, events, count, (int)ms, mask);
}
