/*
 * server - the event loop of an http worker and what its connections share.
 *
 *      epoll --> accept            new connections
 *            --> connection        read, parse, core_start(), answer
 *            --> core's fds        completions: core_poll() calls back into the connections
 *
 * One thread. Connections are level-triggered. All time limits of one kind have the same length, so
 * each kind is a list in order of time and only its front need be looked at.
 */
#ifndef STRATO_WORKERS_HTTP_SERVER_H
#define STRATO_WORKERS_HTTP_SERVER_H

#include "workers/core/core.h"
#include "workers/http/access.h"
#include "workers/http/reply.h"

enum {
    HTTP_BLOCK = 8192,     /* size of a pooled buffer */
    HTTP_POOL_MAX = 64,    /* pooled buffers kept for reuse */
    HTTP_LINGER_MS = 1000, /* how long the rest of a refused request is read and dropped */
    HTTP_REFUSED_MAX = 64, /* connections over max_connections that are told so at one time */
    HTTP_QUIET_MS = 1000,  /* a connection idle for so long may be closed when draining */
};

struct http_connection;

struct http_list {
    struct http_connection *head, *tail; /* head: touched longest ago */
};

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
    struct http_list active;    /* every connection but those: */
    struct http_list lingering; /* answered; what they still send is dropped */

    uint8_t *pool[HTTP_POOL_MAX];
    unsigned pooled;
    struct buffer scratch; /* bodies being shaped */
    struct http_access access;
    bool loopback; /* the listening address is one */
    char error[400];
};

/* Takes over the inherited listening socket. Ends the process when it cannot. */
void http_server_open(struct http_server *server, struct run_child *child, struct core *core);
/* Serves until the child is told to stop and has drained. */
void http_server_run(struct http_server *server);

/* A buffer that has at least HTTP_BLOCK bytes of room; from the pool. */
void http_server_lend(struct http_server *server, struct buffer *buffer);
/* Takes a buffer's memory back and leaves an empty one. */
void http_server_return(struct http_server *server, struct buffer *buffer);

#endif
