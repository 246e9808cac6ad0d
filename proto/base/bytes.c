/*
 * bytes - the growable buffer. Any process; fails only by panic when memory runs out.
 */
#include "proto/base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/log.h"

void buffer_grow(struct buffer *buffer, size_t extra)
{
    size_t want = buffer->capacity ? buffer->capacity : 256;
    while (want - buffer->len < extra)
        want *= 2;
    uint8_t *data = realloc(buffer->data, want);
    if (!data)
        panic("out of memory: a buffer of %zu bytes", want);
    buffer->data = data;
    buffer->capacity = want;
}

void buffer_append_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_append_format(struct buffer *buffer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        return;
    buffer_reserve(buffer, (size_t)len + 1);
    va_start(args, format);
    vsnprintf((char *)buffer->data + buffer->len, (size_t)len + 1, format, args);
    va_end(args);
    buffer->len += (size_t)len;
}

void buffer_consume(struct buffer *buffer, size_t n)
{
    buffer->len -= n;
    if (buffer->len > 0)
        memmove(buffer->data, buffer->data + n, buffer->len);
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}
