/*
 * connection - one client: its input, the request under way, its output.
 *
 *     HEAD --parsed--> BODY --all there--> answered at once --> HEAD ...
 *                                     \--> BUSY --reply comes--> HEAD ...
 *     any --last answer--> LINGER or closed
 *
 * At most one operation is under way; requests sent behind it stay in the input until it is
 * answered, so answers are in order. Output is written once per round; while much of it waits,
 * nothing more is read.
 */
#ifndef STRATO_WORKERS_HTTP_CONNECTION_H
#define STRATO_WORKERS_HTTP_CONNECTION_H

#include "workers/http/chunk.h"
#include "workers/http/server.h"

enum http_state {
    HTTP_STATE_HEAD,   /* waiting for a request's head, or for the rest of it */
    HTTP_STATE_BODY,   /* the head is parsed; waiting for the body */
    HTTP_STATE_BUSY,   /* the core has it */
    HTTP_STATE_LINGER, /* the last answer is sent, input is dropped until the client closes */
};

struct http_connection {
    struct http_server *server;
    struct http_connection *next, *prev; /* in one of the server's lists */
    struct http_list *list;
    uint64_t touched_ms;
    int fd;
    uint32_t interest; /* epoll events asked for */
    enum http_state state;
    bool last;  /* no more requests are taken: close when the output is written */
    bool dirty; /* the client may still be sending what will not be read */

    struct buffer in;
    size_t start;   /* where the request under way begins in it */
    size_t scanned; /* for http_parse_head() */
    size_t mark;    /* length of in when the time limit was last renewed */
    struct http_head head;
    bool cors;                      /* the head's origin may read the answer */
    const struct http_route *route; /* NULL: answered with refusal */
    struct http_body refusal;
    struct buffer refusal_text;
    struct http_chunked chunked;
    size_t body, body_len; /* of the request, in in */
    size_t at;             /* how far a chunked body is decoded; then behind the request */

    struct core_call call;
    struct http_input input; /* borrows from in */
    enum http_page waiting;  /* HTTP_PAGE_READY, HTTP_PAGE_METRICS: the core was asked */

    struct buffer out;
    size_t sent; /* of out */
};

/* Takes over an accepted socket; refuse: answers 503 and closes. */
void http_connection_open(struct http_server *server, int fd, bool refuse);
/* Handles what epoll saw. The connection may be gone afterwards. */
void http_connection_event(struct http_connection *connection, uint32_t events);
/* Its time is up. The connection may be gone afterwards. */
void http_connection_timeout(struct http_connection *connection);
/* True between requests, with nothing received of the next. */
bool http_connection_idle(const struct http_connection *connection);
void http_connection_close(struct http_connection *connection);

/* ---- Between connection.c and exchange.c ---- */

/* Bytes of output that wait to be written. */
static inline size_t http_connection_pending(const struct http_connection *connection)
{
    return connection->out.len - connection->sent;
}

/* A part of the head of the request under way. */
static inline struct bytes http_connection_part(const struct http_connection *connection,
                                                struct http_span span)
{
    return (struct bytes){connection->in.data + connection->start + span.at, span.len};
}

/* Adds an answer to the output, or writes it straight from where it is. */
void http_connection_answer(struct http_connection *connection, const struct http_body *body);
/* Takes what requests there are and writes the answers. The connection may be gone afterwards. */
void http_connection_go_on(struct http_connection *connection);

/* Takes as many requests as are there. False when more must wait until output is written. */
bool http_exchange_take(struct http_connection *connection);
void http_exchange_error(struct http_connection *connection, int status, const char *text);
/* Answers that no operation could be made of what came, and that the connection cannot go on. */
void http_exchange_refuse(struct http_connection *connection, int status, const char *text);

#endif
