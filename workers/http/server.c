/*
 * server - see server.h. Runs in the http workers; ends the process when epoll itself fails.
 */
#include "workers/http/server.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "workers/http/connection.h"

enum {
    EVENTS = 256,
    ACCEPT_BURST = 4,      /* per round; the rest is left to the other workers */
    ACCEPT_PAUSE_MS = 100, /* after running out of descriptors */
    SCRATCH_MAX = 8 << 20, /* bytes kept from round to round */
};

/* What epoll reports besides connections: addresses that no connection has. */
static char tag_listen[CONF_LISTEN_MAX], tag_stop, tag_core;

/* What was as large as a large value now and then is not kept for ever. */
static void trim(struct buffer *buffer)
{
    if (buffer->capacity > SCRATCH_MAX)
        buffer_free(buffer);
}

/* ---- Accepting ---- */

static void add_fd(struct http_server *server, int fd, uint32_t events, void *tag)
{
    struct epoll_event event = {.events = events, .data.ptr = tag};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        run_child_fail(RUN_EXIT_FAILURE, "epoll_ctl on descriptor %d: %s", fd, strerror(errno));
}

static void watch_listener(struct http_server *server, unsigned i)
{
    add_fd(server, run_listen_fd(i), EPOLLIN | EPOLLEXCLUSIVE, &tag_listen[i]);
}

static void forget_listener(struct http_server *server, unsigned i)
{
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, run_listen_fd(i), NULL) != 0)
        panic("epoll_ctl on the listening socket: %s", strerror(errno));
}

static void start_accepting(struct http_server *server)
{
    server->accepting = true;
    server->accept_again_ms = 0;
    for (unsigned i = 0; i < server->child->listen_count; i++)
        watch_listener(server, i);
}

static void stop_accepting(struct http_server *server)
{
    for (unsigned i = 0; server->accepting && i < server->child->listen_count; i++)
        forget_listener(server, i);
    server->accepting = false;
}

/* Over max_connections a few are told so; beyond those, they are closed without a word. */
static void take_over(struct http_server *server, int fd, bool loopback)
{
    uint64_t max = server->child->conf.http.max_connections;
    if (server->connections >= max + HTTP_REFUSED_MAX) {
        close(fd);
        return;
    }
    http_connection_open(server, fd, loopback, server->connections >= max);
}

/* Of the workers that wait for a connection, the kernel wakes the one that has been registered the
 * longest: so this one goes to the end of the queue, and connections spread evenly. */
static void queue_up_again(struct http_server *server, unsigned i)
{
    forget_listener(server, i);
    watch_listener(server, i);
}

static void accept_some(struct http_server *server, unsigned listener)
{
    for (int i = 0; i < ACCEPT_BURST; i++) {
        int fd = accept4(run_listen_fd(listener), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take_over(server, fd, server->loopback[listener]);
            continue;
        }
        int error = errno;
        if (i > 0)
            queue_up_again(server, listener);
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
            log_warn("cannot accept connections for a moment: %s", strerror(error));
            stop_accepting(server);
            server->accept_again_ms = server->now_ms + ACCEPT_PAUSE_MS;
        }
        return; /* EAGAIN: another worker took it; all else concerns that one client */
    }
    queue_up_again(server, listener);
}

/* ---- Time ---- */

static void update_clock(struct http_server *server)
{
    uint64_t now_s = clock_wall_ms() / 1000;
    server->now_ms = clock_ms();
    if (server->date_s == now_s)
        return;
    server->date_s = now_s;
    http_reply_date(now_s, server->style.date);
}

/* Each connection is looked at once: those that stay are touched and so move behind the last. */
static void expire(struct http_server *server, struct http_queue *list, uint64_t limit_ms)
{
    struct http_connection *c;
    while ((c = TAILQ_FIRST(list)) && server->now_ms - c->touched_ms >= limit_ms)
        http_connection_timeout(c);
}

/* Closes the connections that have been idle for so long. The others are told with their next
 * answer, so that no request is lost to a close that crosses it. */
static void close_idle(struct http_server *server, uint64_t quiet_ms)
{
    struct http_connection *next;
    for (struct http_connection *c = TAILQ_FIRST(&server->active); c; c = next) {
        next = TAILQ_NEXT(c, listed);
        if (server->now_ms - c->touched_ms < quiet_ms)
            break;
        if (http_connection_idle(c))
            http_connection_finish(c);
    }
}

static void close_all(struct http_queue *list)
{
    while (!TAILQ_EMPTY(list))
        http_connection_close(TAILQ_FIRST(list));
}

static void start_draining(struct http_server *server)
{
    if (server->draining)
        return;
    server->draining = true;
    server->drain_end_ms = server->now_ms + server->child->conf.drain_timeout_ms;
    server->accept_again_ms = 0;
    stop_accepting(server);
    /* With the supervisor's copy closed too, a client is refused instead of waiting in vain. */
    for (unsigned i = 0; i < server->child->listen_count; i++)
        close(run_listen_fd(i));
    log_info("draining: %u connections are open", server->connections);
}

static void drain(struct http_server *server)
{
    uint64_t left_ms =
        server->drain_end_ms > server->now_ms ? server->drain_end_ms - server->now_ms : 0;
    if (run_child_service_stops()) /* no worker takes over: there is nothing to hand over */
        close_idle(server, HTTP_QUIET_MS);
    else if (left_ms <= HTTP_LAST_MS && 4 * left_ms <= server->child->conf.drain_timeout_ms)
        close_idle(server, 0);
    if (left_ms > 0)
        return;
    if (server->connections > 0)
        log_warn("drain_timeout: %u connections are cut off", server->connections);
    close_all(&server->active);
    close_all(&server->lingering);
}

