/*
 * unary - see unary.h. Runs in the gRPC workers; panics when memory runs out.
 *
 * A call object goes through these states:
 *
 *     posted --arrived--> answered at once --------------------> ending --ended--> spare or posted
 *                |                                                 ^
 *                +--> open: the core has it, the close is watched --+  done(); nothing is sent when
 *                                                                      the client went before
 */
#include "workers/grpc/unary.h"

#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/figures/figures.h"
#include "workers/grpc/call.h"
#include "workers/grpc/server.h"

enum {
    POSTED_MIN = 4, /* calls waited for, per method; doubled each time all of them have come */
    POSTED_MAX = 128,
    UNWATCHED_NS = 5000000, /* an open call's close is watched only when it takes longer */
    SMALL = 4096,           /* an answer of this length is in what is counted for the call */
    SPARES_MAX = 4096,      /* objects kept for reuse */
};

struct rpc_unary {
    struct rpc_tag arrived, closed, ended;
    TAILQ_ENTRY(rpc_unary) listed; /* in server->unary.unwatched or .spare */
    const struct rpc_method *method;
    bool open;    /* the core has it */
    bool watched; /* a batch waits for the close */
    uint64_t opened_ns;
    uint8_t batches; /* started and not yet over */
    struct rpc_call call;
    struct core_call core;
    struct api_pool pool;
};

/* ---- Objects ---- */

static void run_arrived(struct rpc_tag *tag, bool ok);
static void run_closed(struct rpc_tag *tag, bool ok);
static void run_ended(struct rpc_tag *tag, bool ok);
static void done(struct core_call *core);

static struct rpc_unary *take(struct rpc_server *server)
{
    struct rpc_unary *unary = TAILQ_FIRST(&server->unary.spare);
    if (unary) {
        TAILQ_REMOVE(&server->unary.spare, unary, listed);
        server->unary.spares--;
        return unary;
    }
    unary = malloc(sizeof *unary);
    if (!unary)
        panic("out of memory: a call");
    unary->arrived.run = run_arrived;
    unary->closed.run = run_closed;
    unary->ended.run = run_ended;
    unary->core.done = done;
    unary->core.status_only = false;
    unary->core.value_max = 0;
    api_pool_open(&unary->pool);
    return unary;
}

static void give_back(struct rpc_unary *unary)
{
    struct rpc_server *server = unary->call.server;
    rpc_call_clear(&unary->call);
    api_pool_reset(&unary->pool);
    if (server->unary.spares == SPARES_MAX) {
        free(unary);
        return;
    }
    TAILQ_INSERT_HEAD(&server->unary.spare, unary, listed);
    server->unary.spares++;
}

static struct rpc_unary_method *state_of(struct rpc_server *server, const struct rpc_method *method)
{
    return &server->unary.methods[method - rpc_methods];
}

static void post(struct rpc_server *server, const struct rpc_method *method)
{
    struct rpc_unary *unary = take(server);
    struct rpc_call *call = &unary->call;
    unary->method = method;
    unary->open = unary->watched = false;
    unary->batches = 0;
    rpc_call_init(call, server);
    grpc_call_error error = grpc_server_request_registered_call(
        server->grpc, state_of(server, method)->handle, &call->call, &call->deadline,
        &call->metadata, &call->payload, server->queue, server->queue, &unary->arrived);
    if (error != GRPC_CALL_OK)
        panic("gRPC does not wait for %s: %s", method->path, grpc_call_error_to_string(error));
}

/* Sees to it that enough calls of a method can arrive; one just has. */
static void post_more(struct rpc_server *server, const struct rpc_method *method)
{
    struct rpc_unary_method *state = state_of(server, method);
    state->posted--;
    if (server->closing)
        return;
    if (state->posted == 0 && state->wanted < POSTED_MAX)
        state->wanted *= 2;
    for (; state->posted < state->wanted; state->posted++)
        post(server, method);
}

static void batch_over(struct rpc_unary *unary)
{
    unary->batches--;
    if (unary->batches > 0 || unary->open)
        return;
    unary->call.server->calls--;
    give_back(unary);
}

/* ---- Answering ---- */

static void end(struct rpc_unary *unary, int status, struct bytes text, const struct bytes *message)
{
    struct rpc_end how = {
        .status = (grpc_status_code)status,
        .text = text,
        .message = message,
        .headers = true,
        .close = !unary->watched,
    };
    unary->batches++;
    rpc_call_end(&unary->call, &how, &unary->ended);
}

static void refuse(struct rpc_unary *unary, const char *why)
{
    core_count(unary->call.server->core, FIGURE_BAD_REQUESTS, 1);
    end(unary, GRPC_STATUS_INVALID_ARGUMENT, bytes_of(why), NULL);
}

/* There is no memory for an answer that is made already. */
static void end_full(struct rpc_unary *unary)
{
    struct buffer *text = &unary->call.server->scratch;
    text->len = 0;
    if (op_info(unary->method->op)->write)
        buffer_append_text(text, "it is done, but there is no memory for the answer: ");
    buffer_append_text(text, core_budget_error);
    end(unary, GRPC_STATUS_RESOURCE_EXHAUSTED, buffer_bytes(text), NULL);
}

/* What the contract says of a key without a value. */
static struct bytes not_found_text(struct rpc_unary *unary)
{
    struct buffer *text = &unary->call.server->scratch;
    struct bytes key = unary->core.request.key;
    buffer_append_text(text, "no value found for ");
    buffer_append(text, key.data, key.len);
    return buffer_bytes(text);
}

