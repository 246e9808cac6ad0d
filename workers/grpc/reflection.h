/*
 * reflection - which services and messages there are, for clients without a .proto at hand:
 * grpc.reflection, v1 and v1alpha. See server.h.
 */
#ifndef STRATO_WORKERS_GRPC_REFLECTION_H
#define STRATO_WORKERS_GRPC_REFLECTION_H

#include "workers/grpc/server.h"

/* Before the server starts. */
void rpc_reflection_register(struct rpc_server *server);
/* After it has started. */
void rpc_reflection_post(struct rpc_server *server);

/* Appends the response to one request message. False when the request is none. Pure. */
bool rpc_reflection_answer(struct bytes request, struct buffer *response);

#endif
