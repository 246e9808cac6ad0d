/*
 * accept - see accept.h. Runs in the gRPC workers' epoll thread; ends the process when epoll fails.
 */
#include "workers/grpc/accept.h"

#include <errno.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/figures/figures.h"
#include "workers/grpc/server.h"

enum {
    YIELD_NS = 20000, /* per connection that this worker has */
    YIELD_MAX_NS = 2000000,
    RECEIVE_ROOM = 262144, /* of a socket; what a flood may have sent ahead */
    PAUSE_NS = 100000000,  /* after running out of descriptors */
    DESCRIPTORS_MAX = 1 << 20,
};

/* ---- Accepting ---- */

/* A socket reports once; then it has to be asked to report again. */
static void listen_again(struct rpc_server *server, struct rpc_listener *listener)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = listener};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, listener->fd, &event) != 0)
        panic("epoll_ctl on the listening socket: %s", strerror(errno));
}

/* A unix socket knows nothing of TCP. */
static void set_up(int fd)
{
    int one = 1, room = RECEIVE_ROOM;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 && errno != EOPNOTSUPP)
        log_debug("setting up a connection: %s", strerror(errno));
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) != 0)
        log_debug("setting up a connection: %s", strerror(errno));
}

static void take_over(struct rpc_server *server, int fd)
{
    struct rpc_accept *accept = &server->accept;
    if (rpc_intake_count() >= accept->limit) {
        pthread_mutex_lock(&server->lock);
        core_count(server->core, FIGURE_CONNECTIONS_REFUSED, 1);
        pthread_mutex_unlock(&server->lock);
        close(fd);
        return;
    }
    if (rpc_intake_has_left(fd)) { /* before it was its turn: nobody waits for an answer */
        close(fd);
        return;
    }
    pthread_mutex_lock(&server->lock);
    core_count(server->core, FIGURE_CONNECTIONS_TOTAL, 1);
    core_gauge(server->core, FIGURE_CONNECTIONS_OPEN, rpc_intake_count() + 1);
    pthread_mutex_unlock(&server->lock);
    rpc_intake_add(fd);
    set_up(fd);
    grpc_server_add_channel_from_fd(server->grpc, fd, accept->credentials);
}

static void accept_one(struct rpc_server *server, struct rpc_listener *listener, uint64_t now_ns)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    listener->due_ns = 0;
    if (fd >= 0) {
        take_over(server, fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_warn("cannot accept connections for a moment: %s", strerror(errno));
        listener->due_ns = now_ns + PAUSE_NS;
        return;
    } /* EAGAIN: another worker took it; all else concerns that one client */
    listen_again(server, listener);
}

bool rpc_accept_notice(struct rpc_server *server, const void *tag, uint64_t now_ns)
{
    struct rpc_accept *accept = &server->accept;
    uint64_t yield_ns = (uint64_t)rpc_intake_count() * YIELD_NS;
    for (unsigned i = 0; i < accept->listeners; i++) {
        if (tag != &accept->listener[i])
            continue;
        if (accept->open)
            accept->listener[i].due_ns =
                now_ns + (yield_ns < YIELD_MAX_NS ? yield_ns : YIELD_MAX_NS);
        return true;
    }
    return false;
}

void rpc_accept_poll(struct rpc_server *server, uint64_t now_ns)
{
    struct rpc_accept *accept = &server->accept;
    for (unsigned i = 0; accept->open && i < accept->listeners; i++)
        if (accept->listener[i].due_ns != 0 && now_ns >= accept->listener[i].due_ns)
            accept_one(server, &accept->listener[i], now_ns);
}

uint64_t rpc_accept_wait(const struct rpc_server *server, uint64_t now_ns)
{
    const struct rpc_accept *accept = &server->accept;
    uint64_t due_ns = UINT64_MAX;
    for (unsigned i = 0; i < accept->listeners; i++)
        if (accept->listener[i].due_ns != 0 && accept->listener[i].due_ns < due_ns)
            due_ns = accept->listener[i].due_ns;
    if (due_ns == UINT64_MAX)
        return UINT64_MAX;
    return due_ns > now_ns ? due_ns - now_ns : 0;
}

/* ---- Beginning and end ---- */

/* The supervisor has raised the limit and fitted max_connections to it (supervisor/limits.c). */
static unsigned descriptor_limit(void)
{
    struct rlimit limit;
    bool known = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < DESCRIPTORS_MAX;
    return known ? (unsigned)limit.rlim_cur : DESCRIPTORS_MAX;
}

void rpc_accept_open(struct rpc_server *server, unsigned limit)
{
    server->accept = (struct rpc_accept){
        .credentials = grpc_insecure_server_credentials_create(),
        .open = true,
        .limit = limit,
        .descriptors = descriptor_limit(),
    };
    server->accept.listeners = server->child->listen_count;
    for (unsigned i = 0; i < server->accept.listeners; i++) {
        struct rpc_listener *listener = &server->accept.listener[i];
        struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = listener};
        listener->fd = run_listen_fd(i);
        if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, listener->fd, &event) != 0)
            run_child_fail(RUN_EXIT_FAILURE, "epoll_ctl on the listening socket: %s",
                           strerror(errno));
    }
}

void rpc_accept_stop(struct rpc_server *server)
{
    for (unsigned i = 0; server->accept.open && i < server->accept.listeners; i++) {
        if (epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, server->accept.listener[i].fd, NULL) != 0)
            panic("epoll_ctl on the listening socket: %s", strerror(errno));
        server->accept.listener[i].due_ns = 0;
    }
    server->accept.open = false;
}

void rpc_accept_close(struct rpc_server *server)
{
    grpc_server_credentials_release(server->accept.credentials);
}
