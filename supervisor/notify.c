/*
 * notify - see notify.h. The supervisor. A datagram that systemd does not take is lost: it has its
 * own time limits for us.
 */
#include "supervisor/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/log.h"

enum { KEPT_FIRST = 3, KEPT_MAX = 64 }; /* as in sd_listen_fds(3) */

static struct sockaddr_un address;
static socklen_t address_len;
static int fd = -1;

static uint64_t watchdog_ms;
static int kept_count;
static char *kept_names; /* separated by colons, in the order of their descriptors; or NULL */

/* The number in an environment variable that is meant for this process; 0 if there is none. */
static uint64_t own_number(const char *name, const char *pid_name)
{
    const char *pid = getenv(pid_name), *text = getenv(name);
    bool ours = !pid || strtol(pid, NULL, 10) == (long)getpid();
    return text && ours ? strtoull(text, NULL, 10) : 0;
}

static void read_environment(void)
{
    watchdog_ms = own_number("WATCHDOG_USEC", "WATCHDOG_PID") / 2000;
    uint64_t count = getenv("LISTEN_PID") ? own_number("LISTEN_FDS", "LISTEN_PID") : 0;
    const char *kept = getenv("LISTEN_FDNAMES");
    if (count > KEPT_MAX)
        log_warn("systemd gives %llu descriptors; only the first %d are looked at",
                 (unsigned long long)count, KEPT_MAX);
    kept_count = count < KEPT_MAX ? (int)count : KEPT_MAX;
    if (kept_count > 0 && kept)
        kept_names = strdup(kept);
    for (uint64_t i = 0; i < count && i < KEPT_MAX; i++)
        fcntl(KEPT_FIRST + (int)i, F_SETFD, FD_CLOEXEC);
    static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                        "LISTEN_PID",    "LISTEN_FDS",    "LISTEN_FDNAMES"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
}

static void open_socket(const char *path)
{
    size_t len = strlen(path);
    if (len < 2 || len >= sizeof address.sun_path || (*path != '/' && *path != '@'))
        return;
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path, len);
    if (*path == '@')
        address.sun_path[0] = '\0'; /* in the abstract namespace */
    address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

void notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    if (path)
        open_socket(path);
    read_environment();
}

uint64_t notify_watchdog_ms(void)
{
    return watchdog_ms;
}

int notify_kept(const char *name)
{
    size_t len = strlen(name);
    int kept = KEPT_FIRST;
    for (char *at = kept_names; at && kept < KEPT_FIRST + kept_count; kept++) {
        char *end = strchr(at, ':');
        size_t at_len = end ? (size_t)(end - at) : strlen(at);
        if (at_len == len && memcmp(at, name, len) == 0) {
            *at = '/'; /* taken: no such name is ever asked for */
            return kept;
        }
        at = end ? end + 1 : NULL;
    }
    return -1;
}

void notify_warn_unused(void)
{
    int kept = KEPT_FIRST;
    for (const char *at = kept_names; at && kept < KEPT_FIRST + kept_count; kept++) {
        int type;
        socklen_t len = sizeof type;
        if (*at != '/' && getsockopt(kept, SOL_SOCKET, SO_TYPE, &type, &len) == 0)
            log_warn(
                "the socket that systemd calls %.*s is not served: FileDescriptorName= must be "
                "strato-http or strato-grpc",
                (int)strcspn(at, ":"), at);
        at = strchr(at, ':');
        at = at ? at + 1 : NULL;
    }
}

static void send_message(struct msghdr *message)
{
    if (fd < 0)
        return;
    message->msg_name = &address;
    message->msg_namelen = address_len;
    if (sendmsg(fd, message, MSG_NOSIGNAL) < 0)
        log_warn("systemd does not take a notification: %s", strerror(errno));
}

void notify_keep(int kept, const char *name)
{
    char text[128];
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &kept, sizeof kept);
    int len = snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s", name);
    struct iovec part = {text, (size_t)len};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.space};
    send_message(&message);
}

void notify_send(const char *text)
{
    struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    send_message(&message);
}
