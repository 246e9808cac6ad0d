/*
 * accept - takes connections from the inherited listening sockets and hands them to gRPC, up to a
 * limit. The epoll thread's own.
 *
 * Connections live long, so who accepts one matters: a worker that has many waits a moment, in
 * which one that has fewer takes it.
 */
#ifndef STRATO_WORKERS_GRPC_ACCEPT_H
#define STRATO_WORKERS_GRPC_ACCEPT_H

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/conf/conf.h"

struct rpc_accept {
    grpc_server_credentials *credentials;
    bool open; /* false: draining, or not yet */
    struct rpc_listener {
        int fd;
        uint64_t due_ns; /* when to accept; 0: when the socket says so */
    } listener[CONF_LISTEN_MAX];
    unsigned listeners;
    uint64_t swept_ns;    /* when the connections were last looked at */
    unsigned connections; /* as far as known: gRPC does not tell when one ends */
    unsigned limit;
    unsigned places;
    struct rpc_place {     /* by descriptor; with the server's mutex held */
        ino_t inode;       /* of the socket that was accepted as it; 0: none */
        uint64_t received; /* bytes, when rpc_accept_mark() was called */
        uint64_t expected; /* bytes that belong to calls that have ended since */
    } * place;
};

struct rpc_server;

void rpc_accept_open(struct rpc_server *server, unsigned limit);
/* Whether an event of epoll is about a listening socket: then it is readable, and something is to
 * be accepted, now or soon. */
bool rpc_accept_notice(struct rpc_server *server, const void *tag, uint64_t now_ns);
/* Accepts when it is time, and counts now and then which connections are still there. */
void rpc_accept_poll(struct rpc_server *server, uint64_t now_ns);
/* How long epoll may wait at most, in ns. */
uint64_t rpc_accept_wait(const struct rpc_server *server, uint64_t now_ns);
/* No more connections. */
void rpc_accept_stop(struct rpc_server *server);
/* Counts the connections that are there. */
unsigned rpc_accept_count(struct rpc_server *server);
/* The following three are for the guard, which holds the server's mutex. */
/* Remembers how much each connection has sent so far. */
void rpc_accept_mark(struct rpc_server *server);
/* So much of what a connection sends is as it should be. */
void rpc_accept_expect(struct rpc_server *server, int fd, uint64_t bytes);
/* What the connections have sent since they were marked: all together, and the one that has sent
 * most beside what was expected. */
struct rpc_excess {
    uint64_t total;
    uint64_t most;
    int worst;     /* its descriptor */
    unsigned gone; /* how many are no more */
};
struct rpc_excess rpc_accept_excess(struct rpc_server *server);

void rpc_accept_close(struct rpc_server *server);

#endif
