/*
 * routes - the HTTP contract as ONE table: method and path, the operation, how its request is read
 * and how its reply is shaped. Pure: bytes in, bytes out.
 */
#ifndef STRATO_WORKERS_HTTP_ROUTES_H
#define STRATO_WORKERS_HTTP_ROUTES_H

#include "workers/core/message.h"
#include "workers/http/parse.h"
#include "workers/http/target.h"

/* What a request says, decoded. */
struct http_input {
    const struct http_head *head;
    struct bytes key;
    struct http_query query;
    uint8_t *body; /* may be unescaped in place */
    size_t body_len;
    uint64_t now_ms; /* wall clock */
    char *error;     /* of error_size bytes */
    size_t error_size;
    /* Of an operation that takes a message: where it is put together; empty before. */
    struct buffer *made;
    enum op op;           /* the route's */
    bool int64_as_string; /* the client asks for that */
};

enum { HTTP_ALLOW_MAX = 48 };

/* An answer. The parts follow one another, so that a large value need not be copied to be put
 * between quotes. */
struct http_body {
    int status;
    const char *type;             /* NULL: none */
    char allow[HTTP_ALLOW_MAX];   /* methods, of 405 and of OPTIONS; else empty */
    bool preflight;               /* allow answers a browser's question */
    struct bytes request_headers; /* of a preflight: the fields asked about */
    struct bytes parts[3];
    uint64_t unsent; /* of HEAD: the length of what is not in parts */
};

enum http_page { /* what is answered without an operation */
                 HTTP_PAGE_NONE,
                 HTTP_PAGE_PING,
                 HTTP_PAGE_LIVE,
                 HTTP_PAGE_READY,
                 HTTP_PAGE_METRICS,
};

struct http_route {
    const char *path; /* ends in '/': the key follows, or ?key= instead of '/'; else all of it */
    size_t path_len;
    enum http_method method;
    enum op op;
    enum http_page page;
    unsigned parameters; /* that it reads: 1 << enum http_parameter */
    /* Fills value, number and expiry_ms of the request. False: 400, and error says why. */
    bool (*prepare)(const struct http_input *input, struct request *request_r);
    /* Shapes the reply to a STATUS_OK; scratch is empty and holds what parts do not borrow. For
     * HEAD only status, type and length count. */
    void (*shape)(const struct http_input *input, const struct reply *reply, struct buffer *scratch,
                  struct http_body *body_r);
};

/* The row for a request, HEAD being GET. NULL: *body_r is the answer: of OPTIONS, a 404 or a 405.
 */
const struct http_route *http_route_find(enum http_method method, struct http_text path,
                                         struct http_text query, struct buffer *scratch,
                                         struct http_body *body_r);

/* Whether the reply's value is not needed to shape the answer. */
bool http_route_status_only(const struct http_route *route, const struct http_head *head);

/* Decodes what the row needs; path and query are decoded in place. False: 400, as above. */
bool http_route_prepare(const struct http_route *route, struct http_text path,
                        struct http_text query, struct http_input *input,
                        struct request *request_r);

/* {"error":"TEXT"}. */
void http_body_error(int status, const char *text, struct buffer *scratch,
                     struct http_body *body_r);

#endif
