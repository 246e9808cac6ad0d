/*
 * pool - see pool.h. Runs in the http workers; fails only by panic when memory runs out.
 */
#include "workers/http/pool.h"

#include <stdlib.h>

void http_pool_lend(struct http_pool *pool, struct buffer *buffer)
{
    if (pool->count > 0)
        *buffer = (struct buffer){.data = pool->blocks[--pool->count], .capacity = HTTP_BLOCK};
    else
        buffer_reserve(buffer, HTTP_BLOCK);
}

void http_pool_return(struct http_pool *pool, struct buffer *buffer)
{
    if (buffer->data && buffer->capacity == HTTP_BLOCK && pool->count < HTTP_POOL_MAX) {
        pool->blocks[pool->count++] = buffer->data;
        *buffer = (struct buffer){0};
    } else {
        buffer_free(buffer);
    }
}

void http_pool_close(struct http_pool *pool)
{
    while (pool->count > 0)
        free(pool->blocks[--pool->count]);
}
