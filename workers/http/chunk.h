/*
 * chunk - the chunked transfer coding of a request's body, decoded in place as it comes. Pure.
 */
#ifndef STRATO_WORKERS_HTTP_CHUNK_H
#define STRATO_WORKERS_HTTP_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_CHUNK_EXTRA_MAX = 16384 }; /* of all extensions and trailers together */

/* All zero at the start of a body. */
struct http_chunked {
    uint64_t left; /* of the chunk, or its size so far */
    uint32_t extra;
    uint8_t state;
    uint8_t digits;
};

enum http_chunk { HTTP_CHUNK_MORE, HTTP_CHUNK_DONE, HTTP_CHUNK_BAD, HTTP_CHUNK_TOO_LARGE };

/*
 * Decodes data[*at_r .. len) and appends what is body at data + *body_len_r, which is never behind
 * *at_r; moves both on. HTTP_CHUNK_DONE: *at_r is behind the body's end. A body of more than max
 * bytes is HTTP_CHUNK_TOO_LARGE.
 */
enum http_chunk http_chunk_decode(struct http_chunked *chunked, uint8_t *data, size_t len,
                                  uint64_t max, size_t *at_r, size_t *body_len_r);

#endif
