/*
 * exchange - one request after the other of a connection, from its bytes to its answer. Runs in the
 * http workers. What a client does wrong is answered and at worst ends its own connection.
 */
#include <stddef.h>
#include <stdio.h>

#include "proto/base/clock.h"
#include "proto/figures/figures.h"
#include "workers/http/hold.h"

enum {
    OUTPUT_HIGH = HTTP_BLOCK / 2, /* output waiting: take no more requests */
    JSON_BODY_EXTRA = 1024,       /* around a value, each byte of which may be an escape of six */
    JSON_ESCAPE = 6,
};

/* ---- Answers ---- */

/* The request is answered: on to the next. */
static void end_request(struct http_connection *c)
{
    c->start = c->at;
    c->scanned = 0;
    c->work--;
    c->state = HTTP_STATE_HEAD;
    c->cors = false;
    c->call.request = (struct request){0};
    if (c->message.data)
        http_hold_release(c, &c->message);
}

void http_exchange_error(struct http_connection *c, int status, const char *text)
{
    struct http_body body;
    http_body_error(status, text, &c->server->scratch, &body);
    http_connection_answer(c, &body);
}

void http_exchange_refuse(struct http_connection *c, int status, const char *text)
{
    core_count(c->server->core, FIGURE_BAD_REQUESTS, 1);
    c->last = c->dirty = true;
    http_exchange_error(c, status, text);
}

static void refuse(struct http_connection *c, int status, const char *text)
{
    core_count(c->server->core, FIGURE_BAD_REQUESTS, 1);
    http_exchange_error(c, status, text);
    end_request(c);
}

static void answer_call(struct http_connection *c)
{
    struct http_server *server = c->server;
    enum status status = c->call.reply.status;
    size_t len = c->call.reply.value.len;
    c->work -= (int)(len / 1024);
    server->long_done = server->long_done || len > HTTP_LONG;
    if (status != STATUS_OK) {
        http_exchange_error(c, status_info(status)->http, c->call.error);
    } else if (len > HTTP_LONG && c->head.method != HTTP_HEAD && !http_hold_probe(c, len)) {
        http_connection_no_memory(c); /* before it is shaped in vain */
    } else {
        struct http_body body = {.status = 200};
        server->scratch.len = 0;
        c->route->shape(&c->input, &c->call.reply, &server->scratch, &body);
        http_connection_answer(c, &body);
    }
    end_request(c);
}

static void answer_text(struct http_connection *c, const char *type, struct bytes text)
{
    struct http_body body = {.status = 200, .type = type, .parts = {text}};
    http_connection_answer(c, &body);
    end_request(c);
}

static void call_done(struct core_call *call)
{
    struct http_connection *c =
        (struct http_connection *)((char *)call - offsetof(struct http_connection, call));
    answer_call(c);
    http_connection_go_on(c);
}

static void ready_done(void *context, enum status status, const char *backend)
{
    struct http_connection *c = context;
    c->waiting = HTTP_PAGE_NONE;
    if (status == STATUS_OK) {
        answer_text(c, "application/json", bytes_of("{\"status\":\"ok\"}"));
    } else {
        const char *why = core_trouble(c->server->core);
        snprintf(c->server->error, sizeof c->server->error, "the %s backend %s%s", backend,
                 *why ? "is not well: " : "does not answer", why);
        http_exchange_error(c, 503, c->server->error);
        end_request(c);
    }
    http_connection_go_on(c);
}

static void answer_figures(struct http_connection *c)
{
    struct buffer text = {0};
    core_figures(c->server->core, &text);
    answer_text(c, "text/plain; version=0.0.4", buffer_bytes(&text));
    buffer_free(&text);
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
        answer_figures(c);
        break;
    }
}

/* ---- Requests ---- */

/* Long values cost time: in one round of the server one is answered at once, the others at their
 * turn, for which max is 0. */
static void start(struct http_connection *c, uint32_t max)
{
    c->call.value_max = max;
    if (!core_start(c->server->core, &c->call)) {
        c->state = HTTP_STATE_BUSY;
    } else if (max > 0 && c->call.reply.status == STATUS_RETRY) {
        c->state = HTTP_STATE_LATER;
        c->server->later++;
        c->work = 0;
    } else {
        answer_call(c);
    }
}

static void start_again(struct http_connection *c)
{
    c->server->later--;
    c->state = HTTP_STATE_BODY;
    start(c, 0);
}

static bool takes(const struct http_route *route, enum op_takes what)
{
    return route && route->op != OP_NONE && op_info(route->op)->takes == what;
}

/* The message that was made of the request must stay until the answer. False: there is no memory
 * for it. */
static bool keep_message(struct http_connection *c)
{
    struct bytes *value = &c->call.request.value;
    if (value->len <= HTTP_BLOCK)
        http_pool_lend(&c->server->pool, &c->message);
    else if (http_hold_take(c, value->len))
        http_hold_resize(c, &c->message, value->len);
    else
        return false;
    buffer_append(&c->message, value->data, value->len);
    *value = buffer_bytes(&c->message);
    return true;
}

