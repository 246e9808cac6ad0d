/*
 * pool - see pool.h. Runs in the gRPC workers; panics when memory runs out.
 */
#include "workers/grpc/pool.h"

#include <stdlib.h>

#include "proto/base/log.h"

struct rpc_pool_piece {
    struct rpc_pool_piece *next;
    _Alignas(max_align_t) uint8_t data[];
};

static void *allocate(void *data, size_t size)
{
    return rpc_pool_alloc(data, size);
}

static void release(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

void rpc_pool_open(struct rpc_pool *pool)
{
    pool->allocator = (ProtobufCAllocator){allocate, release, pool};
    pool->used = 0;
    pool->pieces = NULL;
}

void *rpc_pool_alloc(struct rpc_pool *pool, size_t size)
{
    const size_t step = _Alignof(max_align_t);
    if (size <= RPC_POOL_ROOM - pool->used) {
        void *data = pool->room + pool->used;
        size_t up = (size + step - 1) / step * step;
        pool->used += up < RPC_POOL_ROOM - pool->used ? up : RPC_POOL_ROOM - pool->used;
        return data;
    }
    struct rpc_pool_piece *piece = malloc(sizeof *piece + size);
    if (!piece)
        panic("out of memory: %zu bytes of a message", size);
    piece->next = pool->pieces;
    pool->pieces = piece;
    return piece->data;
}

void rpc_pool_reset(struct rpc_pool *pool)
{
    while (pool->pieces) {
        struct rpc_pool_piece *next = pool->pieces->next;
        free(pool->pieces);
        pool->pieces = next;
    }
    pool->used = 0;
}
