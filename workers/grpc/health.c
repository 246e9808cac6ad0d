/*
 * health - see health.h. Runs in the gRPC workers; panics when memory runs out.
 */
#include "workers/grpc/health.h"

#include <stdlib.h>

#include "proto/api/grpc/health/v1/health.pb-c.h"
#include "proto/api/pool.h"
#include "workers/grpc/server.h"
#include "workers/grpc/stream.h"

enum { POSTED = 2, SUBJECTS = SERVICE_COUNT + 4 };
#define ASK_NS 1000000000u

enum serving {
    SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING,
    NOT_SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING,
    SERVICE_UNKNOWN = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN,
};

/* What may be asked about: first the services, in the order of enum service. */
enum { SUBJECT_ALL = SERVICE_COUNT };
static const char *const subjects[SUBJECTS] = {
#define SERVICE(number, symbol, name, holds, absent, rpc, format, help) [number] = (rpc),
#include "proto/api/operations.def"
    [SUBJECT_ALL] = "",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
};

static enum serving serving(const struct rpc_server *server, int subject)
{
    if (subject == SUBJECTS)
        return SERVICE_UNKNOWN;
    if (server->draining)
        return NOT_SERVING;
    for (enum service service = 0; service < SERVICE_COUNT; service++)
        if ((subject == (int)service || subject == SUBJECT_ALL) &&
            !core_answers(server->core, service))
            return NOT_SERVING;
    return SERVING;
}

/* The subject that a request names; SUBJECTS when there is none such, -1 when it does not parse. */
static int parse(struct bytes message)
{
    struct api_pool pool;
    int subject = -1;
    api_pool_open(&pool);
    Grpc__Health__V1__HealthCheckRequest *request =
        grpc__health__v1__health_check_request__unpack(&pool.allocator, message.len, message.data);
    if (request) {
        struct bytes name = {request->service.data, request->service.len};
        for (subject = 0; subject < SUBJECTS && !bytes_equal(name, bytes_of(subjects[subject]));)
            subject++;
    }
    api_pool_reset(&pool);
    return subject;
}

/* The response, in a buffer of at least RESPONSE_MAX bytes. */
enum { RESPONSE_MAX = 16 };
static struct bytes response(enum serving status, uint8_t *buffer)
{
    Grpc__Health__V1__HealthCheckResponse message = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    message.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    return (struct bytes){buffer, protobuf_c_message_pack(&message.base, buffer)};
}

/* ---- Check ---- */

struct check {
    struct rpc_tag arrived, ended;
    struct rpc_call call;
    int subject;
};

static void post_check(struct check *check, struct rpc_server *server)
{
    struct rpc_call *call = &check->call;
    rpc_call_init(call, server);
    grpc_call_error error = grpc_server_request_registered_call(
        server->grpc, server->health.check_handle, &call->call, &call->deadline, &call->metadata,
        &call->payload, server->queue, server->queue, &check->arrived);
    if (error != GRPC_CALL_OK)
        panic("gRPC does not wait for Check: %s", grpc_call_error_to_string(error));
}

static void end_check(struct check *check, grpc_status_code status, const char *text,
                      const struct bytes *message)
{
    struct rpc_end end = {.status = status,
                          .text = bytes_of(text),
                          .message = message,
                          .headers = true,
                          .close = true};
    rpc_call_end(&check->call, &end, &check->ended);
}

/* The backends have answered, or not. */
static void answer_check(void *context, enum status status, const char *backend)
{
    struct check *check = context;
    uint8_t buffer[RESPONSE_MAX];
    (void)status;
    (void)backend;
    struct bytes message = response(serving(check->call.server, check->subject), buffer);
    end_check(check, GRPC_STATUS_OK, "", &message);
}

static bool take_check(struct check *check)
{
    struct rpc_end why = {.headers = true, .close = true};
    bool taken = rpc_call_take(&check->call, &why) &&
                 !(check->call.payload == NULL && rpc_call_ended(&check->call, &why));
    if (!taken)
        rpc_call_end(&check->call, &why, &check->ended);
    return taken;
}

