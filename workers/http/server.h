/*
 * server - the event loop of an http worker and what its connections share.
 *
 *      epoll --> accept            new connections
 *            --> connection        read, parse, core_start(), answer
 *            --> core's fds        completions: core_poll() calls back into the connections
 *
 * One thread. A connection with many requests in its input answers some and goes to the end of a
 * queue, so that all others are looked at between. Connections are level-triggered. All time limits
 * of one kind have the same length, so each kind is a list in order of time and only its front need
 * be looked at.
 */
#ifndef STRATO_WORKERS_HTTP_SERVER_H
#define STRATO_WORKERS_HTTP_SERVER_H

#include <sys/queue.h>

#include "workers/core/core.h"
#include "workers/http/access.h"
#include "workers/http/pool.h"
#include "workers/http/reply.h"

enum {
    HTTP_LINGER_MS = 1000,   /* how long the rest of a refused request is read and dropped */
    HTTP_LAST_MS = 500,      /* before drain_timeout: connections still idle are closed, in order */
    HTTP_RATE_MIN = 4096,    /* bytes/s that a body, or an answer being taken, must move at least */
    HTTP_HOLD_MS = 1000,     /* memory held for so long may be taken away when others need it */
    HTTP_TURNS_NS = 1000000, /* time per round for connections whose turn was over */
    HTTP_REFUSED_MAX = 64,   /* connections over max_connections that are told so at one time */
    HTTP_QUIET_MS = 1000,    /* a connection idle for so long may be closed when draining */
};

struct http_connection;

TAILQ_HEAD(http_queue, http_connection);

struct http_server {
    struct run_child *child;
    struct core *core;
    int epoll_fd;
    bool accepting;
    uint64_t accept_again_ms; /* when out of descriptors: try again then; else 0 */
    bool draining;
    uint64_t drain_end_ms;

    uint64_t now_ms; /* monotonic; of this round */
    uint64_t date_s; /* of style.date */
    struct http_style style;

    unsigned connections;
    /* In order of when they were touched: */
    struct http_queue active;    /* every connection but those: */
    struct http_queue lingering; /* answered; what they still send is dropped */
    struct http_queue turns;   /* requests wait in their input; in the order they get their turn */
    struct http_queue holders; /* hold memory of the budget; the longest holder comes first */
    const struct http_connection *asking; /* for memory: it is not asked to give some up */
    bool long_done;                       /* a long value was answered in this round */
    unsigned later;                       /* connections in HTTP_STATE_LATER */
    uint64_t progress; /* bytes of a body or answer that renew a time limit (HTTP_RATE_MIN) */

    struct http_pool pool;
    struct buffer scratch; /* bodies being shaped */
    struct http_access access;
    bool loopback[CONF_LISTEN_MAX]; /* which listening addresses are one */
    char error[400];
};

/* Takes over the inherited listening socket. Ends the process when it cannot. */
void http_server_open(struct http_server *server, struct run_child *child, struct core *core);
/* Serves until the child is told to stop and has drained. */
void http_server_run(struct http_server *server);

/* The parts that http_server_open() makes without looking at descriptors, and one round of
 * http_server_run(), which waits for wait_max_ms at most: for tests with connections of their own.
 */
void http_server_init(struct http_server *server, struct run_child *child, struct core *core);
void http_server_round(struct http_server *server, int wait_max_ms);
/* Frees what it has of its own; no connection may be open. */
void http_server_close(struct http_server *server);

#endif
