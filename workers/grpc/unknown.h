/*
 * unknown - calls of methods that do not exist: UNIMPLEMENTED. See server.h.
 */
#ifndef STRATO_WORKERS_GRPC_UNKNOWN_H
#define STRATO_WORKERS_GRPC_UNKNOWN_H

#include "workers/grpc/server.h"

/* Lets calls arrive; after the server has started. */
void rpc_unknown_post(struct rpc_server *server);

#endif
