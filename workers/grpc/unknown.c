/*
 * unknown - see unknown.h. Runs in the gRPC workers; panics when memory runs out.
 */
#include "workers/grpc/unknown.h"

#include <grpc/slice.h>
#include <stdlib.h>

#include "proto/figures/figures.h"
#include "workers/grpc/call.h"

enum { POSTED = 2, PATH_SHOWN = 100 };

struct unknown {
    struct rpc_tag arrived, ended;
    struct rpc_call call;
    grpc_call_details details;
};

static void post(struct unknown *unknown, struct rpc_server *server)
{
    struct rpc_call *call = &unknown->call;
    rpc_call_init(call, server);
    grpc_call_details_init(&unknown->details);
    grpc_call_error error =
        grpc_server_request_call(server->grpc, &call->call, &unknown->details, &call->metadata,
                                 server->queue, server->queue, &unknown->arrived);
    if (error != GRPC_CALL_OK)
        panic("gRPC does not wait for calls: %s", grpc_call_error_to_string(error));
}

static void clear(struct unknown *unknown)
{
    rpc_call_clear(&unknown->call);
    grpc_call_details_destroy(&unknown->details);
}

/* "proto.Cache, proto.Counter and proto.Set". */
static void append_services(struct buffer *text)
{
    for (enum service service = 0; service < SERVICE_COUNT; service++) {
        const char *after = service + 1 == SERVICE_COUNT   ? ""
                            : service + 2 == SERVICE_COUNT ? " and "
                                                           : ", ";
        buffer_append_format(text, "%s%s", service_info(service)->rpc, after);
    }
}

static void run_arrived(struct rpc_tag *tag, bool ok)
{
    struct unknown *unknown = RPC_OF(tag, struct unknown, arrived);
    struct rpc_server *server = unknown->call.server;
    struct buffer *text = &server->scratch;
    if (!ok) { /* the server shuts down */
        clear(unknown);
        free(unknown);
        return;
    }
    size_t len = GRPC_SLICE_LENGTH(unknown->details.method);
    text->len = 0;
    buffer_append_text(text, "no such method: ");
    buffer_append(text, GRPC_SLICE_START_PTR(unknown->details.method),
                  len < PATH_SHOWN ? len : PATH_SHOWN);
    buffer_append_text(text, "; there are the services ");
    append_services(text);
    buffer_append_text(text, ", and reflection lists their methods");
    struct rpc_end end = {.status = GRPC_STATUS_UNIMPLEMENTED,
                          .text = buffer_bytes(text),
                          .headers = true,
                          .close = true};
    server->calls++;
    if (rpc_call_take(&unknown->call, &end))
        core_count(server->core, FIGURE_BAD_REQUESTS, 1);
    rpc_call_end(&unknown->call, &end, &unknown->ended);
}

static void run_ended(struct rpc_tag *tag, bool ok)
{
    struct unknown *unknown = RPC_OF(tag, struct unknown, ended);
    struct rpc_server *server = unknown->call.server;
    (void)ok;
    server->calls--;
    clear(unknown);
    if (server->closing)
        free(unknown);
    else
        post(unknown, server);
}

void rpc_unknown_post(struct rpc_server *server)
{
    for (int i = 0; i < POSTED; i++) {
        struct unknown *unknown = malloc(sizeof *unknown);
        if (!unknown)
            panic("out of memory: a call");
        unknown->arrived.run = run_arrived;
        unknown->ended.run = run_ended;
        post(unknown, server);
    }
}
