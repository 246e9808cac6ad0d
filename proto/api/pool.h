/*
 * pool - the memory of one decoded message: protobuf-c allocates here piece by piece, and all of it
 * is released at once. Small messages need no malloc, and one of many small fields needs few.
 */
#ifndef STRATO_PROTO_API_POOL_H
#define STRATO_PROTO_API_POOL_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

enum {
    API_POOL_ROOM = 1024,
    API_POOL_CHUNK = 65536, /* what is asked of malloc beyond the room, */
    API_POOL_SMALL = 4096,  /* for pieces up to this */
};

struct api_pool {
    ProtobufCAllocator allocator; /* for the unpack functions */
    uint8_t *free;                /* the next piece, aligned, */
    size_t left;                  /* and how much there is */
    struct api_pool_chunk *chunks;
    size_t allowed; /* what may still be asked of malloc */
    bool exhausted; /* more was asked for */
    _Alignas(max_align_t) uint8_t room[API_POOL_ROOM];
};

/* Everything but the room is set; the pool must not be moved afterwards. */
void api_pool_open(struct api_pool *pool);
/* Releases all that was allocated. */
void api_pool_reset(struct api_pool *pool);
/* How much may be allocated beyond the room, until the reset: a message of many small fields would
 * take 35 times its length. Without it there is no bound. */
void api_pool_allow(struct api_pool *pool, size_t bytes);
/* NULL: more than is allowed. Panics when memory runs out. */
void *api_pool_alloc(struct api_pool *pool, size_t size);

#endif
