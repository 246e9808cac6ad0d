/*
 * pool - the memory of one decoded message: protobuf-c allocates here piece by piece, and all of it
 * is released at once. Small messages need no malloc, and one of many small fields needs few.
 */
#ifndef STRATO_WORKERS_GRPC_POOL_H
#define STRATO_WORKERS_GRPC_POOL_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

enum {
    RPC_POOL_ROOM = 1024,
    RPC_POOL_CHUNK = 65536, /* what is asked of malloc beyond the room, */
    RPC_POOL_SMALL = 4096,  /* for pieces up to this */
};

struct rpc_pool {
    ProtobufCAllocator allocator; /* for the unpack functions */
    uint8_t *free;                /* the next piece, aligned, */
    size_t left;                  /* and how much there is */
    struct rpc_pool_chunk *chunks;
    size_t allowed; /* what may still be asked of malloc */
    bool exhausted; /* more was asked for */
    _Alignas(max_align_t) uint8_t room[RPC_POOL_ROOM];
};

/* Everything but the room is set; the pool must not be moved afterwards. */
void rpc_pool_open(struct rpc_pool *pool);
/* Releases all that was allocated. */
void rpc_pool_reset(struct rpc_pool *pool);
/* How much may be allocated beyond the room, until the reset: a message of many small fields would
 * take 35 times its length. Without it there is no bound. */
void rpc_pool_allow(struct rpc_pool *pool, size_t bytes);
/* NULL: more than is allowed. Panics when memory runs out. */
void *rpc_pool_alloc(struct rpc_pool *pool, size_t size);

#endif
