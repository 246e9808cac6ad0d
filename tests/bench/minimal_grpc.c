/*
 * minimal_grpc - the least work that any server on the gRPC C core must do: a fixed reply to every
 * call of KVGet and KVPut.
 *
 * A benchmark's yardstick, not part of the product. Each thread has a completion queue of its own;
 * the reply is made once and a call is answered with one batch, without a look at its request.
 * Usage: minimal_grpc PORT THREADS (0 takes a free port); prints the port. Ends the process on any
 * failure of its own.
 */
#include <err.h>
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POSTED = 128, THREADS_MAX = 64, METHODS = 2, VALUE = 52 };

struct queue {
    grpc_completion_queue *queue;
    pthread_t thread;
};

struct call {
    struct queue *queue;
    int method;
    int answered;
    grpc_call *call;
    grpc_metadata_array metadata;
    gpr_timespec deadline;
    grpc_byte_buffer *payload;
    int cancelled;
};

static const char *const paths[METHODS] = {"/proto.KV/KVGet", "/proto.KV/KVPut"};
static void *handles[METHODS];
static grpc_slice replies[METHODS];
static grpc_server *server;

static void post(struct call *call)
{
    call->answered = 0;
    call->payload = NULL;
    grpc_metadata_array_init(&call->metadata);
    grpc_completion_queue *queue = call->queue->queue;
    if (grpc_server_request_registered_call(server, handles[call->method], &call->call,
                                            &call->deadline, &call->metadata, &call->payload, queue,
                                            queue, call) != GRPC_CALL_OK)
        errx(1, "posting a call");
}

static void answer(struct call *call)
{
    grpc_op ops[4];
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&replies[call->method], 1);
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = message;
    ops[2].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[3].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[3].data.recv_close_on_server.cancelled = &call->cancelled;
    call->answered = 1;
    if (grpc_call_start_batch(call->call, ops, 4, call, NULL) != GRPC_CALL_OK)
        errx(1, "answering a call");
    grpc_byte_buffer_destroy(message);
}

static void finish(struct call *call)
{
    grpc_call_unref(call->call);
    grpc_metadata_array_destroy(&call->metadata);
    if (call->payload)
        grpc_byte_buffer_destroy(call->payload);
    post(call);
}

static void *serve(void *context)
{
    struct queue *queue = context;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(queue->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type != GRPC_OP_COMPLETE)
            errx(1, "the completion queue has ended");
        struct call *call = event.tag;
        if (call->answered)
            finish(call);
        else
            answer(call);
    }
    return NULL;
}

/* GetResponse {1 Value {1 bytes content}} with VALUE bytes of content; Empty has none. */
static void make_replies(void)
{
    char get[4 + VALUE] = {0x0a, 2 + VALUE, 0x0a, VALUE};
    memset(get + 4, 'x', VALUE);
    replies[0] = grpc_slice_from_copied_buffer(get, sizeof get);
    replies[1] = grpc_empty_slice();
}

static void post_all(struct queue *queue)
{
    for (int i = 0; i < METHODS; i++) {
        for (int k = 0; k < POSTED; k++) {
            struct call *call = calloc(1, sizeof *call);
            if (!call)
                err(1, "calloc");
            call->queue = queue;
            call->method = i;
            post(call);
        }
    }
}

static int listen_on(const char *port)
{
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%s", port);
    int bound =
        grpc_server_add_http2_port(server, address, grpc_insecure_server_credentials_create());
    if (bound == 0)
        errx(1, "listening on %s", address);
    return bound;
}

int main(int argc, char **argv)
{
    static struct queue queues[THREADS_MAX];
    int threads = argc == 3 ? atoi(argv[2]) : 0;
    if (threads < 1 || threads > THREADS_MAX)
        errx(2, "usage: minimal_grpc PORT THREADS");
    setenv("GRPC_POLL_STRATEGY", "epoll1", 1);
    grpc_init();
    grpc_arg arg = {.type = GRPC_ARG_INTEGER, .key = GRPC_ARG_ENABLE_CHANNELZ, .value.integer = 0};
    grpc_channel_args args = {1, &arg};
    server = grpc_server_create(&args, NULL);
    for (int i = 0; i < threads; i++) {
        queues[i].queue = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(server, queues[i].queue, NULL);
    }
    for (int i = 0; i < METHODS; i++)
        handles[i] = grpc_server_register_method(server, paths[i], NULL,
                                                 GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    make_replies();
    int port = listen_on(argv[1]);
    grpc_server_start(server);
    for (int i = 0; i < threads; i++) {
        post_all(&queues[i]);
        if (pthread_create(&queues[i].thread, NULL, serve, &queues[i]) != 0)
            errx(1, "pthread_create");
    }
    printf("%d\n", port);
    fflush(stdout);
    pthread_join(queues[0].thread, NULL);
    return 1;
}
