/*
 * stream - see stream.h. Runs in the gRPC workers; panics when memory runs out.
 *
 * At most one batch of each tag is under way. A stream is freed when it is over and all of its
 * batches are.
 */
#include "workers/grpc/stream.h"

#include <grpc/byte_buffer.h>
#include <stdlib.h>

enum {
    POSTED = 2, /* per kind */
    PER_CONNECTION = 32,
    PER_CONNECTION_SCARCE = 2, /* once half of all streams that may be open are */
};

static void start(struct rpc_stream *stream, const grpc_op *ops, size_t count, struct rpc_tag *tag)
{
    stream->batches++;
    rpc_call_batch(&stream->call, ops, count, tag);
}

/* ---- What a kind does ---- */

void rpc_stream_receive(struct rpc_stream *stream)
{
    grpc_op op;
    if (stream->over)
        return;
    rpc_call_drop(&stream->call);
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &stream->call.payload;
    start(stream, &op, 1, &stream->received);
}

void rpc_stream_send(struct rpc_stream *stream, struct bytes message)
{
    grpc_op ops[2];
    size_t count = 0;
    if (stream->over)
        return;
    grpc_byte_buffer *buffer = rpc_message(message);
    memset(ops, 0, sizeof ops);
    if (!stream->headers_sent)
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[count].op = GRPC_OP_SEND_MESSAGE;
    ops[count++].data.send_message.send_message = buffer;
    stream->headers_sent = true;
    stream->sending = true;
    start(stream, ops, count, &stream->sent);
    grpc_byte_buffer_destroy(buffer);
}

static void leave_list(struct rpc_stream *stream)
{
    LIST_REMOVE(stream, listed);
    stream->server->streams.count--;
    if (stream->call.conn)
        stream->call.conn->streams--;
}

static void set_over(struct rpc_stream *stream)
{
    if (!stream->over)
        leave_list(stream);
    stream->over = true;
}

static void end_as(struct rpc_stream *stream, const struct rpc_end *why)
{
    if (stream->over)
        return;
    struct rpc_end end = *why;
    end.headers = !stream->headers_sent;
    set_over(stream);
    stream->batches++;
    rpc_call_end(&stream->call, &end, &stream->ended);
}

void rpc_stream_end(struct rpc_stream *stream, grpc_status_code status, const char *text)
{
    end_as(stream, &(struct rpc_end){.status = status, .text = bytes_of(text)});
}

void rpc_stream_end_all(struct rpc_server *server)
{
    struct rpc_stream *next;
    for (struct rpc_stream *stream = LIST_FIRST(&server->streams.open); stream; stream = next) {
        next = LIST_NEXT(stream, listed);
        rpc_stream_end(stream, GRPC_STATUS_UNAVAILABLE, "this server is stopping; connect again");
    }
}

/* ---- What the queue reports ---- */

static void post(struct rpc_stream *stream)
{
    struct rpc_server *server = stream->server;
    struct rpc_call *call = &stream->call;
    stream->subject = stream->said = -1;
    stream->headers_sent = stream->sending = stream->over = false;
    rpc_call_init(call, server);
    grpc_call_error error = grpc_server_request_registered_call(
        server->grpc, stream->handle, &call->call, &call->deadline, &call->metadata, NULL,
        server->queue, server->queue, &stream->arrived);
    if (error != GRPC_CALL_OK)
        panic("gRPC does not wait for %s: %s", stream->kind->path,
              grpc_call_error_to_string(error));
}

static void run_arrived(struct rpc_tag *tag, bool ok);
static void run_received(struct rpc_tag *tag, bool ok);
static void run_sent(struct rpc_tag *tag, bool ok);
static void run_over(struct rpc_tag *tag, bool ok);
static void run_closed(struct rpc_tag *tag, bool ok);

static struct rpc_stream *make(struct rpc_server *server, const struct rpc_stream_kind *kind,
                               void *handle)
{
    struct rpc_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        panic("out of memory: a stream");
    *stream = (struct rpc_stream){.kind = kind,
                                  .server = server,
                                  .handle = handle,
                                  .arrived.run = run_arrived,
                                  .received.run = run_received,
                                  .sent.run = run_sent,
                                  .ended.run = run_over,
                                  .closed.run = run_closed};
    return stream;
}

