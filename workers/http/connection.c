/*
 * connection - see connection.h. Runs in the http workers. What a client does wrong is answered and
 * at worst ends its own connection; memory running out ends the process.
 */
#include "workers/http/connection.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/channel/figures.h"

enum {
    OUTPUT_HIGH = 65536,    /* output waiting: take no more requests */
    DIRECT_MIN = 16384,     /* bodies from here on are written from where they are */
    BODY_PROGRESS = 16384,  /* each so many bytes of a body renew its time limit */
    JSON_BODY_EXTRA = 1024, /* around a value, each byte of which may be an escape of six */
    JSON_ESCAPE = 6,
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

static size_t pending(const struct http_connection *c)
{
    return c->out.len - c->sent;
}

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
    if (pending(c) == 0)
        return true;
    ssize_t n = send(c->fd, c->out.data + c->sent, pending(c), MSG_NOSIGNAL);
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
    struct iovec parts[4] = {{c->out.data + c->sent, pending(c)}};
    for (int i = 0; i < 3; i++)
        parts[i + 1] = (struct iovec){(void *)body->parts[i].data, body->parts[i].len};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 4};
    ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    size_t left = n > 0 ? (size_t)n : 0;
    size_t of_output = left < pending(c) ? left : pending(c);
    core_count(c->server->core, FIGURE_BYTES_OUT, left - of_output);
    wrote(c, of_output);
    left -= of_output;
    for (int i = 0; i < 3; i++) {
        append(c, body->parts[i], left);
        left -= left < body->parts[i].len ? left : body->parts[i].len;
    }
}

