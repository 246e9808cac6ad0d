/*
 * accept - takes connections from the inherited listening sockets and hands them to gRPC, up to a
 * limit. The epoll thread's own.
 *
 * Connections live long, so it matters which worker accepts one: a worker that has many waits a
 * moment, in which one that has fewer takes it.
 */
#ifndef STRATO_WORKERS_GRPC_ACCEPT_H
#define STRATO_WORKERS_GRPC_ACCEPT_H

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/conf/conf.h"

struct rpc_accept {
    grpc_server_credentials *credentials;
    bool open; /* false: draining, or not yet */
    struct rpc_listener {
        int fd;
        uint64_t due_ns; /* when to accept; 0: when the socket says so */
    } listener[CONF_LISTEN_MAX];
    unsigned listeners;
    unsigned limit;
    unsigned descriptors; /* how many may be open */
};

struct rpc_server;

void rpc_accept_open(struct rpc_server *server, unsigned limit);
/* Whether an event of epoll is about a listening socket: then it is readable, and something is to
 * be accepted, now or soon. */
bool rpc_accept_notice(struct rpc_server *server, const void *tag, uint64_t now_ns);
/* Accepts when it is time. */
void rpc_accept_poll(struct rpc_server *server, uint64_t now_ns);
/* How long epoll may wait at most, in ns. */
uint64_t rpc_accept_wait(const struct rpc_server *server, uint64_t now_ns);
/* No more connections. */
void rpc_accept_stop(struct rpc_server *server);
void rpc_accept_close(struct rpc_server *server);

#endif
