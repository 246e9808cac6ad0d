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

#include "proto/figures/figures.h"
#include "workers/grpc/utf8.h"

enum {
    METADATA_MAX = 8192, /* of a call, counted as HTTP/2 does: */
    METADATA_SPARE = 32, /* so much for each field besides its name and value */
    TEXT_MAX = 1024,     /* bytes of a status's text */
};

void rpc_call_init(struct rpc_call *call, struct rpc_server *server)
{
    call->server = server;
    call->call = NULL;
    call->payload = NULL;
    call->cancelled = call->descriptor = 0;
    call->conn = NULL;
    call->counted = call->granted = 0;
    call->whole = grpc_empty_slice();
    grpc_metadata_array_init(&call->metadata);
}

/* ---- Counting ---- */

static void set_counted(struct rpc_server *server, uint64_t counted)
{
    server->counted = counted;
    rpc_intake_answers(counted);
}

static void count(struct rpc_call *call, uint64_t bytes)
{
    call->counted += bytes;
    if (call->conn)
        call->conn->answers += bytes;
    set_counted(call->server, call->server->counted + bytes);
}

static bool take_memory(struct rpc_call *call, uint64_t bytes)
{
    struct core *core = call->server->core;
    if (call->conn && rpc_intake_greedy(call->conn, bytes)) {
        core_count(core, FIGURE_BUDGET_REFUSED, 1);
        return false;
    }
    if (!core_budget_take(core, bytes))
        return false;
    call->granted += bytes;
    count(call, bytes);
    return true;
}

bool rpc_call_count(struct rpc_call *call, uint64_t bytes)
{
    if (call->conn)
        atomic_fetch_add(&call->conn->owed_ns, bytes); /* 1 ns each, about */
    return take_memory(call, bytes);
}

static void leave(struct rpc_call *call)
{
    if (call->counted == 0)
        return;
    core_budget_give(call->server->core, call->granted);
    set_counted(call->server, call->server->counted - call->counted);
    if (call->conn) {
        call->conn->answers -= call->counted;
        call->conn->calls--;
        call->conn->done++;
    }
    call->conn = NULL;
    call->counted = call->granted = 0;
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

static size_t metadata_bytes(const grpc_metadata_array *metadata)
{
    size_t bytes = 0;
    for (size_t i = 0; i < metadata->count; i++)
        bytes += GRPC_SLICE_LENGTH(metadata->metadata[i].key) +
                 GRPC_SLICE_LENGTH(metadata->metadata[i].value) + METADATA_SPARE;
    return bytes;
}

static bool refuse(struct rpc_end *end_r, grpc_status_code status, const char *text)
{
    end_r->status = status;
    end_r->text = bytes_of(text);
    return false;
}

bool rpc_call_take(struct rpc_call *call, struct rpc_end *end_r)
{
    size_t payload = call->payload ? grpc_byte_buffer_length(call->payload) : 0;
    call->descriptor = descriptor(call);
    call->conn = rpc_intake_find(call->descriptor);
    if (call->conn)
        call->conn->calls++;
    if (!take_memory(call, RPC_CALL_BYTES + payload)) {
        count(call, RPC_CALL_BYTES);
        return refuse(end_r, GRPC_STATUS_RESOURCE_EXHAUSTED, core_budget_error);
    }
    if (metadata_bytes(&call->metadata) > METADATA_MAX)
        return refuse(end_r, GRPC_STATUS_RESOURCE_EXHAUSTED,
                      "the call's metadata is too long; at most 8192 bytes are allowed");
    return true;
}

bool rpc_call_ended(struct rpc_call *call, struct rpc_end *end_r)
{
    switch (rpc_intake_ending(call->conn)) {
    case RPC_ENDING_LONG:
        refuse(end_r, GRPC_STATUS_RESOURCE_EXHAUSTED,
               "the message is too long; a value may have max_value bytes");
        return true;
    case RPC_ENDING_LATE:
        refuse(end_r, GRPC_STATUS_DEADLINE_EXCEEDED, "the call's message did not come in time");
        return true;
    case RPC_ENDING_FULL:
        core_count(call->server->core, FIGURE_BUDGET_REFUSED, 1);
        refuse(end_r, GRPC_STATUS_RESOURCE_EXHAUSTED, core_budget_error);
        return true;
    default:
        return false;
    }
}

void rpc_call_clear(struct rpc_call *call)
{
    leave(call);
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

/* A status's text: valid UTF-8 of a bounded length, whatever is in it. */
static grpc_slice status_text(struct bytes text)
{
    size_t len = text.len < TEXT_MAX ? text.len : TEXT_MAX;
    while (len < text.len && len > 0 && (text.data[len] & 0xc0) == 0x80)
        len--; /* not in the middle of a character */
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)text.data, len);
    uint8_t *data = GRPC_SLICE_START_PTR(slice);
    if (!rpc_utf8((struct bytes){data, len}))
        for (size_t i = 0; i < len; i++)
            data[i] = data[i] < 0x80 ? data[i] : '?';
    return slice;
}

void rpc_call_end(struct rpc_call *call, const struct rpc_end *end, struct rpc_tag *tag)
{
    grpc_op ops[4];
    size_t count = 0;
    grpc_byte_buffer *message = end->message ? rpc_message(*end->message) : NULL;
    grpc_slice text = end->text.len > 0 ? status_text(end->text) : grpc_empty_slice();
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
    rpc_cork_answer(&call->server->cork, call->descriptor);
    rpc_call_batch(call, ops, count, tag);
    grpc_byte_buffer_destroy(message);
    grpc_slice_unref(text);
}
