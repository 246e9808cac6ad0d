/*
 * connection - see connection.h. Runs in the http workers. What a client does wrong is answered and
 * at worst ends its own connection; memory running out ends the process.
 */
#include "workers/http/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/channel/figures.h"

enum {
    DIRECT_MIN = 16384,    /* bodies from here on are written from where they are */
    BODY_PROGRESS = 16384, /* each so many bytes of a body renew its time limit */
};

/* ---- Lists and life ---- */

static void unlink_from_list(struct http_connection *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->list->head = c->next;
    if (c->next)
        c->next->prev = c->prev;
    else
        c->list->tail = c->prev;
}

static void append_to_list(struct http_connection *c, struct http_list *list)
{
    c->list = list;
    c->next = NULL;
    c->prev = list->tail;
    if (list->tail)
        list->tail->next = c;
    else
        list->head = c;
    list->tail = c;
}

/* Its time limit starts anew. */
static void touch(struct http_connection *c)
{
    c->touched_ms = c->server->now_ms;
    if (c->list->tail == c)
        return;
    struct http_list *list = c->list;
    unlink_from_list(c);
    append_to_list(c, list);
}

static void move_to_list(struct http_connection *c, struct http_list *list)
{
    c->touched_ms = c->server->now_ms;
    unlink_from_list(c);
    append_to_list(c, list);
}

void http_connection_close(struct http_connection *c)
{
    struct http_server *server = c->server;
    if (c->waiting == HTTP_PAGE_READY)
        core_ready_cancel(server->core, c);
    else if (c->waiting == HTTP_PAGE_METRICS)
        core_stats_cancel(server->core, c);
    else if (c->state == HTTP_STATE_BUSY)
        core_cancel(server->core, &c->call);
    close(c->fd);
    unlink_from_list(c);
    http_server_return(server, &c->in);
    http_server_return(server, &c->out);
    buffer_free(&c->refusal_text);
    free(c);
    core_gauge(server->core, FIGURE_CONNECTIONS_OPEN, --server->connections);
}

bool http_connection_idle(const struct http_connection *c)
{
    return c->state == HTTP_STATE_HEAD && c->in.len == c->start && c->out.len == 0;
}

/* ---- Output ---- */

static void wrote(struct http_connection *c, size_t n)
{
    core_count(c->server->core, FIGURE_BYTES_OUT, n);
    c->sent += n;
    if (c->sent < c->out.len)
        return;
    c->sent = c->out.len = 0;
}

/* Writes what waits. False when the connection is broken. */
static bool send_pending(struct http_connection *c)
{
    if (http_connection_pending(c) == 0)
        return true;
    ssize_t n = send(c->fd, c->out.data + c->sent, http_connection_pending(c), MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    wrote(c, (size_t)n);
    touch(c);
    return true;
}

static void append(struct http_connection *c, struct bytes part, size_t skip)
{
    if (skip < part.len)
        buffer_append(&c->out, part.data + skip, part.len - skip);
}

/* Writes the output and the body behind it without copying it; keeps what the socket does not
 * take. A broken connection shows at the next read or write. */
static void send_direct(struct http_connection *c, const struct http_body *body)
{
    struct iovec parts[4] = {{c->out.data + c->sent, http_connection_pending(c)}};
    for (int i = 0; i < 3; i++)
        parts[i + 1] = (struct iovec){(void *)body->parts[i].data, body->parts[i].len};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 4};
    ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    size_t left = n > 0 ? (size_t)n : 0;
    size_t of_output = left < http_connection_pending(c) ? left : http_connection_pending(c);
    core_count(c->server->core, FIGURE_BYTES_OUT, left - of_output);
    wrote(c, of_output);
    left -= of_output;
    for (int i = 0; i < 3; i++) {
        append(c, body->parts[i], left);
        left -= left < body->parts[i].len ? left : body->parts[i].len;
    }
}

void http_connection_answer(struct http_connection *c, const struct http_body *body)
{
    struct http_server *server = c->server;
    struct http_style *style = &server->style;
    if (!c->out.data)
        http_server_lend(server, &c->out);
    c->last = c->last || !c->head.keep_alive || server->draining;
    style->close = c->last;
    style->keep_alive = c->head.http10;
    style->vary = server->access.origins[0];
    style->origin = c->cors ? http_connection_part(c, c->head.origin) : (struct bytes){0};
    http_reply_head(&c->out, body, style);
    if (c->head.method == HTTP_HEAD)
        return;
    if (http_reply_length(body) >= DIRECT_MIN) {
        send_direct(c, body);
        return;
    }
    for (int i = 0; i < 3; i++)
        append(c, body->parts[i], 0);
}

/* ---- Input ---- */

static void want(struct http_connection *c, uint32_t events)
{
    if (c->interest == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = c};
    c->interest = events;
    if (epoll_ctl(c->server->epoll_fd, EPOLL_CTL_MOD, c->fd, &event) != 0)
        panic("epoll_ctl on a connection: %s", strerror(errno));
}

