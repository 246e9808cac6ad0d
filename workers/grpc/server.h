/*
 * server - what the parts of a gRPC worker share: gRPC's server object and its queue, the core, and
 * the two threads around them.
 *
 *      clients ==> gRPC C core ==> completion queue ==> queue thread: unary.c, stream.c, unknown.c
 *                                                            |  core_start(), answers
 *                                          mutex around      v
 *                                                          core   <== stores' rings and links
 *                                                            ^
 *      listening socket, doorbell, links, SIGTERM ==> epoll thread (the main one)
 *
 * The C core offers no way to wait for descriptors of ours in its queue, hence the second thread.
 * A thread that works on the core, or on what belongs to it, holds the mutex. Under load the queue
 * thread takes the stores' answers too, and the other one sleeps.
 */
#ifndef STRATO_WORKERS_GRPC_SERVER_H
#define STRATO_WORKERS_GRPC_SERVER_H

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "workers/core/core.h"
#include "workers/grpc/accept.h"
#include "workers/grpc/cork.h"
#include "workers/grpc/health.h"
#include "workers/grpc/intake.h"
#include "workers/grpc/unary.h"

/* What every event of the completion queue carries: what to call. The queue thread calls run(),
 * holding the mutex. ok false: the operation did not take place. */
struct rpc_tag {
    void (*run)(struct rpc_tag *tag, bool ok);
};

/* The object of a type that has this member at this address. */
#define RPC_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct rpc_stream;

struct rpc_server {
    struct run_child *child;
    grpc_server *grpc;
    grpc_completion_queue *queue;
    pthread_t queue_thread;
    int epoll_fd;
    struct rpc_accept accept;
    uint64_t swept_ns; /* when connections were last looked through */
    uint64_t drain_end_ns;
    bool gone;           /* every call and connection is */
    _Atomic bool turned; /* the queue thread came round; for the beat */

    pthread_mutex_t lock; /* guards what follows */
    struct core *core;
    bool draining;         /* gRPC has been told to send GOAWAY */
    bool closing;          /* gRPC has been told to shut down */
    bool shut;             /* gRPC has: there are no connections any more */
    bool busy;             /* the queue thread will look for answers before it blocks */
    bool attend;           /* core_poll() has something to do though no call is open */
    uint64_t last_call_ns; /* when the last call arrived; kept while draining */
    uint64_t counted;      /* bytes counted for calls that are not over */
    uint64_t waiting;      /* bytes in the core's budget for what waits in intake */
    unsigned cuts;         /* connections cut off, as shown in the figures */
    unsigned calls;        /* arrived and not finished, of every kind */
    struct rpc_unary_calls unary;
    struct rpc_streams {
        LIST_HEAD(, rpc_stream) open;
        unsigned count;
    } streams;
    struct rpc_health health;
    struct rpc_cork cork;
    struct buffer scratch; /* messages and texts being written */
    struct rpc_tag shut_down;
};

/* How long a message may be: the longest value and what is around it. */
unsigned long long rpc_message_max(const struct conf *conf);

/* Takes over the inherited listening socket. Ends the process when it cannot. */
void rpc_server_open(struct rpc_server *server, struct run_child *child, struct core *core);
/* Serves until the child is told to stop and has drained, and gives everything back. */
void rpc_server_run(struct rpc_server *server);

#endif
