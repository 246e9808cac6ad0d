/*
 * chunk - see chunk.h. Runs in the http workers; touches nothing but its arguments.
 */
#include "workers/http/chunk.h"

#include <string.h>

#include "proto/base/text.h"

enum state {
    SIZE = 0,   /* hex digits */
    SIZE_SPACE, /* behind them; an extension or the end follows */
    EXTENSION,  /* up to the CR */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER,      /* at the start of a line behind the last chunk */
    TRAILER_LINE, /* up to its CR */
    TRAILER_LF,
    END_LF,
    FAILED,
};

static enum state on_size_space(struct http_chunked *chunked, uint8_t c)
{
    if (c == '\r')
        return SIZE_LF;
    if (c == ';')
        return EXTENSION;
    bool space = (c == ' ' || c == '\t') && ++chunked->extra <= HTTP_CHUNK_EXTRA_MAX;
    return space ? SIZE_SPACE : FAILED;
}

static enum state on_size(struct http_chunked *chunked, uint8_t c)
{
    int digit = text_hex(c);
    if (digit >= 0) {
        if (chunked->digits == 16)
            return FAILED;
        chunked->digits++;
        chunked->left = chunked->left << 4 | (uint64_t)digit;
        return SIZE;
    }
    if (chunked->digits == 0)
        return FAILED;
    return on_size_space(chunked, c);
}

/* Inside an extension or a trailer: anything but control characters, a bounded number of it. */
static enum state on_extra(struct http_chunked *chunked, uint8_t c, enum state same,
                           enum state at_cr)
{
    if (c == '\r')
        return at_cr;
    if ((c < 0x20 && c != '\t') || c == 0x7f || ++chunked->extra > HTTP_CHUNK_EXTRA_MAX)
        return FAILED;
    return same;
}

static enum state on_size_end(struct http_chunked *chunked, uint8_t c)
{
    if (c != '\n')
        return FAILED;
    chunked->digits = 0;
    return chunked->left > 0 ? DATA : TRAILER;
}

/* Every byte but those of DATA and the last. */
static enum state step(struct http_chunked *chunked, uint8_t c)
{
    switch ((enum state)chunked->state) {
    case SIZE:
        return on_size(chunked, c);
    case SIZE_SPACE:
        return on_size_space(chunked, c);
    case EXTENSION:
        return on_extra(chunked, c, EXTENSION, SIZE_LF);
    case SIZE_LF:
        return on_size_end(chunked, c);
    case DATA_CR:
        return c == '\r' ? DATA_LF : FAILED;
    case DATA_LF:
        return c == '\n' ? SIZE : FAILED;
    case TRAILER:
        return on_extra(chunked, c, TRAILER_LINE, END_LF);
    case TRAILER_LINE:
        return on_extra(chunked, c, TRAILER_LINE, TRAILER_LF);
    case TRAILER_LF:
        return c == '\n' ? TRAILER : FAILED;
    default:
        return FAILED;
    }
}

static void take_data(struct http_chunked *chunked, uint8_t *data, size_t len, size_t *at,
                      size_t *body_len)
{
    size_t n = chunked->left < len - *at ? (size_t)chunked->left : len - *at;
    memmove(data + *body_len, data + *at, n);
    *at += n;
    *body_len += n;
    chunked->left -= n;
    if (chunked->left == 0)
        chunked->state = DATA_CR;
}

enum http_chunk http_chunk_decode(struct http_chunked *chunked, uint8_t *data, size_t len,
                                  uint64_t max, size_t *at_r, size_t *body_len_r)
{
    while (*at_r < len && chunked->state != FAILED) {
        if (chunked->state == DATA) {
            if (chunked->left > max - *body_len_r)
                return HTTP_CHUNK_TOO_LARGE;
            take_data(chunked, data, len, at_r, body_len_r);
            continue;
        }
        uint8_t c = data[(*at_r)++];
        if (chunked->state == END_LF && c == '\n')
            return HTTP_CHUNK_DONE;
        chunked->state = (uint8_t)step(chunked, c);
    }
    return chunked->state == FAILED ? HTTP_CHUNK_BAD : HTTP_CHUNK_MORE;
}