/* The last answer is out. Closing a socket with input unread would take the answer from the client
 * again, so where there may be some it is read and dropped first. */
static void finish(struct http_connection *c)
{
    bool linger = c->dirty || c->in.len > c->start || c->server->draining;
    if (!linger || shutdown(c->fd, SHUT_WR) != 0) {
        http_connection_close(c);
        return;
    }
    c->state = HTTP_STATE_LINGER;
    http_server_return(c->server, &c->in);
    http_server_return(c->server, &c->out);
    move_to_list(c, &c->server->lingering);
    want(c, EPOLLIN);
}

/* Gives back what is not in use, and says what to wait for. May close. */
static void settle(struct http_connection *c)
{
    if (http_connection_pending(c) > 0) {
        want(c, EPOLLOUT);
        return;
    }
    http_server_return(c->server, &c->out);
    if (c->last && c->state != HTTP_STATE_BUSY) {
        finish(c);
        return;
    }
    if (c->start == c->in.len && c->state == HTTP_STATE_HEAD) {
        c->start = 0;
        http_server_return(c->server, &c->in);
    }
    if (c->state != HTTP_STATE_BUSY)
        want(c, EPOLLIN);
}

void http_connection_go_on(struct http_connection *c)
{
    bool taken;
    do {
        taken = http_exchange_take(c);
        if (!send_pending(c)) {
            http_connection_close(c);
            return;
        }
    } while (!taken && http_connection_pending(c) == 0);
    settle(c);
}

/* Room for what comes next. */
static void make_room(struct http_connection *c)
{
    if (c->in.data && c->start > 0 && c->state == HTTP_STATE_HEAD) {
        buffer_consume(&c->in, c->start);
        c->start = 0;
    }
    if (!c->in.data)
        http_server_lend(c->server, &c->in);
    if (c->in.len == c->in.capacity)
        buffer_reserve(&c->in, c->in.len);
}

/* False when the connection is at its end. */
static bool receive(struct http_connection *c)
{
    make_room(c);
    ssize_t n = recv(c->fd, c->in.data + c->in.len, c->in.capacity - c->in.len, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false;
    core_count(c->server->core, FIGURE_BYTES_IN, (uint64_t)n);
    bool first = c->state == HTTP_STATE_HEAD && c->in.len == c->start;
    c->in.len += (size_t)n;
    if (first || (c->state == HTTP_STATE_BODY && c->in.len - c->mark >= BODY_PROGRESS)) {
        c->mark = c->in.len;
        touch(c);
    }
    return true;
}

static void drop_input(struct http_connection *c)
{
    uint8_t unwanted[16384];
    ssize_t n = recv(c->fd, unwanted, sizeof unwanted, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        http_connection_close(c);
}

static void on_input(struct http_connection *c)
{
    if (c->state == HTTP_STATE_LINGER) {
        drop_input(c);
    } else if (c->state == HTTP_STATE_BUSY) {
        want(c, 0); /* it can wait until the operation is done */
    } else if (receive(c)) {
        http_connection_go_on(c);
    } else {
        http_connection_close(c);
    }
}

void http_connection_event(struct http_connection *c, uint32_t events)
{
    if (events & EPOLLERR || (events & EPOLLHUP && !(events & EPOLLIN)))
        http_connection_close(c);
    else if (events & EPOLLOUT)
        http_connection_go_on(c);
    else if (events & (EPOLLIN | EPOLLHUP))
        on_input(c);
}

/* ---- Opening and timing out ---- */

static struct http_connection *new_connection(struct http_server *server, int fd)
{
    struct http_connection *c = calloc(1, sizeof *c);
    if (!c)
        panic("out of memory: a connection");
    c->server = server;
    c->fd = fd;
    c->touched_ms = server->now_ms;
    append_to_list(c, &server->active);
    core_gauge(server->core, FIGURE_CONNECTIONS_OPEN, ++server->connections);
    return c;
}

void http_connection_open(struct http_server *server, int fd, bool refuse_it)
{
    struct http_connection *c = new_connection(server, fd);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->interest = event.events;
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        log_warn("a connection is closed: epoll_ctl: %s", strerror(errno));
        http_connection_close(c);
        return;
    }
    core_count(server->core, refuse_it ? FIGURE_CONNECTIONS_REFUSED : FIGURE_CONNECTIONS_TOTAL, 1);
    if (!refuse_it)
        return;
    c->last = c->dirty = true;
    http_exchange_error(c, 503, "too many connections (max_connections); try again");
    http_connection_go_on(c);
}

void http_connection_timeout(struct http_connection *c)
{
    if (c->state == HTTP_STATE_BUSY) {
        touch(c); /* the core keeps its deadline */
    } else if (c->state == HTTP_STATE_LINGER || http_connection_pending(c) > 0 ||
               http_connection_idle(c)) {
        http_connection_close(c);
    } else {
        http_exchange_refuse(c, 408, "the request did not arrive in time (idle_timeout)");
        http_connection_go_on(c);
    }
}
