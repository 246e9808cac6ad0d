/*
 * pool - see pool.h. Runs in the gRPC workers; panics when memory runs out.
 */
#include "proto/api/pool.h"

#include <stdlib.h>

#include "proto/base/log.h"

struct api_pool_chunk {
    struct api_pool_chunk *next;
    _Alignas(max_align_t) uint8_t data[];
};

static void *allocate(void *data, size_t size)
{
    return api_pool_alloc(data, size);
}

static void release(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

void api_pool_open(struct api_pool *pool)
{
    pool->allocator = (ProtobufCAllocator){allocate, release, pool};
    pool->chunks = NULL;
    pool->free = pool->room;
    pool->left = API_POOL_ROOM;
    pool->allowed = SIZE_MAX;
    pool->exhausted = false;
}

void api_pool_allow(struct api_pool *pool, size_t bytes)
{
    pool->allowed = bytes;
}

static uint8_t *add_chunk(struct api_pool *pool, size_t size)
{
    pool->exhausted |= size > pool->allowed;
    if (pool->exhausted)
        return NULL;
    pool->allowed -= size;
    struct api_pool_chunk *chunk = malloc(sizeof *chunk + size);
    if (!chunk)
        panic("out of memory: %zu bytes of a message", size);
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    return chunk->data;
}

void *api_pool_alloc(struct api_pool *pool, size_t size)
{
    const size_t step = _Alignof(max_align_t);
    if (size > pool->left) {
        if (size > API_POOL_SMALL)
            return add_chunk(pool, size);
        uint8_t *chunk = add_chunk(pool, API_POOL_CHUNK);
        if (!chunk)
            return NULL;
        pool->free = chunk;
        pool->left = API_POOL_CHUNK;
    }
    size_t taken = (size + step - 1) / step * step;
    uint8_t *piece = pool->free;
    taken = taken < pool->left ? taken : pool->left;
    pool->free += taken;
    pool->left -= taken;
    return piece;
}

void api_pool_reset(struct api_pool *pool)
{
    while (pool->chunks) {
        struct api_pool_chunk *next = pool->chunks->next;
        free(pool->chunks);
        pool->chunks = next;
    }
    pool->free = pool->room;
    pool->left = API_POOL_ROOM;
    pool->allowed = SIZE_MAX;
    pool->exhausted = false;
}
