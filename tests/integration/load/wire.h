/*
 * wire - a blocking HTTP/1.1 client over one keep-alive connection, for the load generators.
 */
#ifndef STRATO_TESTS_INTEGRATION_LOAD_WIRE_H
#define STRATO_TESTS_INTEGRATION_LOAD_WIRE_H

#include <stdbool.h>
#include <stddef.h>

struct wire {
    int port; /* on 127.0.0.1 */
    int fd;   /* -1: not connected */
    char *data;
    size_t len;
    size_t capacity;
};

struct wire_answer {
    int status;
    const char *body; /* valid until the next question; NUL behind it */
    size_t body_len;
};

/* Connects, trying again for up to 10 s. False when it cannot. */
bool wire_open(struct wire *wire);
void wire_close(struct wire *wire);

/*
 * Sends a request and waits up to 30 s for its answer. headers is "" or whole lines with \r\n.
 * body may be NULL. False when the connection broke or nothing came: then it is closed, and whether
 * the request was carried out is unknown.
 */
bool wire_ask(struct wire *wire, const char *method, const char *target, const char *headers,
              const void *body, size_t body_len, struct wire_answer *answer_r);

#endif