static void enter_list(struct rpc_stream *stream)
{
    struct rpc_streams *streams = &stream->server->streams;
    LIST_INSERT_HEAD(&streams->open, stream, listed);
    streams->count++;
    if (stream->call.conn)
        stream->call.conn->streams++;
}

/* One client must not take them all. */
static bool too_many(const struct rpc_stream *stream)
{
    unsigned all = stream->server->streams.count;
    unsigned most = all <= RPC_STREAMS_MAX / 2 ? PER_CONNECTION : PER_CONNECTION_SCARCE;
    return all > RPC_STREAMS_MAX || (stream->call.conn && stream->call.conn->streams > most);
}

static void run_arrived(struct rpc_tag *tag, bool ok)
{
    struct rpc_stream *stream = RPC_OF(tag, struct rpc_stream, arrived);
    struct rpc_server *server = stream->server;
    if (!ok) { /* the server shuts down */
        rpc_call_clear(&stream->call);
        free(stream);
        return;
    }
    if (!server->closing)
        post(make(server, stream->kind, stream->handle));
    server->calls++;
    struct rpc_end why = {0};
    bool taken = rpc_call_take(&stream->call, &why);
    enter_list(stream);
    stream->batches++;
    rpc_call_watch(&stream->call, &stream->closed);
    if (!taken)
        end_as(stream, &why);
    else if (too_many(stream))
        rpc_stream_end(stream, GRPC_STATUS_RESOURCE_EXHAUSTED,
                       "too many streams are open on this connection, or on all together");
    else if (server->draining)
        rpc_stream_end(stream, GRPC_STATUS_UNAVAILABLE, "this server is stopping; connect again");
    rpc_stream_receive(stream);
}

static void batch_over(struct rpc_stream *stream)
{
    stream->batches--;
    if (stream->batches > 0)
        return;
    stream->server->calls--;
    rpc_call_clear(&stream->call);
    free(stream);
}

static void run_received(struct rpc_tag *tag, bool ok)
{
    struct rpc_stream *stream = RPC_OF(tag, struct rpc_stream, received);
    struct bytes message;
    struct rpc_end why = {0};
    bool good = ok && stream->call.payload;
    if (!good && rpc_call_ended(&stream->call, &why))
        end_as(stream, &why);
    if (good && !rpc_call_message(&stream->call, &message))
        rpc_stream_end(stream, GRPC_STATUS_UNIMPLEMENTED, "compressed messages are not understood");
    if (!stream->over)
        stream->kind->received(stream, good ? &message : NULL);
    batch_over(stream);
}

static void run_sent(struct rpc_tag *tag, bool ok)
{
    struct rpc_stream *stream = RPC_OF(tag, struct rpc_stream, sent);
    stream->sending = false;
    if (ok && !stream->over)
        stream->kind->sent(stream);
    batch_over(stream);
}

static void run_over(struct rpc_tag *tag, bool ok)
{
    (void)ok;
    batch_over(RPC_OF(tag, struct rpc_stream, ended));
}

static void run_closed(struct rpc_tag *tag, bool ok)
{
    struct rpc_stream *stream = RPC_OF(tag, struct rpc_stream, closed);
    (void)ok;
    set_over(stream);
    batch_over(stream);
}

/* ---- The server's side ---- */

void *rpc_stream_register(struct rpc_server *server, const struct rpc_stream_kind *kind)
{
    void *handle =
        grpc_server_register_method(server->grpc, kind->path, NULL, GRPC_SRM_PAYLOAD_NONE, 0);
    if (!handle)
        panic("gRPC does not take the method %s", kind->path);
    return handle;
}

void rpc_stream_post(struct rpc_server *server, const struct rpc_stream_kind *kind, void *handle)
{
    for (int i = 0; i < POSTED; i++)
        post(make(server, kind, handle));
}