/* Adds an answer to the output. */
static void put_answer(struct http_connection *c, const struct http_body *body)
{
    struct http_server *server = c->server;
    struct http_style *style = &server->style;
    if (!c->out.data)
        http_server_lend(server, &c->out);
    c->last = c->last || !c->head.keep_alive || server->draining;
    style->close = c->last;
    style->keep_alive = c->head.http10;
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

/* ---- Answers ---- */

/* The request is answered: on to the next. */
static void end_request(struct http_connection *c)
{
    c->start = c->at;
    c->scanned = 0;
    c->mark = 0;
    c->state = HTTP_STATE_HEAD;
    c->call.request = (struct request){0};
}

static void answer_error(struct http_connection *c, int status, const char *text)
{
    struct http_body body;
    http_body_error(status, text, &c->server->scratch, &body);
    put_answer(c, &body);
}

/* No operation could be made of it, and the connection cannot go on. */
static void refuse_and_close(struct http_connection *c, int status, const char *text)
{
    core_count(c->server->core, FIGURE_BAD_REQUESTS, 1);
    c->last = c->dirty = true;
    answer_error(c, status, text);
}

static void refuse(struct http_connection *c, int status, const char *text)
{
    core_count(c->server->core, FIGURE_BAD_REQUESTS, 1);
    answer_error(c, status, text);
    end_request(c);
}

static void answer_call(struct http_connection *c)
{
    struct http_server *server = c->server;
    enum status status = c->call.reply.status;
    if (status != STATUS_OK) {
        answer_error(c, status_info(status)->http, c->call.error);
    } else {
        struct http_body body = {.status = 200};
        server->scratch.len = 0;
        c->route->shape(&c->input, &c->call.reply, &server->scratch, &body);
        put_answer(c, &body);
    }
    end_request(c);
}

static void answer_text(struct http_connection *c, const char *type, struct bytes text)
{
    struct http_body body = {.status = 200, .type = type, .parts = {text}};
    put_answer(c, &body);
    end_request(c);
}

static void go_on(struct http_connection *c);

static void call_done(struct core_call *call)
{
    struct http_connection *c =
        (struct http_connection *)((char *)call - offsetof(struct http_connection, call));
    answer_call(c);
    go_on(c);
}

static void ready_done(void *context, enum status status, const char *backend)
{
    struct http_connection *c = context;
    c->waiting = HTTP_PAGE_NONE;
    if (status == STATUS_OK) {
        answer_text(c, "application/json", bytes_of("{\"status\":\"ok\"}"));
    } else {
        snprintf(c->server->error, sizeof c->server->error, "the %s backend does not answer",
                 backend);
        answer_error(c, 503, c->server->error);
        end_request(c);
    }
    go_on(c);
}

static void stats_done(void *context, struct bytes text)
{
    struct http_connection *c = context;
    c->waiting = HTTP_PAGE_NONE;
    answer_text(c, "text/plain; version=0.0.4", text);
    go_on(c);
}

static void answer_page(struct http_connection *c)
{
    switch (c->route->page) {
    case HTTP_PAGE_PING:
        answer_text(c, NULL, (struct bytes){0});
        break;
    case HTTP_PAGE_LIVE:
        answer_text(c, "application/json", bytes_of("{\"status\":\"ok\"}"));
        break;
    case HTTP_PAGE_READY:
        c->state = HTTP_STATE_BUSY;
        c->waiting = HTTP_PAGE_READY;
        core_ready(c->server->core, ready_done, c);
        break;
    default:
        c->state = HTTP_STATE_BUSY;
        c->waiting = HTTP_PAGE_METRICS;
        core_stats(c->server->core, stats_done, c);
        break;
    }
}

/* ---- Requests ---- */

/* The whole request is there. */
static void dispatch(struct http_connection *c)
{
    struct http_server *server = c->server;
    struct http_text path, query;
    if (!c->route) {
        core_count(server->core, FIGURE_BAD_REQUESTS, 1);
        put_answer(c, &c->refusal);
        buffer_free(&c->refusal_text);
        end_request(c);
        return;
    }
    if (c->route->page != HTTP_PAGE_NONE) {
        answer_page(c);
        return;
    }
    struct http_text target = {c->in.data + c->start + c->head.target_at, c->head.target_len};
    c->input = (struct http_input){
        .head = &c->head,
        .body = c->in.data + c->body,
        .body_len = c->body_len,
        .now_ms = c->route->op == OP_CACHE_SET ? clock_wall_ms() : 0,
        .error = server->error,
        .error_size = sizeof server->error,
    };
    if (!http_target_split(target, &path, &query) ||
        !http_route_prepare(c->route, path, query, &c->input, &c->call.request)) {
        refuse(c, 400, server->error);
        return;
    }
    c->call.done = call_done;
    if (core_start(server->core, &c->call))
        answer_call(c);
    else
        c->state = HTTP_STATE_BUSY;
}

/* Largest body that a request with this head may have. */
static uint64_t body_max(const struct http_connection *c)
{
    uint64_t max_value = c->server->child->conf.max_value;
    return c->head.raw_body ? max_value : JSON_ESCAPE * max_value + JSON_BODY_EXTRA;
}

static void refuse_length(struct http_connection *c)
{
    snprintf(c->server->error, sizeof c->server->error,
             "the body is too large; a value has at most %llu bytes (max_value)",
             (unsigned long long)c->server->child->conf.max_value);
    refuse_and_close(c, 413, c->server->error);
}

/* Finds the row; what is refused is answered once its body is there, so that the connection can
 * go on. */
static void find_route(struct http_connection *c)
{
    struct http_text target = {c->in.data + c->start + c->head.target_at, c->head.target_len};
    struct http_text path, query;
    c->route = NULL;
    if (http_target_split(target, &path, &query))
        c->route = http_route_find(c->head.method, path, &c->refusal_text, &c->refusal);
    else
        http_body_error(400, "the request target must be a path or an http:// URL",
                        &c->refusal_text, &c->refusal);
}

/* The client waits for our word before it sends the body. */
static void on_expect(struct http_connection *c)
{
    static const char go_ahead[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!c->route) {
        core_count(c->server->core, FIGURE_BAD_REQUESTS, 1);
        c->last = c->dirty = true;
        put_answer(c, &c->refusal);
        return;
    }
    if (!c->out.data)
        http_server_lend(c->server, &c->out);
    buffer_append(&c->out, go_ahead, sizeof go_ahead - 1);
}

/* Each step says whether another may follow now. */
static bool take_head(struct http_connection *c)
{
    struct bytes rest = {c->in.data + c->start, c->in.len - c->start};
    if (rest.len == 0)
        return false;
    switch (http_parse_head(rest.data, rest.len, &c->scanned, &c->head)) {
    case HTTP_PARSE_MORE:
        return false;
    case HTTP_PARSE_BAD:
        c->head.keep_alive = false;
        refuse_and_close(c, c->head.error, c->head.reason);
        return false;
    default:
        break;
    }
    c->body = c->at = c->start + c->head.size;
    c->body_len = 0;
    c->chunked = (struct http_chunked){0};
    c->mark = c->in.len;
    c->state = HTTP_STATE_BODY;
    find_route(c);
    if (c->head.length > body_max(c)) {
        refuse_length(c);
        return false;
    }
    if (c->head.expect_continue && (c->head.chunked || c->head.length > 0) && c->in.len == c->at)
        on_expect(c);
    return !c->last;
}

static bool take_body(struct http_connection *c)
{
    if (!c->head.chunked) {
        if (c->in.len - c->body < c->head.length)
            return false;
        c->body_len = c->head.length;
        c->at = c->body + c->body_len;
        dispatch(c);
        return true;
    }
    size_t at = c->at - c->body;
    enum http_chunk result = http_chunk_decode(&c->chunked, c->in.data + c->body,
                                               c->in.len - c->body, body_max(c), &at, &c->body_len);
    c->at = c->body + at;
    if (result == HTTP_CHUNK_DONE) {
        dispatch(c);
        return true;
    }
    if (result == HTTP_CHUNK_MORE)
        c->in.len = c->body + c->body_len, c->at = c->in.len; /* all of it is decoded */
    else if (result == HTTP_CHUNK_TOO_LARGE)
        refuse_length(c);
    else
        refuse_and_close(c, 400, "the chunked body is malformed");
    return false;
}

/* Takes as many requests as are there and may be taken. */
static void take_requests(struct http_connection *c)
{
    bool more = true;
    while (more && !c->last && pending(c) < OUTPUT_HIGH) {
        if (c->state == HTTP_STATE_HEAD)
            more = take_head(c);
        else if (c->state == HTTP_STATE_BODY)
            more = take_body(c);
        else
            more = false;
    }
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

/* The last answer is out. */
static void finish(struct http_connection *c)
{
    if (!c->dirty || shutdown(c->fd, SHUT_WR) != 0) {
        http_connection_close(c);
        return;
    }
    c->state = HTTP_STATE_LINGER;
    http_server_return(c->server, &c->in);
    http_server_return(c->server, &c->out);
    move_to_list(c, &c->server->lingering);
    want(c, EPOLLIN);
}

/* Writes the output, gives back what is not in use, and says what to wait for. May close. */
static void settle(struct http_connection *c)
{
    if (!send_pending(c)) {
        http_connection_close(c);
        return;
    }
    if (pending(c) > 0) {
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

/* After an answer from the core: takes what was sent behind the request. */
static void go_on(struct http_connection *c)
{
    take_requests(c);
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
        go_on(c);
    } else {
        http_connection_close(c);
    }
}

void http_connection_event(struct http_connection *c, uint32_t events)
{
    if (events & EPOLLERR || (events & EPOLLHUP && !(events & EPOLLIN)))
        http_connection_close(c);
    else if (events & EPOLLOUT)
        go_on(c);
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
    answer_error(c, 503, "too many connections (max_connections); try again");
    settle(c);
}

void http_connection_timeout(struct http_connection *c)
{
    if (c->state == HTTP_STATE_BUSY) {
        touch(c); /* the core keeps its deadline */
    } else if (c->state == HTTP_STATE_LINGER || pending(c) > 0 || http_connection_idle(c)) {
        http_connection_close(c);
    } else {
        refuse_and_close(c, 408, "the request did not arrive in time (idle_timeout)");
        settle(c);
    }
}
