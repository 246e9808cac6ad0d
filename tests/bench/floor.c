/*
 * floor - the least work that any HTTP server here must do: one thread, one epoll, a fixed reply.
 *
 * A benchmark's yardstick, not part of the product. It understands nothing but the end of a request
 * head; a body counts as the beginning of the next head, so a request is still answered once.
 * Usage: floor PORT (0 takes a free one); prints the port. Ends the process on any failure of its
 * own; a connection that fails is closed.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FDS_MAX = 4096, EVENTS = 256, BURST = 64 };

static const char body[] = "{\"value\":\"0123456789012345678901234567890123456789012345678901\"}";
static char reply[256];
static size_t reply_len;
static unsigned char matched[FDS_MAX]; /* bytes of \r\n\r\n seen at the end so far, by descriptor */

/* Counts the heads that end in data and carries a partial end over to the next call. */
static unsigned count_heads(int fd, const char *data, size_t len)
{
    static const char end[] = "\r\n\r\n";
    unsigned heads = 0;
    unsigned at = matched[fd];
    for (const char *p = data, *stop = data + len; p < stop;) {
        if (at == 0 && !(p = memchr(p, '\r', (size_t)(stop - p))))
            break;
        if (*p == end[at])
            at++;
        else
            at = *p == '\r';
        p++;
        if (at == 4) {
            heads++;
            at = 0;
        }
    }
    matched[fd] = (unsigned char)at;
    return heads;
}

static int answer(int fd, unsigned heads)
{
    static char burst[BURST * sizeof reply];
    while (heads > 0) {
        unsigned n = heads < BURST ? heads : BURST;
        const char *out = reply;
        if (n > 1) {
            for (unsigned i = 0; i < n; i++)
                memcpy(burst + i * reply_len, reply, reply_len);
            out = burst;
        }
        ssize_t sent = send(fd, out, n * reply_len, MSG_NOSIGNAL);
        if (sent != (ssize_t)(n * reply_len))
            return -1; /* a peer that does not read its replies */
        heads -= n;
    }
    return 0;
}

static void serve(int fd)
{
    static char data[65536];
    ssize_t len = recv(fd, data, sizeof data, 0);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len <= 0 || answer(fd, count_heads(fd, data, (size_t)len)) != 0)
        close(fd);
}

static void accept_one(int listener, int poll)
{
    int one = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (fd >= FDS_MAX) {
        close(fd);
        return;
    }
    matched[fd] = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) != 0)
        close(fd);
}

static int listen_on(unsigned short port)
{
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        err(1, "listening on port %u", port);
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        errx(2, "usage: floor PORT");
    int listener = listen_on((unsigned short)strtoul(argv[1], NULL, 10));
    int poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event) != 0)
        err(1, "epoll");
    reply_len = (size_t)snprintf(reply, sizeof reply,
                                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                 "Content-Length: %zu\r\n\r\n%s",
                                 sizeof body - 1, body);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(poll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            err(1, "epoll_wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_one(listener, poll);
            else
                serve(events[i].data.fd);
        }
    }
}
