/*
 * pool - blocks of memory for the buffers of connections, kept for reuse: most connections need one
 * for the length of a request only.
 */
#ifndef STRATO_WORKERS_HTTP_POOL_H
#define STRATO_WORKERS_HTTP_POOL_H

#include "proto/base/bytes.h"

enum {
    HTTP_BLOCK = 8192,  /* size of a pooled buffer */
    HTTP_POOL_MAX = 64, /* pooled buffers kept for reuse */
};

struct http_pool {
    uint8_t *blocks[HTTP_POOL_MAX];
    unsigned count;
};

/* A buffer that has at least HTTP_BLOCK bytes of room; from the pool. */
void http_pool_lend(struct http_pool *pool, struct buffer *buffer);
/* Takes a buffer's memory back and leaves an empty one. */
void http_pool_return(struct http_pool *pool, struct buffer *buffer);
/* Frees what is kept. */
void http_pool_close(struct http_pool *pool);

#endif