/* The whole request is there. */
static void dispatch(struct http_connection *c)
{
    struct http_server *server = c->server;
    struct http_text path, query;
    if (!c->route) {
        if (c->refusal.status >= 400)
            core_count(server->core, FIGURE_BAD_REQUESTS, 1);
        if (c->refusal.preflight)
            c->refusal.request_headers = http_connection_part(c, c->head.request_headers);
        http_connection_answer(c, &c->refusal);
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
        .now_ms = takes(c->route, OP_TAKES_CACHED) ? clock_service_ms() : 0,
        .error = server->error,
        .error_size = sizeof server->error,
        .made = &server->scratch,
    };
    server->scratch.len = 0;
    c->work -= (int)(c->body_len / 1024);
    if (!http_target_split(target, &path, &query) ||
        !http_route_prepare(c->route, path, query, &c->input, &c->call.request)) {
        refuse(c, 400, server->error);
        return;
    }
    if (takes(c->route, OP_TAKES_MESSAGE) && !keep_message(c)) {
        refuse(c, 503, core_budget_error);
        return;
    }
    c->call.done = call_done;
    c->call.status_only = http_route_status_only(c->route, &c->head);
    bool others_first = server->long_done || server->later > 0;
    start(c, others_first ? HTTP_LONG : 0);
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
    http_exchange_refuse(c, 413, c->server->error);
}

/* NULL, or why the request is refused. A host in the target counts instead of the field. */
static const char *check_access(struct http_connection *c, struct http_text target)
{
    struct http_server *server = c->server;
    struct http_access_request request = {
        .host = http_target_host(target),
        .origin = http_connection_part(c, c->head.origin),
        .cross_site = c->head.cross_site,
        .loopback = c->loopback,
    };
    if (request.host.len == 0)
        request.host = http_connection_part(c, c->head.host);
    return http_access_check(&server->access, &request, &c->cors);
}

/* Finds the row; what is refused is answered once its body is there, so that the connection can
 * go on. */
static void find_route(struct http_connection *c)
{
    struct http_text target = {c->in.data + c->start + c->head.target_at, c->head.target_len};
    struct http_text path = target, query = {0};
    c->route = NULL;
    bool server = c->head.method == HTTP_OPTIONS && target.len == 1 && target.data[0] == '*';
    const char *why = check_access(c, target);
    if (why)
        http_body_error(403, why, &c->refusal_text, &c->refusal);
    else if (server || http_target_split(target, &path, &query))
        c->route = http_route_find(c->head.method, path, query, &c->refusal_text, &c->refusal);
    else
        http_body_error(400, "the request target must be a path or an http:// URL",
                        &c->refusal_text, &c->refusal);
    if (c->route && c->head.unmet) {
        c->route = NULL;
        http_body_error(c->head.unmet, c->head.reason, &c->refusal_text, &c->refusal);
    }
    c->refusal.preflight = !c->route && c->head.preflight && c->refusal.status == 204;
}

/* The client waits for our word before it sends the body. */
static void on_expect(struct http_connection *c)
{
    static const char go_ahead[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!c->route) {
        core_count(c->server->core, FIGURE_BAD_REQUESTS, 1);
        c->last = c->dirty = true;
        http_connection_answer(c, &c->refusal);
        return;
    }
    if (!c->out.data)
        http_pool_lend(&c->server->pool, &c->out);
    buffer_append(&c->out, go_ahead, sizeof go_ahead - 1);
}

/* Without a length a message has no body: a client that forgot it would empty the value, and its
 * bytes would be read as requests. */
static bool lacks_length(const struct http_connection *c)
{
    const struct http_head *head = &c->head;
    return head->raw_body && !head->has_length && !head->chunked &&
           (takes(c->route, OP_TAKES_VALUE) ||
            (takes(c->route, OP_TAKES_MESSAGE) && head->method != HTTP_GET));
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
        http_exchange_refuse(c, c->head.error, c->head.reason);
        return false;
    default:
        break;
    }
    c->body = c->at = c->start + c->head.size;
    c->body_len = 0;
    c->chunked = (struct http_chunked){0};
    c->state = HTTP_STATE_BODY;
    find_route(c);
    if (lacks_length(c)) {
        http_exchange_refuse(c, c->head.http10 ? 400 : 411,
                             "the length of the value is missing; give it as Content-Length (0 for "
                             "an empty value), or send it with Transfer-Encoding: chunked");
        return false;
    }
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
        http_exchange_refuse(c, 400, "the chunked body is malformed");
    return false;
}

enum http_take http_exchange_take(struct http_connection *c)
{
    bool more = true;
    while (more && !c->last) {
        if (http_connection_pending(c) >= OUTPUT_HIGH)
            return HTTP_TAKE_OUTPUT;
        if (c->work <= 0 && c->state != HTTP_STATE_BUSY && c->in.len > c->start)
            return HTTP_TAKE_TURN;
        if (c->state == HTTP_STATE_HEAD)
            more = take_head(c);
        else if (c->state == HTTP_STATE_BODY)
            more = take_body(c);
        else if (c->state == HTTP_STATE_LATER)
            start_again(c);
        else
            more = false;
    }
    return HTTP_TAKE_ALL;
}
