/*
 * unary - calls of one request and one reply: the operations.
 */
#ifndef STRATO_WORKERS_GRPC_UNARY_H
#define STRATO_WORKERS_GRPC_UNARY_H

#include <sys/queue.h>

#include "workers/grpc/methods.h"

struct rpc_server;

TAILQ_HEAD(rpc_unary_list, rpc_unary);

struct rpc_unary_calls {
    struct rpc_unary_list unwatched; /* open calls, the oldest first */
    struct rpc_unary_list spare;     /* for reuse */
    unsigned spares;
    /* gRPC searches all calls that are posted when one arrives. So there are only as many as arrive
     * between two turns of the queue thread. */
    struct rpc_unary_method {
        void *handle;
        unsigned posted, wanted;
    } methods[RPC_METHODS];
};

/* Registers every method of the table; before the server starts. */
void rpc_unary_register(struct rpc_server *server);
/* Lets calls arrive; after the server has started. */
void rpc_unary_post(struct rpc_server *server);
/* Watches for the close of calls that have been open for a while. Returns when to call it again, in
 * ns; UINT64_MAX when there is nothing to watch for. */
uint64_t rpc_unary_watch(struct rpc_server *server, uint64_t now_ns);
/* Frees what is kept for reuse; at the end. */
void rpc_unary_free(struct rpc_server *server);

#endif
