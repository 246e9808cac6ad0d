/*
 * wire - a blocking HTTP/1.1 client over one keep-alive connection, for the load generators.
 */
#ifndef STRATO_TESTS_INTEGRATION_LOAD_WIRE_H
#define STRATO_TESTS_INTEGRATION_LOAD_WIRE_H

#include <stdbool.h>

#include "proto/base/bytes.h"

struct wire {
    int port; /* on 127.0.0.1 */
    int fd;   /* -1: not connected */
    struct buffer in, out;
    size_t consumed; /* of in: the answer given last */
    bool ended; /* the last answer said "Connection: close": what came behind it was not read */
    uint8_t covered; /* the byte of in that the NUL behind its body stands for */
};

struct wire_answer {
    int status;
    const char *body; /* valid until the next answer; NUL behind it */
    size_t body_len;
};

/* Connects, trying again for up to 10 s. False when it cannot. */
bool wire_open(struct wire *wire);
void wire_close(struct wire *wire);

/* Closes it and frees its buffers. */
void wire_free(struct wire *wire);

/* Connects anew if the last answer ended the connection. Puts a request behind those that
 * wire_flush() will send together. headers is "" or whole lines with \r\n; body may be NULL. */
void wire_queue(struct wire *wire, const char *method, const char *target, const char *headers,
                const void *body, size_t body_len);
/* Both are false when the connection broke or, after 30 s, when nothing came: then it is closed,
 * and whether the requests without an answer were carried out is unknown; unless it has ended, then
 * they were not. */
bool wire_flush(struct wire *wire);
bool wire_receive(struct wire *wire, struct wire_answer *answer_r);

/* One request: the three above. */
bool wire_ask(struct wire *wire, const char *method, const char *target, const char *headers,
              const void *body, size_t body_len, struct wire_answer *answer_r);

#endif
