/*
 * hold - what a connection's buffers take of the worker's memory budget: all of those that are
 * larger than HTTP_BLOCK. A connection that holds some is in the server's holders, in order of
 * since when.
 */
#ifndef STRATO_WORKERS_HTTP_HOLD_H
#define STRATO_WORKERS_HTTP_HOLD_H

#include "workers/http/connection.h"

/* What a buffer counts. */
size_t http_hold_size(const struct buffer *buffer);
/* Takes memory for a larger buffer, before it is made. False when there is none. */
bool http_hold_take(struct http_connection *connection, size_t bytes);
/* Whether there is memory for so much. */
bool http_hold_probe(struct http_connection *connection, size_t bytes);
/* Makes a buffer so large; the memory for it is taken. */
void http_hold_resize(struct http_connection *connection, struct buffer *buffer, size_t capacity);
/* Gives back what was taken and is not needed by the buffers as they are. */
void http_hold_settle(struct http_connection *connection);
/* Empties a buffer and gives back what it took. */
static inline void http_hold_release(struct http_connection *connection, struct buffer *buffer)
{
    http_pool_return(&connection->server->pool, buffer);
    if (connection->held > 0)
        http_hold_settle(connection);
}

#endif