static void run_check_arrived(struct rpc_tag *tag, bool ok)
{
    struct check *check = RPC_OF(tag, struct check, arrived);
    struct rpc_server *server = check->call.server;
    struct bytes message;
    if (!ok) { /* the server shuts down */
        rpc_call_clear(&check->call);
        free(check);
        return;
    }
    server->calls++;
    if (!take_check(check))
        return;
    check->subject =
        check->call.payload && rpc_call_message(&check->call, &message) ? parse(message) : -1;
    if (check->subject < 0)
        end_check(check, GRPC_STATUS_INVALID_ARGUMENT,
                  "the request does not parse as a HealthCheckRequest", NULL);
    else if (check->subject == SUBJECTS)
        end_check(check, GRPC_STATUS_NOT_FOUND, "unknown service; reflection lists them", NULL);
    else
        core_ready(server->core, answer_check, check);
    server->attend = true;
}

static void run_check_ended(struct rpc_tag *tag, bool ok)
{
    struct check *check = RPC_OF(tag, struct check, ended);
    struct rpc_server *server = check->call.server;
    (void)ok;
    server->calls--;
    rpc_call_clear(&check->call);
    if (server->closing)
        free(check);
    else
        post_check(check, server);
}

/* ---- Watch ---- */

static const struct rpc_stream_kind watch;

/* Says how it is, if that has changed. */
static void tell(struct rpc_stream *stream)
{
    uint8_t buffer[RESPONSE_MAX];
    enum serving now = serving(stream->server, stream->subject);
    if (stream->sending || stream->said == (int)now)
        return;
    stream->said = (int)now;
    rpc_stream_send(stream, response(now, buffer));
}

static void tell_all(struct rpc_server *server)
{
    struct rpc_stream *stream;
    server->health.watching = 0;
    LIST_FOREACH(stream, &server->streams.open, listed)
    {
        if (stream->kind != &watch || stream->subject < 0)
            continue;
        server->health.watching++;
        tell(stream);
    }
}

static void answer_watches(void *context, enum status status, const char *backend)
{
    struct rpc_server *server = context;
    (void)status;
    (void)backend;
    server->health.asking = false;
    tell_all(server);
}

static void watch_received(struct rpc_stream *stream, const struct bytes *message)
{
    int subject = message ? parse(*message) : -1;
    if (stream->subject >= 0) { /* it needs no more; what comes must not pile up */
        if (message)
            rpc_stream_receive(stream);
        return;
    }
    if (subject < 0) {
        rpc_stream_end(stream, GRPC_STATUS_INVALID_ARGUMENT,
                       "the request does not parse as a HealthCheckRequest");
        return;
    }
    struct rpc_server *server = stream->server;
    stream->subject = subject;
    server->health.watching++;
    server->health.asked_ns = 0; /* ask at once */
    server->attend = true;
    rpc_stream_receive(stream);
}

static const struct rpc_stream_kind watch = {"/grpc.health.v1.Health/Watch", watch_received, tell};

/* ---- The server's side ---- */

void rpc_health_register(struct rpc_server *server)
{
    struct rpc_health *health = &server->health;
    health->check_handle =
        grpc_server_register_method(server->grpc, "/grpc.health.v1.Health/Check", NULL,
                                    GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    if (!health->check_handle)
        panic("gRPC does not take the method Check");
    health->watch_handle = rpc_stream_register(server, &watch);
}

void rpc_health_post(struct rpc_server *server)
{
    for (int i = 0; i < POSTED; i++) {
        struct check *check = malloc(sizeof *check);
        if (!check)
            panic("out of memory: a call");
        check->arrived.run = run_check_arrived;
        check->ended.run = run_check_ended;
        post_check(check, server);
    }
    rpc_stream_post(server, &watch, server->health.watch_handle);
}

void rpc_health_poll(struct rpc_server *server, uint64_t now_ns)
{
    struct rpc_health *health = &server->health;
    if (health->watching == 0 || health->asking || now_ns < health->asked_ns + ASK_NS)
        return;
    health->asking = true;
    health->asked_ns = now_ns;
    core_ready(server->core, answer_watches, server);
}

void rpc_health_drain(struct rpc_server *server)
{
    tell_all(server);
}
