/*
 * os - what every program does first, and calls of newer kernels with what is done where the kernel
 * is too old for them or a filter (seccomp) forbids them.
 *
 * Nothing here logs. What has no fallback is old: memfd_create(), and getrandom(), which nng calls.
 */
#ifndef STRATO_PROTO_BASE_OS_H
#define STRATO_PROTO_BASE_OS_H

#include <stdint.h>

struct epoll_event;

/*
 * The first call of every main(). Opens /dev/null for those of the descriptors 0, 1 and 2 that are
 * closed, or else the next file opened would get our log. Ignores SIGPIPE and SIGXFSZ, so that a
 * write fails with EPIPE or EFBIG and somebody says so. Has SIGCHLD sent (whoever started us may
 * have ignored it). Files and sockets are made for this user alone (umask).
 */
void os_begin(void);

/* Marks every descriptor from first on close-on-exec. */
void os_close_on_exec(int first);

/* A memfd, close-on-exec, that may be sealed and never executed; -1 and errno. */
int os_memfd(const char *name);

/* Like epoll_wait(), but timeout_ns is in nanoseconds. */
int os_epoll_wait(int epoll_fd, struct epoll_event *events, int count, uint64_t timeout_ns);

#endif
