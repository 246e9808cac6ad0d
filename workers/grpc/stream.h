/*
 * stream - calls that stay open and send messages one by one: health's Watch and reflection. What
 * they say is decided by a kind; this file moves the messages. See server.h.
 */
#ifndef STRATO_WORKERS_GRPC_STREAM_H
#define STRATO_WORKERS_GRPC_STREAM_H

#include "workers/grpc/call.h"

enum { RPC_STREAMS_MAX = 1000 }; /* open at once; more are refused */

struct rpc_stream;

struct rpc_stream_kind {
    const char *path;
    /* A message came that rpc_stream_receive() asked for (the first one is asked for already);
     * NULL: the client sends no more. */
    void (*received)(struct rpc_stream *stream, const struct bytes *message);
    /* What rpc_stream_send() was given is on its way; the next may follow. */
    void (*sent)(struct rpc_stream *stream);
};

struct rpc_stream {
    const struct rpc_stream_kind *kind;
    struct rpc_server *server;
    /* The kind's own; -1 at first. */
    int subject;
    int said;

    LIST_ENTRY(rpc_stream) listed; /* in server->streams.open */
    struct rpc_tag arrived, received, sent, ended, closed;
    struct rpc_call call;
    void *handle;
    bool headers_sent;
    bool sending;
    bool over;       /* its end is sent, or the client has gone */
    uint8_t batches; /* started and not yet over */
};

/* Registers a kind, and then lets its calls arrive. The kind lives as long as the server. */
void *rpc_stream_register(struct rpc_server *server, const struct rpc_stream_kind *kind);
void rpc_stream_post(struct rpc_server *server, const struct rpc_stream_kind *kind, void *handle);

/* Asks for the next message. None may be asked for already. */
void rpc_stream_receive(struct rpc_stream *stream);
/* Sends one message; copied. Not while sending is set. */
void rpc_stream_send(struct rpc_stream *stream, struct bytes message);
void rpc_stream_end(struct rpc_stream *stream, grpc_status_code status, const char *text);

/* Ends all of them, because the server is going. */
void rpc_stream_end_all(struct rpc_server *server);

#endif
