/*
 * guard - see guard.h. Runs in the gRPC workers; cannot fail.
 */
#include "workers/grpc/guard.h"

#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "workers/grpc/server.h"

enum {
    CALL_NS = 200000, /* generously, */
    BYTE_NS = 10,     /* what each takes */
    CONNECTION_NS = 2000000,
    CALL_BYTES = 1024, /* what may be sent around a call's message */

    LOOK_NS = 100000000,        /* how often to look, */
    LOOK_CONNECTION_NS = 50000, /* or this much per connection */
    WORK_NS = 20000000,         /* less work is not worth a look */
    FLOOD = 131072,             /* what a connection must have sent beside its calls */
};
#define PERIOD_NS 2000000000u /* for so long, work is added up */

void rpc_guard_call(struct rpc_server *server, int fd, size_t bytes)
{
    server->guard.useful_ns += CALL_NS + BYTE_NS * bytes;
    rpc_accept_expect(server, fd, CALL_BYTES + bytes);
}

void rpc_guard_work(struct rpc_server *server, uint64_t ns)
{
    server->guard.useful_ns += ns;
}

void rpc_guard_connection(struct rpc_server *server)
{
    server->guard.useful_ns += CONNECTION_NS;
}

/* What the queue thread has, which does gRPC's reading. */
static uint64_t worked_ns(const struct rpc_server *server)
{
    struct timespec t = {0};
    clockid_t clock;
    if (pthread_getcpuclockid(server->queue_thread, &clock) == 0)
        clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* At once: what it has sent and nobody has read yet is dropped too. */
static void disconnect(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    if (connect(fd, &none, sizeof none) == 0)
        log_warn("a client floods; its connection is cut off");
}

static void look(struct rpc_server *server, uint64_t now_ns)
{
    struct rpc_guard *guard = &server->guard;
    uint64_t work_ns = worked_ns(server) - guard->worked_ns;
    if (work_ns < WORK_NS)
        return;
    struct rpc_excess excess = rpc_accept_excess(server);
    uint64_t useful_ns =
        guard->useful_ns + BYTE_NS * excess.total + CONNECTION_NS * (uint64_t)excess.gone;
    bool wasted = useful_ns < work_ns / 2;
    if (wasted && excess.most < FLOOD && now_ns < guard->since_ns + PERIOD_NS)
        return;
    if (wasted && excess.most >= FLOOD)
        disconnect(excess.worst);
    rpc_accept_mark(server);
    *guard = (struct rpc_guard){.worked_ns = worked_ns(server), .since_ns = now_ns};
}

uint64_t rpc_guard_poll(struct rpc_server *server, uint64_t now_ns)
{
    struct rpc_guard *guard = &server->guard;
    unsigned connections = server->accept.connections;
    if (connections == 0)
        return UINT64_MAX;
    if (now_ns >= guard->due_ns) {
        pthread_mutex_lock(&server->lock);
        look(server, now_ns);
        pthread_mutex_unlock(&server->lock);
        uint64_t pause_ns = (uint64_t)connections * LOOK_CONNECTION_NS;
        guard->due_ns = now_ns + (pause_ns > LOOK_NS ? pause_ns : LOOK_NS);
    }
    return guard->due_ns - now_ns;
}
