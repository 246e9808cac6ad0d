/*
 * call - see call.h. Runs in the gRPC workers; panics when gRPC refuses an operation, which only a
 * misuse of ours makes it do.
 */
#include "workers/grpc/call.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <stdlib.h>

void rpc_call_init(struct rpc_call *call, struct rpc_server *server)
{
    call->server = server;
    call->call = NULL;
    call->payload = NULL;
    call->cancelled = call->descriptor = 0;
    call->whole = grpc_empty_slice();
    grpc_metadata_array_init(&call->metadata);
}

void rpc_call_clear(struct rpc_call *call)
{
    rpc_call_drop(call);
    if (call->call)
        grpc_call_unref(call->call);
    grpc_metadata_array_destroy(&call->metadata);
}

bool rpc_call_message(struct rpc_call *call, struct bytes *message_r)
{
    struct grpc_compressed_buffer *raw = &call->payload->data.raw;
    const grpc_slice *slice = &raw->slice_buffer.slices[0];
    *message_r = (struct bytes){0};
    if (raw->compression != GRPC_COMPRESS_NONE)
        return false;
    if (raw->slice_buffer.count == 0)
        return true;
    if (raw->slice_buffer.count > 1) {
        grpc_byte_buffer_reader reader;
        if (!grpc_byte_buffer_reader_init(&reader, call->payload))
            panic("gRPC cannot read its own message");
        call->whole = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
        slice = &call->whole;
    }
    *message_r = (struct bytes){GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice)};
    return true;
}

void rpc_call_drop(struct rpc_call *call)
{
    if (call->payload)
        grpc_byte_buffer_destroy(call->payload);
    call->payload = NULL;
    grpc_slice_unref(call->whole);
    call->whole = grpc_empty_slice();
}

void rpc_call_batch(struct rpc_call *call, const grpc_op *ops, size_t count, struct rpc_tag *tag)
{
    grpc_call_error error = grpc_call_start_batch(call->call, ops, count, tag, NULL);
    if (error != GRPC_CALL_OK)
        panic("gRPC does not take a batch: %s", grpc_call_error_to_string(error));
}

void rpc_call_watch(struct rpc_call *call, struct rpc_tag *tag)
{
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &call->cancelled;
    rpc_call_batch(call, &op, 1, tag);
}

grpc_byte_buffer *rpc_message(struct bytes message)
{
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)message.data, message.len);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

/* Of the call's connection; 0 when it has none any more. gRPC calls a connection that it was handed
 * by its descriptor. */
static int descriptor(struct rpc_call *call)
{
    char *peer = grpc_call_get_peer(call->call);
    int fd = strncmp(peer, "fd:", 3) == 0 ? atoi(peer + 3) : 0;
    gpr_free(peer);
    return fd;
}

void rpc_call_end(struct rpc_call *call, const struct rpc_end *end, struct rpc_tag *tag)
{
    grpc_op ops[4];
    size_t count = 0;
    grpc_byte_buffer *message = end->message ? rpc_message(*end->message) : NULL;
    grpc_slice text = grpc_slice_from_copied_buffer((const char *)end->text.data, end->text.len);
    memset(ops, 0, sizeof ops);
    if (end->headers)
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (message) {
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = message;
    }
    ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[count].data.send_status_from_server.status = end->status;
    ops[count++].data.send_status_from_server.status_details = end->text.len > 0 ? &text : NULL;
    if (end->close) {
        ops[count].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
        ops[count++].data.recv_close_on_server.cancelled = &call->cancelled;
    }
    call->descriptor = descriptor(call);
    rpc_cork_answer(&call->server->cork, call->descriptor);
    rpc_call_batch(call, ops, count, tag);
    grpc_byte_buffer_destroy(message);
    grpc_slice_unref(text);
}
