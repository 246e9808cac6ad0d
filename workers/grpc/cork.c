/*
 * cork - see cork.h. Runs in the gRPC workers; a socket that cannot be corked just is not.
 */
#include "workers/grpc/cork.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "proto/base/clock.h"

static bool set(int fd, int on)
{
    return setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on) == 0;
}

static bool corked(const struct rpc_cork *cork, int fd)
{
    for (unsigned i = 0; i < cork->count; i++)
        if (cork->corked[i] == fd)
            return true;
    return false;
}

void rpc_cork_answer(struct rpc_cork *cork, int fd)
{
    uint64_t now_ns = clock_ns();
    bool again = fd == cork->last && now_ns < cork->last_ns + RPC_CORK_NS;
    cork->last = fd;
    cork->last_ns = now_ns;
    if (++cork->answers > RPC_CORK_ANSWERS)
        rpc_cork_release(cork);
    if (fd > 0 && again && cork->count < RPC_CORK_MAX && !corked(cork, fd) && set(fd, 1))
        cork->corked[cork->count++] = fd;
}

void rpc_cork_release(struct rpc_cork *cork)
{
    while (cork->count > 0)
        set(cork->corked[--cork->count], 0);
    cork->last = 0;
    cork->answers = 0;
}
