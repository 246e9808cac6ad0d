/*
 * wire - see wire.h. Test programs only; a failed connection is the caller's to count.
 */
#include "tests/integration/load/wire.h"

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

bool wire_open(struct wire *wire)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)wire->port)};
    struct timeval patience = {.tv_sec = 30};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    wire->len = 0;
    for (int tries = 0; tries < 1000; tries++) {
        wire->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (wire->fd < 0)
            err(1, "socket");
        if (connect(wire->fd, (struct sockaddr *)&address, sizeof address) == 0) {
            setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            setsockopt(wire->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            return true;
        }
        wire_close(wire);
        usleep(10000);
    }
    return false;
}

void wire_close(struct wire *wire)
{
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
    wire->len = 0;
}

static bool send_all(int fd, struct iovec *parts, int count)
{
    while (count > 0) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0)
            return false;
        for (; count > 0 && (size_t)sent >= parts->iov_len; parts++, count--)
            sent -= (ssize_t)parts->iov_len;
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + sent;
            parts->iov_len -= (size_t)sent;
        }
    }
    return true;
}

/* Reads more behind what is there; keeps room for a NUL. */
static bool fill(struct wire *wire)
{
    if (wire->capacity - wire->len < 16384) {
        wire->capacity = wire->capacity * 2 + 65536;
        wire->data = realloc(wire->data, wire->capacity);
        if (!wire->data)
            err(1, "realloc");
    }
    ssize_t got = recv(wire->fd, wire->data + wire->len, wire->capacity - wire->len - 1, 0);
    if (got <= 0)
        return false;
    wire->len += (size_t)got;
    wire->data[wire->len] = '\0';
    return true;
}

static bool receive(struct wire *wire, struct wire_answer *answer_r)
{
    char *end = NULL;
    wire->len = 0;
    while (!end) {
        if (!fill(wire))
            return false;
        end = strstr(wire->data, "\r\n\r\n");
    }
    size_t head = (size_t)(end - wire->data) + 4;
    if (sscanf(wire->data, "HTTP/1.1 %3d", &answer_r->status) != 1)
        return false;
    const char *field = strcasestr(wire->data, "\r\ncontent-length:");
    size_t length = 0;
    if (field && field < end)
        length = strtoul(field + strlen("\r\ncontent-length:"), NULL, 10);
    while (wire->len < head + length)
        if (!fill(wire))
            return false;
    answer_r->body = wire->data + head;
    answer_r->body_len = length;
    return true;
}

bool wire_ask(struct wire *wire, const char *method, const char *target, const char *headers,
              const void *body, size_t body_len, struct wire_answer *answer_r)
{
    char head[2048];
    int len = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s", method, target,
                       headers);
    if (body)
        len += snprintf(head + len, sizeof head - (size_t)len, "Content-Length: %zu\r\n", body_len);
    len += snprintf(head + len, sizeof head - (size_t)len, "\r\n");
    struct iovec parts[2] = {{head, (size_t)len}, {(void *)body, body_len}};
    if (wire->fd >= 0 && send_all(wire->fd, parts, body ? 2 : 1) && receive(wire, answer_r))
        return true;
    wire_close(wire);
    return false;
}
