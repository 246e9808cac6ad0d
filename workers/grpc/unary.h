/*
 * unary - calls of one request and one reply: the operations. See server.h.
 */
#ifndef STRATO_WORKERS_GRPC_UNARY_H
#define STRATO_WORKERS_GRPC_UNARY_H

#include "workers/grpc/server.h"

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
