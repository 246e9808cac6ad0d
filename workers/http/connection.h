/*
 * connection - one client: its input, the request under way, its output.
 *
 *     HEAD --parsed--> BODY --all there--> answered at once --> HEAD ...
 *                                     \--> BUSY --reply comes--> HEAD ...
 *     any --last answer--> LINGER or closed
 *
 * At most one operation is under way; requests sent behind it stay in the input until it is
 * answered, so answers are in order. A turn is HTTP_TURN_WORK of requests; what is left waits for
 * the next. While output waits to be taken, nothing more is read.
 *
 * Buffers that are larger than HTTP_BLOCK are taken from the worker's memory budget: the connection
 * then is one of the server's holders.
 */
#ifndef STRATO_WORKERS_HTTP_CONNECTION_H
#define STRATO_WORKERS_HTTP_CONNECTION_H

#include "workers/http/chunk.h"
#include "workers/http/server.h"

enum http_state {
    HTTP_STATE_HEAD,  /* waiting for a request's head, or for the rest of it */
    HTTP_STATE_BODY,  /* the head is parsed; waiting for the body */
    HTTP_STATE_LATER, /* it reads a long value: at its next turn, for there was one in this round */
    HTTP_STATE_BUSY,  /* the core has it */
    HTTP_STATE_LINGER, /* the last answer is sent, input is dropped until the client closes */
};

enum {
    HTTP_LONG = 65536,   /* values longer than this are long */
    HTTP_TURN_WORK = 64, /* of one turn: 1 for a request, and 1 for each KiB of its value */
};

struct http_connection {
    struct http_server *server;
    struct http_queue *list; /* active or lingering */
    TAILQ_ENTRY(http_connection) listed;
    uint64_t touched_ms;
    int fd;
    uint32_t interest; /* epoll events asked for */
    enum http_state state;
    bool last;  /* no more requests are taken: close when the output is written */
    bool dirty; /* the client may still be sending what will not be read */
    bool loopback;
    bool queued; /* in the server's turns */
    int work;    /* left of its turn */
    TAILQ_ENTRY(http_connection) turn, holder;
    uint64_t held_ms; /* since when it holds memory of the budget */
    size_t held;      /* bytes of it; 0: not in the server's holders */

    struct buffer in;
    size_t start;   /* where the request under way begins in it */
    size_t scanned; /* for http_parse_head() */
    size_t moved;   /* bytes received or sent since the time limit was last renewed */
    struct http_head head;
    bool cors;                      /* the head's origin may read the answer */
    const struct http_route *route; /* NULL: answered with refusal */
    struct http_body refusal;
    struct buffer refusal_text;
    struct http_chunked chunked;
    size_t body, body_len; /* of the request, in in */
    size_t at;             /* how far a chunked body is decoded; then behind the request */

    struct core_call call;
    struct buffer message;   /* what the request became, where that is a message */
    struct http_input input; /* borrows from in */
    enum http_page waiting;  /* HTTP_PAGE_READY: the core was asked */

    struct buffer out;
    size_t sent; /* of out */
};

/* Takes over a socket, accepted on a loopback address or another one; refuse: answers 503 and
 * closes. */
void http_connection_open(struct http_server *server, int fd, bool loopback, bool refuse);
/* Handles what epoll saw. The connection may be gone afterwards. */
void http_connection_event(struct http_connection *connection, uint32_t events);
/* Its time is up. The connection may be gone afterwards. */
void http_connection_timeout(struct http_connection *connection);
/* Its turn came. The connection may be gone afterwards. */
void http_connection_turn(struct http_connection *connection);
/* Takes the memory that it holds away and breaks it off. False when it cannot be done now. */
bool http_connection_cut(struct http_connection *connection);
/* Closes it in order: what still comes is dropped, so that a request which crosses the close is
 * lost, not the connection's end. The connection may be gone afterwards. */
void http_connection_finish(struct http_connection *connection);
/* True between requests, with nothing received of the next. */
bool http_connection_idle(const struct http_connection *connection);
void http_connection_close(struct http_connection *connection);

/*
 * ---- Between connection.c and exchange.c ----
 *
 * The two call each other, on purpose: connection.c gives what it has read to exchange.c, and when
 * the reply of a request comes later, exchange.c answers and lets the connection go on.
 */

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
/* Answers that there is no memory for the answer. */
void http_connection_no_memory(struct http_connection *connection);
/* Takes what requests there are and writes the answers. The connection may be gone afterwards. */
void http_connection_go_on(struct http_connection *connection);

enum http_take {
    HTTP_TAKE_ALL,    /* no more can be done now */
    HTTP_TAKE_OUTPUT, /* output must be written first */
    HTTP_TAKE_TURN,   /* the turn is over */
};

/* Takes the requests that are there. */
enum http_take http_exchange_take(struct http_connection *connection);
void http_exchange_error(struct http_connection *connection, int status, const char *text);
/* Answers that no operation could be made of what came, and that the connection cannot go on. */
void http_exchange_refuse(struct http_connection *connection, int status, const char *text);

#endif
