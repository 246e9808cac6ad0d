/*
 * hold - see hold.h. Runs in the http workers; fails only by panic when memory runs out.
 */
#include "workers/http/hold.h"

#include <stdlib.h>

size_t http_hold_size(const struct buffer *buffer)
{
    return buffer->capacity > HTTP_BLOCK ? buffer->capacity : 0;
}

void http_hold_settle(struct http_connection *c)
{
    size_t needed = http_hold_size(&c->in) + http_hold_size(&c->out) + http_hold_size(&c->message);
    if (needed >= c->held)
        return;
    core_budget_give(c->server->core, c->held - needed);
    c->held = needed;
    if (needed == 0)
        TAILQ_REMOVE(&c->server->holders, c, holder);
}

bool http_hold_take(struct http_connection *c, size_t bytes)
{
    struct http_server *server = c->server;
    server->asking = c;
    bool taken = core_budget_take(server->core, bytes);
    server->asking = NULL;
    if (!taken)
        return false;
    if (c->held == 0) {
        c->held_ms = server->now_ms;
        TAILQ_INSERT_TAIL(&server->holders, c, holder);
    }
    c->held += bytes;
    return true;
}

bool http_hold_probe(struct http_connection *c, size_t bytes)
{
    bool taken = http_hold_take(c, bytes);
    http_hold_settle(c);
    return taken;
}

void http_hold_resize(struct http_connection *c, struct buffer *buffer, size_t capacity)
{
    uint8_t *data = realloc(buffer->data, capacity);
    if (!data)
        panic("out of memory: %zu bytes for a client", capacity);
    buffer->data = data;
    buffer->capacity = capacity;
    http_hold_settle(c);
}
