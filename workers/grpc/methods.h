/*
 * methods - the gRPC contract as ONE table: path, operation, how its request is decoded and how its
 * reply is encoded. Pure: bytes in, bytes out; nothing here knows gRPC.
 */
#ifndef STRATO_WORKERS_GRPC_METHODS_H
#define STRATO_WORKERS_GRPC_METHODS_H

#include "proto/api/pool.h"
#include "proto/base/op.h"

struct rpc_input {
    struct bytes message;
    struct api_pool *pool; /* what the request borrows is here or in message */
    uint64_t now_ms;       /* wall clock */
    const char *error;     /* why decode returned false; static */
};

struct rpc_method {
    const char *path; /* "/proto.KV/KVGet" */
    enum op op;
    /* Fills all but op of a zeroed request. False: INVALID_ARGUMENT, and error says why. */
    bool (*decode)(struct rpc_input *input, struct request *request_r);
    /* Appends the message that answers a STATUS_OK. False when the message cannot carry what is
     * stored, because it is no UTF-8; nothing is appended then. */
    bool (*encode)(const struct reply *reply, struct buffer *out);
};

enum {
    RPC_METHODS = 0
#define METHOD(operation, path, decode, encode) /* NOLINT */ +1
#include "proto/api/operations.def"
};
extern const struct rpc_method rpc_methods[RPC_METHODS];

/* What to say when encode returned false: after a read, and after a change. */
extern const char rpc_not_utf8[], rpc_done_not_utf8[];

#endif
