/*
 * connection - see connection.h. Runs in the http workers. What a client does wrong is answered and
 * at worst ends its own connection; memory running out ends the process.
 */
#include "workers/http/hold.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/figures/figures.h"

enum { HEAD_ROOM = HTTP_BLOCK / 4 }; /* no answer's head is longer */

/* ---- Lists and life ---- */

static void append_to_list(struct http_connection *c, struct http_queue *list)
{
    c->list = list;
    TAILQ_INSERT_TAIL(list, c, listed);
}

/* Its time limit starts anew. */
static void touch(struct http_connection *c)
{
    c->touched_ms = c->server->now_ms;
    c->moved = 0;
    if (!TAILQ_NEXT(c, listed))
        return;
    TAILQ_REMOVE(c->list, c, listed);
    TAILQ_INSERT_TAIL(c->list, c, listed);
}

static void move_to_list(struct http_connection *c, struct http_queue *list)
{
    c->touched_ms = c->server->now_ms;
    TAILQ_REMOVE(c->list, c, listed);
    append_to_list(c, list);
}

/* Bytes of a body or an answer have moved. So many within one time limit grant another. */
static void move_on(struct http_connection *c, size_t n)
{
    c->moved += n;
    if (c->moved >= c->server->progress)
        touch(c);
}

static void leave_turns(struct http_connection *c)
{
    if (c->queued)
        TAILQ_REMOVE(&c->server->turns, c, turn);
    c->queued = false;
}

/* ---- Life ---- */

bool http_connection_cut(struct http_connection *c)
{
    if (c->state != HTTP_STATE_HEAD && c->state != HTTP_STATE_BODY)
        return false;
    core_count(c->server->core, FIGURE_CONNECTIONS_CUT, 1);
    leave_turns(c);
    buffer_free(&c->in);
    buffer_free(&c->out);
    http_hold_settle(c);
    c->start = c->sent = 0;
    c->state = HTTP_STATE_LINGER;
    move_to_list(c, &c->server->lingering);
    shutdown(c->fd, SHUT_RDWR); /* shows as a hang-up, at which it is closed */
    return true;
}

void http_connection_close(struct http_connection *c)
{
    struct http_server *server = c->server;
    if (c->waiting == HTTP_PAGE_READY)
        core_ready_cancel(server->core, c);
    else if (c->state == HTTP_STATE_LATER)
        server->later--;
    else if (c->state == HTTP_STATE_BUSY)
        core_cancel(server->core, &c->call);
    close(c->fd);
    TAILQ_REMOVE(c->list, c, listed);
    leave_turns(c);
    http_hold_release(c, &c->in);
    http_hold_release(c, &c->out);
    http_hold_release(c, &c->message);
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
    if (http_connection_pending(c) == 0)
        touch(c);
    else
        move_on(c, (size_t)n);
    return true;
}

static void append(struct http_connection *c, struct bytes part, size_t skip)
{
    if (skip < part.len)
        buffer_append(&c->out, part.data + skip, part.len - skip);
}

/* Makes room for more bytes of output, exactly: their memory is taken. */
static void make_output_room(struct http_connection *c, size_t more)
{
    struct buffer *out = &c->out;
    buffer_consume(out, c->sent);
    c->sent = 0;
    if (out->capacity - out->len < more)
        http_hold_resize(c, out, out->len + more);
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
    make_output_room(c, (size_t)http_reply_length(body) - left);
    for (int i = 0; i < 3; i++) {
        append(c, body->parts[i], left);
        left -= left < body->parts[i].len ? left : body->parts[i].len;
    }
}

/* What is said instead of an answer that there is no memory for. */
static void no_memory(struct http_body *body_r)
{
    static const char text[] =
        "{\"error\":\"there is no memory for the answer now (max_memory); try again: a read can be "
        "repeated, and a change was made\"}";
    *body_r =
        (struct http_body){.status = 503, .type = "application/json", .parts = {bytes_of(text)}};
}

static void write_head(struct http_connection *c, const struct http_body *body)
{
    struct http_server *server = c->server;
    struct http_style *style = &server->style;
    if (!c->out.data)
        http_pool_lend(&server->pool, &c->out);
    if (c->sent > 0)
        buffer_consume(&c->out, c->sent);
    c->sent = 0;
    c->last = c->last || !c->head.keep_alive || server->draining;
    style->close = c->last;
    style->keep_alive = c->head.http10;
    style->vary = server->access.origins[0];
    style->origin = c->cors ? http_connection_part(c, c->head.origin) : (struct bytes){0};
    http_reply_head(&c->out, body, style);
}

/* A body that does not fit the block is written from where it is. The socket may take nothing of
 * it, so there must be memory for all of it before it is begun. */
static void answer_large(struct http_connection *c, const struct http_body *body)
{
    struct http_body instead;
    bool taken = http_hold_take(c, HTTP_BLOCK + http_reply_length(body));
    if (!taken)
        no_memory(&instead);
    write_head(c, taken ? body : &instead);
    send_direct(c, taken ? body : &instead);
    http_hold_settle(c);
}

void http_connection_answer(struct http_connection *c, const struct http_body *body)
{
    bool head_only = c->head.method == HTTP_HEAD;
    size_t used = http_connection_pending(c) + HEAD_ROOM;
    if (!head_only && http_reply_length(body) > HTTP_BLOCK - used) {
        answer_large(c, body);
        return;
    }
    write_head(c, body);
    for (int i = 0; i < 3 && !head_only; i++)
        append(c, body->parts[i], 0);
}

