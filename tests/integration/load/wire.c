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
#include <unistd.h>

bool wire_open(struct wire *wire)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)wire->port)};
    struct timeval patience = {.tv_sec = 30};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
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
    wire->in.len = wire->out.len = wire->consumed = 0;
    wire->ended = false;
}

void wire_free(struct wire *wire)
{
    wire_close(wire);
    buffer_free(&wire->in);
    buffer_free(&wire->out);
}

void wire_queue(struct wire *wire, const char *method, const char *target, const char *headers,
                const void *body, size_t body_len)
{
    if (wire->ended) {
        wire_close(wire);
        wire_open(wire);
    }
    buffer_append_format(&wire->out, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s", method, target,
                         headers);
    if (body)
        buffer_append_format(&wire->out, "Content-Length: %zu\r\n", body_len);
    buffer_append_text(&wire->out, "\r\n");
    if (body)
        buffer_append(&wire->out, body, body_len);
}

static bool broken(struct wire *wire)
{
    wire_close(wire);
    return false;
}

bool wire_flush(struct wire *wire)
{
    for (size_t at = 0; at < wire->out.len;) {
        ssize_t sent = send(wire->fd, wire->out.data + at, wire->out.len - at, MSG_NOSIGNAL);
        if (sent < 0)
            return broken(wire);
        at += (size_t)sent;
    }
    wire->out.len = 0;
    return true;
}

/* Reads more behind what is there, and a NUL behind that. */
static bool fill(struct wire *wire)
{
    buffer_reserve(&wire->in, 65536);
    ssize_t got =
        recv(wire->fd, wire->in.data + wire->in.len, wire->in.capacity - wire->in.len - 1, 0);
    if (got <= 0)
        return false;
    wire->in.len += (size_t)got;
    wire->in.data[wire->in.len] = '\0';
    return true;
}

/* Drops the last answer and uncovers what came behind it. */
static void drop_answer(struct wire *wire)
{
    if (wire->consumed == 0)
        return;
    wire->in.data[wire->consumed] = wire->covered;
    buffer_consume(&wire->in, wire->consumed);
    wire->in.data[wire->in.len] = '\0';
    wire->consumed = 0;
}

bool wire_receive(struct wire *wire, struct wire_answer *answer_r)
{
    const char *end = NULL;
    if (wire->ended)
        return false;
    drop_answer(wire);
    for (;;) {
        end = wire->in.len ? strstr((char *)wire->in.data, "\r\n\r\n") : NULL;
        if (end)
            break;
        if (!fill(wire))
            return broken(wire);
    }
    const char *data = (char *)wire->in.data;
    size_t head = (size_t)(end - data) + 4;
    if (sscanf(data, "HTTP/1.1 %3d", &answer_r->status) != 1)
        return broken(wire);
    const char *field = strcasestr(data, "\r\ncontent-length:");
    size_t length = 0;
    if (field && field < end)
        length = strtoul(field + strlen("\r\ncontent-length:"), NULL, 10);
    const char *close_field = strcasestr(data, "\r\nconnection: close\r\n");
    bool last = close_field && close_field < end;
    while (wire->in.len < head + length)
        if (!fill(wire))
            return broken(wire);
    wire->consumed = head + length;
    wire->covered = wire->in.data[wire->consumed];
    wire->in.data[wire->consumed] = '\0';
    wire->ended = last;
    answer_r->body = (char *)wire->in.data + head;
    answer_r->body_len = length;
    return true;
}

bool wire_ask(struct wire *wire, const char *method, const char *target, const char *headers,
              const void *body, size_t body_len, struct wire_answer *answer_r)
{
    if (wire->fd < 0)
        return false;
    wire_queue(wire, method, target, headers, body, body_len);
    return wire_flush(wire) && wire_receive(wire, answer_r);
}
