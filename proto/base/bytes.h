/*
 * bytes - a borrowed run of bytes and a growable buffer that owns some.
 *
 * Used by every process. Neither is NUL-terminated; any byte may occur.
 */
#ifndef STRATO_PROTO_BASE_BYTES_H
#define STRATO_PROTO_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A borrowed view. data may be NULL only when len is 0. */
struct bytes {
    const uint8_t *data;
    size_t len;
};

/* A view of a NUL-terminated string, without its NUL. Borrows text. */
static inline struct bytes bytes_of(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The order of their bytes: below, at or above 0. One that begins with all of the other is larger.
 */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.data, b.data, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* A growable buffer; all zero is an empty one. Release it with buffer_free(). */
struct buffer {
    uint8_t *data;
    size_t len;
    size_t capacity;
};

/* For buffer_reserve() alone: there is less room than that. */
void buffer_grow(struct buffer *buffer, size_t extra);
/*
 * Makes room for at least extra more bytes behind len. Running out of memory ends the process
 * (a small service that cannot allocate cannot serve; its supervisor restarts it).
 */
static inline void buffer_reserve(struct buffer *buffer, size_t extra)
{
    if (buffer->capacity - buffer->len < extra)
        buffer_grow(buffer, extra);
}
static inline void buffer_append(struct buffer *buffer, const void *data, size_t len)
{
    if (len == 0)
        return;
    buffer_reserve(buffer, len);
    memcpy(buffer->data + buffer->len, data, len);
    buffer->len += len;
}
void buffer_append_text(struct buffer *buffer, const char *text);
/* printf into the buffer; what it appends is not NUL-terminated. */
void buffer_append_format(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Removes the first n bytes (n <= len) and moves the rest to the front. */
void buffer_consume(struct buffer *buffer, size_t n);
/* Frees the memory and leaves an empty buffer. */
void buffer_free(struct buffer *buffer);

static inline struct bytes buffer_bytes(const struct buffer *buffer)
{
    return (struct bytes){buffer->data, buffer->len};
}

#endif