static void keep_time(struct http_server *server)
{
    expire(server, &server->active, server->child->conf.http.idle_timeout_ms);
    expire(server, &server->lingering, HTTP_LINGER_MS);
    if (server->accept_again_ms != 0 && server->now_ms >= server->accept_again_ms)
        start_accepting(server);
    if (server->draining)
        drain(server);
}

/* ---- The loop ---- */

static bool is_loopback(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    return getsockname(fd, (struct sockaddr *)&address, &len) == 0 &&
           http_access_is_loopback(&address);
}

/* Takes memory back from the one that has held it longest, if that is long enough. */
static bool relieve(void *context)
{
    struct http_server *server = context;
    struct http_connection *c;
    TAILQ_FOREACH(c, &server->holders, holder)
    {
        if (server->now_ms - c->held_ms < HTTP_HOLD_MS)
            return false;
        if (c != server->asking && http_connection_cut(c))
            return true;
    }
    return false;
}

/* Answers are not to wait for more. Accepted sockets inherit it; a unix socket knows no such thing.
 */
static void hasten(int fd)
{
    int one = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 && errno != EOPNOTSUPP)
        log_warn("TCP_NODELAY: %s", strerror(errno));
}

void http_server_init(struct http_server *server, struct run_child *child, struct core *core)
{
    *server = (struct http_server){.child = child, .core = core};
    TAILQ_INIT(&server->active);
    TAILQ_INIT(&server->lingering);
    TAILQ_INIT(&server->turns);
    TAILQ_INIT(&server->holders);
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll_fd < 0)
        run_child_fail(RUN_EXIT_FAILURE, "epoll_create1: %s", strerror(errno));
    server->access.hosts = child->conf.http_hosts;
    server->access.origins = child->conf.http_origins;
    server->progress = HTTP_RATE_MIN * child->conf.http.idle_timeout_ms / 1000;
    core_budget_relief(core, relieve, server);
    update_clock(server);
}

void http_server_open(struct http_server *server, struct run_child *child, struct core *core)
{
    http_server_init(server, child, core);
    for (unsigned i = 0; i < child->listen_count; i++) {
        hasten(run_listen_fd(i));
        server->loopback[i] = is_loopback(run_listen_fd(i));
    }
    add_fd(server, child->stop_fd, EPOLLIN, &tag_stop);
    core_add_fds(core, server->epoll_fd, &tag_core);
    start_accepting(server);
}

static void handle(struct http_server *server, const struct epoll_event *event)
{
    char *tag = event->data.ptr;
    if (tag >= tag_listen && tag < tag_listen + CONF_LISTEN_MAX) {
        if (server->accepting) /* an event before this one may have stopped it */
            accept_some(server, (unsigned)(tag - tag_listen));
    } else if (tag == &tag_stop) {
        if (run_child_stopping(server->child))
            start_draining(server);
    } else if (tag != &tag_core) {
        http_connection_event(event->data.ptr, event->events);
    }
}

static bool has_tag(const struct epoll_event *events, int n, const void *tag)
{
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr == tag)
            return true;
    return false;
}

/* How long epoll may block at most for what the server itself has to do. */
static int bound_wait(const struct http_server *server, int wait_ms)
{
    bool soon =
        server->draining || server->accept_again_ms != 0 || !TAILQ_EMPTY(&server->lingering);
    return soon && wait_ms > ACCEPT_PAUSE_MS ? ACCEPT_PAUSE_MS : wait_ms;
}

static int next_wait(struct http_server *server)
{
    if (!TAILQ_EMPTY(&server->turns))
        return 0;
    return bound_wait(server, core_sleep(server->core, clock_ns()));
}

/* Lets those go on whose turn was over, each once, for a bounded time. */
static void take_turns(struct http_server *server)
{
    struct http_connection *last = TAILQ_LAST(&server->turns, http_queue), *c;
    uint64_t end_ns = last ? clock_ns() + HTTP_TURNS_NS : 0;
    while ((c = TAILQ_FIRST(&server->turns))) {
        bool was_last = c == last;
        http_connection_turn(c);
        if (was_last || clock_ns() >= end_ns)
            break;
    }
}

void http_server_round(struct http_server *server, int wait_max_ms)
{
    struct epoll_event events[EVENTS];
    int wait_ms = wait_max_ms == 0 ? 0 : next_wait(server);
    int n =
        epoll_wait(server->epoll_fd, events, EVENTS, wait_ms < wait_max_ms ? wait_ms : wait_max_ms);
    if (n < 0 && errno != EINTR)
        panic("epoll_wait: %s", strerror(errno));
    update_clock(server);
    server->long_done = false;
    core_awake(server->core, has_tag(events, n, &tag_core));
    for (int i = 0; i < n; i++)
        handle(server, &events[i]);
    take_turns(server);
    core_flush(server->core);
    core_poll(server->core, clock_ns());
    core_flush(server->core);
    keep_time(server);
    trim(&server->scratch);
}

void http_server_close(struct http_server *server)
{
    close(server->epoll_fd);
    http_pool_close(&server->pool);
    buffer_free(&server->scratch);
}

void http_server_run(struct http_server *server)
{
    while (!server->draining || server->connections > 0) {
        http_server_round(server, INT_MAX);
        run_child_beat(server->now_ms);
    }
    http_server_close(server);
}
