/*
 * fields - what the header fields of a request mean, one by one as they are read. Pure. Private to
 * parse.c.
 */
#ifndef STRATO_WORKERS_HTTP_FIELDS_H
#define STRATO_WORKERS_HTTP_FIELDS_H

#include "workers/http/parse.h"

/* What must be remembered while the fields are read. */
struct http_fields {
    struct http_head *head;
    const uint8_t *start; /* of the head */
    unsigned hosts;
    bool close, keep_alive;
    bool transfer_encoding;
    bool accept; /* some Accept that prefers something */
    struct http_wish {
        uint8_t exactness; /* of the range that says it: 0 none, 1 any type, 2 TYPE/any, 3 it */
        uint8_t place;     /* of that range in Accept */
        uint16_t weight;   /* q * 1000 */
    } wishes[HTTP_FORM_COUNT];
    uint8_t ranges; /* of Accept so far */
};

/* Sets what a refused head is answered with. False. */
bool http_head_bad(struct http_head *head, int error, const char *reason);

static inline bool http_is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Takes one field into the head. False: the request is refused, the head says why. */
bool http_field_take(struct http_fields *fields, struct bytes name, struct bytes value);

/* The form that all Accept fields together prefer. */
enum http_form http_fields_accept(const struct http_fields *fields);

#endif