void http_connection_no_memory(struct http_connection *c)
{
    struct http_body body;
    no_memory(&body);
    http_connection_answer(c, &body);
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

void http_connection_finish(struct http_connection *c)
{
    if (shutdown(c->fd, SHUT_WR) != 0) {
        http_connection_close(c);
        return;
    }
    c->state = HTTP_STATE_LINGER;
    leave_turns(c);
    http_hold_release(c, &c->in);
    http_hold_release(c, &c->out);
    c->start = c->sent = 0;
    move_to_list(c, &c->server->lingering);
    want(c, EPOLLIN);
}

/* The last answer is out. Closing a socket with input unread would take the answer from the client
 * again, so where there may be some it is read and dropped first. */
static void finish(struct http_connection *c)
{
    if (c->dirty || c->in.len > c->start || c->server->draining)
        http_connection_finish(c);
    else
        http_connection_close(c);
}

/* The client is to take its answer. */
static void await_output(struct http_connection *c)
{
    if (!(c->interest & EPOLLOUT))
        touch(c);
    want(c, EPOLLOUT);
    http_hold_settle(c);
}

/* Gives back what is not in use, and says what to wait for. May close. */
static void settle(struct http_connection *c)
{
    if (http_connection_pending(c) > 0) {
        await_output(c);
        return;
    }
    http_hold_release(c, &c->out);
    if (c->last && c->state != HTTP_STATE_BUSY) {
        finish(c);
        return;
    }
    if (c->start == c->in.len && c->state == HTTP_STATE_HEAD) {
        c->start = c->in.len = 0;
        http_hold_release(c, &c->in);
    }
    /* A socket that can be written to would be reported again and again. */
    if (c->state != HTTP_STATE_BUSY || c->interest & EPOLLOUT)
        want(c, EPOLLIN);
}

/* The rest waits until the others had their turn. */
static void queue_up(struct http_connection *c)
{
    if (!c->queued)
        TAILQ_INSERT_TAIL(&c->server->turns, c, turn);
    c->queued = true;
}

void http_connection_go_on(struct http_connection *c)
{
    enum http_take taken;
    c->work = HTTP_TURN_WORK;
    do {
        taken = http_exchange_take(c);
        if (!send_pending(c)) {
            http_connection_close(c);
            return;
        }
    } while (taken == HTTP_TAKE_OUTPUT && http_connection_pending(c) == 0);
    if (taken == HTTP_TAKE_TURN && http_connection_pending(c) == 0)
        queue_up(c);
    settle(c);
}

void http_connection_turn(struct http_connection *c)
{
    leave_turns(c);
    http_connection_go_on(c);
}

/* Doubles the input, but not beyond the body's end when that is known. */
static bool grow_input(struct http_connection *c)
{
    size_t capacity = 2 * c->in.capacity, before = http_hold_size(&c->in);
    if (c->state == HTTP_STATE_BODY && !c->head.chunked && c->body + c->head.length < capacity)
        capacity = c->body + (size_t)c->head.length;
    if (capacity <= c->in.capacity)
        capacity = 2 * c->in.capacity; /* another request follows that body */
    if (!http_hold_take(c, capacity - before))
        return false;
    http_hold_resize(c, &c->in, capacity);
    return true;
}

/* Room for what comes next. False when there is no memory for it. */
static bool make_room(struct http_connection *c)
{
    if (c->in.data && c->start > 0 && c->state == HTTP_STATE_HEAD) {
        buffer_consume(&c->in, c->start);
        c->start = 0;
    }
    if (!c->in.data)
        http_pool_lend(&c->server->pool, &c->in);
    return c->in.len < c->in.capacity || grow_input(c);
}

/* False when the connection is at its end. */
static bool receive(struct http_connection *c)
{
    if (!make_room(c)) {
        http_exchange_refuse(c, 503, core_budget_error);
        return true;
    }
    ssize_t n = recv(c->fd, c->in.data + c->in.len, c->in.capacity - c->in.len, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false;
    core_count(c->server->core, FIGURE_BYTES_IN, (uint64_t)n);
    bool first = c->state == HTTP_STATE_HEAD && c->in.len == c->start;
    c->in.len += (size_t)n;
    if (first)
        touch(c);
    else if (c->state == HTTP_STATE_BODY)
        move_on(c, (size_t)n);
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
    if (c->state == HTTP_STATE_BUSY) {
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
    else if (c->state == HTTP_STATE_LINGER)
        drop_input(c);
    else if (c->queued)
        return; /* it goes on at its turn */
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

void http_connection_open(struct http_server *server, int fd, bool loopback, bool refuse_it)
{
    struct http_connection *c = new_connection(server, fd);
    c->loopback = loopback;
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
    bool busy = c->state == HTTP_STATE_BUSY || c->state == HTTP_STATE_LATER;
    if (busy && http_connection_pending(c) == 0) {
        touch(c); /* the core keeps its deadline */
    } else if (c->state == HTTP_STATE_LINGER) {
        http_connection_close(c);
    } else if (http_connection_pending(c) > 0) {
        core_count(c->server->core, FIGURE_CONNECTIONS_CUT, 1);
        http_connection_close(c);
    } else if (http_connection_idle(c)) {
        http_connection_finish(c);
    } else {
        http_exchange_refuse(c, 408, "the request did not arrive in time (idle_timeout)");
        http_connection_go_on(c);
    }
}
