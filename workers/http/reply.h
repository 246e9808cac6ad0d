/*
 * reply - the head of an answer.
 */
#ifndef STRATO_WORKERS_HTTP_REPLY_H
#define STRATO_WORKERS_HTTP_REPLY_H

#include "workers/http/routes.h"

enum { HTTP_DATE_LEN = 37 };

/* How the connection stands when the answer is written. */
struct http_style {
    char date[HTTP_DATE_LEN + 1]; /* "Date: ...\r\n" */
    bool close;                   /* Connection: close */
    bool keep_alive;              /* Connection: keep-alive; what HTTP/1.0 has to be told */
    bool vary;                    /* what is answered depends on Origin */
    struct bytes origin;          /* that may read the answer; empty: none is told */
};

/* Writes the Date field for a time in seconds since the epoch. */
void http_reply_date(uint64_t now_s, char date_r[HTTP_DATE_LEN + 1]);

size_t http_reply_length(const struct http_body *body);

/* Appends the head, not the body. */
void http_reply_head(struct buffer *out, const struct http_body *body,
                     const struct http_style *style);

#endif
