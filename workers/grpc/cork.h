/*
 * cork - lets answers to one connection leave together.
 *
 * gRPC writes each answer to its socket at once, and the writing is a third of a call's cost. When
 * several follow one another to the same connection the socket is corked (TCP_CORK): the kernel
 * collects them until the queue thread has nothing more at hand. A single answer is not touched.
 * With the server's mutex held.
 */
#ifndef STRATO_WORKERS_GRPC_CORK_H
#define STRATO_WORKERS_GRPC_CORK_H

#include <stdbool.h>
#include <stdint.h>

enum {
    RPC_CORK_MAX = 16,
    RPC_CORK_ANSWERS = 64, /* then they leave in any case */
    RPC_CORK_NS = 50000,   /* two answers so close to each other will be followed by more */
};

struct rpc_cork {
    int last;         /* descriptor of the last answer's connection; 0: none since the release */
    uint64_t last_ns; /* when that was */
    unsigned answers; /* since the release */
    unsigned count;
    int corked[RPC_CORK_MAX];
};

/* Before an answer is sent to a connection. */
void rpc_cork_answer(struct rpc_cork *cork, int fd);
/* Lets go of everything. */
void rpc_cork_release(struct rpc_cork *cork);

#endif