static void answer(struct rpc_unary *unary)
{
    struct buffer *scratch = &unary->call.server->scratch;
    enum status status = unary->core.reply.status;
    scratch->len = 0;
    if (status == STATUS_NOT_FOUND) {
        end(unary, GRPC_STATUS_NOT_FOUND, not_found_text(unary), NULL);
    } else if (status != STATUS_OK) {
        end(unary, status_info(status)->grpc, bytes_of(unary->core.error), NULL);
    } else if (!unary->method->encode(&unary->core.reply, scratch)) {
        bool write = op_info(unary->method->op)->write;
        end(unary, GRPC_STATUS_FAILED_PRECONDITION,
            bytes_of(write ? rpc_done_not_utf8 : rpc_not_utf8), NULL);
    } else if (scratch->len > SMALL && !rpc_call_count(&unary->call, scratch->len)) {
        end_full(unary);
    } else {
        struct bytes message = buffer_bytes(scratch);
        end(unary, GRPC_STATUS_OK, (struct bytes){0}, &message);
    }
}

/* ---- Open calls ---- */

static void enter(struct rpc_unary *unary)
{
    struct rpc_server *server = unary->call.server;
    unary->open = true;
    unary->opened_ns = clock_ns();
    TAILQ_INSERT_TAIL(&server->unary.unwatched, unary, listed);
}

static void leave_unwatched(struct rpc_unary *unary)
{
    TAILQ_REMOVE(&unary->call.server->unary.unwatched, unary, listed);
}

/* From the oldest on. To watch each from its start would be a batch more for every write. */
uint64_t rpc_unary_watch(struct rpc_server *server, uint64_t now_ns)
{
    struct rpc_unary *unary;
    while ((unary = TAILQ_FIRST(&server->unary.unwatched))) {
        uint64_t due_ns = unary->opened_ns + UNWATCHED_NS;
        if (now_ns < due_ns)
            return due_ns - now_ns;
        leave_unwatched(unary);
        unary->watched = true;
        unary->batches++;
        rpc_call_watch(&unary->call, &unary->closed);
    }
    return UINT64_MAX;
}

static void leave(struct rpc_unary *unary)
{
    unary->open = false;
    if (!unary->watched)
        leave_unwatched(unary);
}

static void done(struct core_call *core)
{
    struct rpc_unary *unary = RPC_OF(core, struct rpc_unary, core);
    leave(unary);
    answer(unary);
}

/* ---- Arriving ---- */

/* On the monotonic clock; 0: none. */
static uint64_t deadline_ns(gpr_timespec deadline)
{
    if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0)
        return 0;
    gpr_timespec at = gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC);
    return at.tv_sec < 0 ? 1 : (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void begin(struct rpc_unary *unary)
{
    struct rpc_call *call = &unary->call;
    struct core_call *core = &unary->core;
    struct rpc_input input = {.pool = &unary->pool, .now_ms = clock_service_ms()};
    struct rpc_end why;
    if (!rpc_call_take(call, &why) || (!call->payload && rpc_call_ended(call, &why))) {
        end(unary, why.status, why.text, NULL);
        return;
    }
    if (!call->payload) {
        refuse(unary, "the call has no message");
        return;
    }
    if (!rpc_call_message(call, &input.message)) {
        end(unary, GRPC_STATUS_UNIMPLEMENTED, bytes_of("compressed messages are not understood"),
            NULL);
        return;
    }
    core->request = (struct request){.op = unary->method->op};
    if (!unary->method->decode(&input, &core->request)) {
        refuse(unary, input.error);
        return;
    }
    core->deadline_ns = deadline_ns(call->deadline);
    if (core_start(call->server->core, core)) {
        answer(unary);
        return;
    }
    enter(unary);
}

static void run_arrived(struct rpc_tag *tag, bool ok)
{
    struct rpc_unary *unary = RPC_OF(tag, struct rpc_unary, arrived);
    struct rpc_server *server = unary->call.server;
    if (!ok) { /* the server shuts down */
        give_back(unary);
        return;
    }
    server->calls++;
    if (server->draining)
        server->last_call_ns = clock_ns();
    post_more(server, unary->method);
    begin(unary);
}

/* The call is over; if the client gave it up, nobody waits for the core's answer any more. */
static void run_closed(struct rpc_tag *tag, bool ok)
{
    struct rpc_unary *unary = RPC_OF(tag, struct rpc_unary, closed);
    (void)ok;
    if (unary->open) {
        core_cancel(unary->call.server->core, &unary->core);
        leave(unary);
    }
    batch_over(unary);
}

static void run_ended(struct rpc_tag *tag, bool ok)
{
    (void)ok; /* a client that has gone is no failure of ours */
    batch_over(RPC_OF(tag, struct rpc_unary, ended));
}

/* ---- The server's side ---- */

void rpc_unary_register(struct rpc_server *server)
{
    TAILQ_INIT(&server->unary.unwatched);
    TAILQ_INIT(&server->unary.spare);
    for (size_t i = 0; i < RPC_METHODS; i++) {
        struct rpc_unary_method *state = &server->unary.methods[i];
        state->handle = grpc_server_register_method(server->grpc, rpc_methods[i].path, NULL,
                                                    GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
        if (!state->handle)
            panic("gRPC does not take the method %s", rpc_methods[i].path);
    }
}

void rpc_unary_post(struct rpc_server *server)
{
    for (size_t i = 0; i < RPC_METHODS; i++) {
        struct rpc_unary_method *state = &server->unary.methods[i];
        state->wanted = POSTED_MIN;
        for (; state->posted < POSTED_MIN; state->posted++)
            post(server, &rpc_methods[i]);
    }
}

void rpc_unary_free(struct rpc_server *server)
{
    struct rpc_unary *unary;
    while ((unary = TAILQ_FIRST(&server->unary.spare))) {
        TAILQ_REMOVE(&server->unary.spare, unary, listed);
        free(unary);
    }
    server->unary.spares = 0;
}
