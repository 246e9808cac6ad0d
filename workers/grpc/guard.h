/*
 * guard - notices a client that makes work without ever finishing a call, and cuts it off.
 *
 * The C core reads one connection for as long as it has something to read. A client that sends
 * without waiting for answers, resetting each call at once, so keeps the queue thread from
 * everybody else and fills the memory; no limit of gRPC 1.51 stops it. What it cannot hide is that
 * the queue thread works and nothing gets done. So the time that the finished calls may have taken,
 * and that our own work for calls still open took, is compared with the time that the thread has
 * worked; when most of that is unaccounted for, the connection that sends most beside finished
 * calls is cut off.
 *
 * The epoll thread looks; whoever finishes a call accounts for it, with the server's mutex held.
 */
#ifndef STRATO_WORKERS_GRPC_GUARD_H
#define STRATO_WORKERS_GRPC_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_guard {
    uint64_t useful_ns; /* that finished work may have taken in this period */
    uint64_t worked_ns; /* that the queue thread had worked when the period began */
    uint64_t since_ns;  /* when that was */
    uint64_t due_ns;    /* when to look again */
};

struct rpc_server;

/* A call of a connection has ended as it should, with so many bytes of messages. */
void rpc_guard_call(struct rpc_server *server, int fd, size_t bytes);
/* The queue thread did work of our own for so long. */
void rpc_guard_work(struct rpc_server *server, uint64_t ns);
/* A connection was taken. */
void rpc_guard_connection(struct rpc_server *server);
/* Looks, when it is time. Returns when to call again at the latest, in ns. */
uint64_t rpc_guard_poll(struct rpc_server *server, uint64_t now_ns);

#endif
