/*
 * parse - the head of an HTTP/1.x request: strict, pure, without copying or allocating.
 *
 * It follows RFC 9112 and refuses what could be read in two ways: a line without CR LF, folded
 * fields, whitespace before a colon, several lengths, a length beside a transfer coding.
 */
#ifndef STRATO_WORKERS_HTTP_PARSE_H
#define STRATO_WORKERS_HTTP_PARSE_H

#include <stdbool.h>

#include "proto/base/bytes.h"

enum {
    HTTP_LINE_MAX = 8192,    /* request line, else 414 */
    HTTP_FIELDS_MAX = 16384, /* all header fields together, else 431 */
    HTTP_FIELD_COUNT_MAX = 100,
};

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_PUT,
    HTTP_POST,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER
};

/* The forms that values are answered in; of those that Accept takes equally, the first. */
enum http_form { HTTP_FORM_JSON, HTTP_FORM_TEXT, HTTP_FORM_RAW, HTTP_FORM_COUNT };

enum http_prefer { HTTP_PREFER_NOTHING, HTTP_PREFER_MINIMAL, HTTP_PREFER_REPRESENTATION };

/* A part of the head, from the head's start; empty when there is none. */
struct http_span {
    uint32_t at, len;
};

struct http_head {
    enum http_method method;
    uint32_t target_at, target_len; /* the request target, from the head's start */
    uint32_t size;                  /* of the head, with its empty line */
    uint64_t length;                /* Content-Length; 0 without one; UINT64_MAX: too long to say */
    bool has_length;
    bool chunked;
    bool http10;
    bool keep_alive;
    bool expect_continue;
    bool raw_body;   /* Content-Type is none of those that mean JSON */
    bool cross_site; /* Sec-Fetch-Site: a page of another site makes the request */
    bool preflight;  /* there is an Access-Control-Request-Method */
    enum http_form accept;
    enum http_prefer prefer;
    struct http_span host, origin, request_headers;
    int unmet; /* status of a request that cannot be carried out as its fields ask for; else 0 */
    int error; /* of HTTP_PARSE_BAD: the status to answer with */
    const char *reason; /* of unmet or error */
};

enum http_parse { HTTP_PARSE_DONE, HTTP_PARSE_MORE, HTTP_PARSE_BAD };

/*
 * Parses the head at data. *scanned is the caller's, 0 for a new head: how much of it was seen
 * without finding its end, so that a head that comes in small pieces is not parsed each time.
 * HTTP_PARSE_DONE: *head_r is filled. HTTP_PARSE_MORE: the end is not there yet. HTTP_PARSE_BAD:
 * head_r->error and reason say why; the connection cannot go on.
 */
enum http_parse http_parse_head(const uint8_t *data, size_t len, size_t *scanned,
                                struct http_head *head_r);

#endif
