/*
 * flood - writes cache entries that expire soon: flood PORT COUNT TTL RATE.
 *
 * Keys /cache/flood-0 to flood-(COUNT-1), one pipelined batch at a time, at most RATE a second
 * (0: as fast as it goes). Prints what came of it as one line of JSON.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "tests/integration/load/wire.h"

/* Small, because a worker carries out a whole batch before it looks at its other connections. */
enum { BATCH = 8, REQUEST_MAX = 160 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void send_batch(int fd, unsigned long first, unsigned long count, const char *ttl)
{
    static char batch[BATCH * REQUEST_MAX];
    size_t len = 0;
    for (unsigned long i = first; i < first + count; i++)
        len += (size_t)snprintf(batch + len, sizeof batch - len,
                                "PUT /cache/flood-%lu?value=value-%032lu&ttl=%s HTTP/1.1\r\n"
                                "Host: localhost\r\n\r\n",
                                i, i, ttl);
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, batch + sent, len - sent, MSG_NOSIGNAL);
        if (n < 0)
            err(1, "send");
        sent += (size_t)n;
    }
}

/* Reads count answers; returns how many of them were 204. Answers with a body count as none, which
 * is all that has to be known about them. */
static unsigned long receive_batch(int fd, unsigned long count)
{
    static char data[BATCH * 512 + 1];
    static const char good[] = "HTTP/1.1 204";
    size_t len = 0;
    for (;;) {
        ssize_t n = recv(fd, data + len, sizeof data - 1 - len, 0);
        if (n <= 0)
            err(1, "recv");
        len += (size_t)n;
        data[len] = '\0';
        unsigned long heads = 0;
        unsigned long fine = 0;
        for (char *p = data; (p = strstr(p, "\r\n\r\n")); p += 4)
            heads++;
        if (heads < count)
            continue;
        for (char *p = data; (p = strstr(p, good)); p += sizeof good - 1)
            fine++;
        return fine;
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        errx(2, "usage: flood PORT COUNT TTL RATE");
    unsigned long count = strtoul(argv[2], NULL, 10);
    double rate = strtod(argv[4], NULL);
    struct wire wire = {.port = atoi(argv[1]), .fd = -1};
    unsigned long written = 0;
    if (!wire_open(&wire))
        errx(1, "cannot connect to port %s", argv[1]);
    double start = now();
    for (unsigned long i = 0; i < count; i += BATCH) {
        unsigned long batch = count - i < BATCH ? count - i : BATCH;
        send_batch(wire.fd, i, batch, argv[3]);
        written += receive_batch(wire.fd, batch);
        double ahead = rate > 0 ? start + (double)(i + batch) / rate - now() : 0;
        if (ahead > 0)
            nanosleep(
                &(struct timespec){(time_t)ahead, (long)((ahead - (double)(time_t)ahead) * 1e9)},
                NULL);
    }
    double seconds = now() - start;
    printf("{\"written\": %lu, \"failures\": %lu, \"seconds\": %.3f, \"rate\": %.0f}\n", written,
           count - written, seconds, (double)count / seconds);
    wire_free(&wire);
    return 0;
}
