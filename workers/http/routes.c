/*
 * routes - see routes.h. Runs in the http workers; touches nothing but its arguments, and fails
 * only by panic when memory runs out.
 */
#include "workers/http/routes.h"

#include <stdio.h>

#include "proto/base/set.h"
#include "workers/core/core.h"
#include "workers/http/json.h"

static const char type_json[] = "application/json";
static const char type_raw[] = "application/octet-stream";

static bool refuse(const struct http_input *input, const char *why)
{
    snprintf(input->error, input->error_size, "%s", why);
    return false;
}

/* ---- Reading requests ---- */

static bool prepare_nothing(const struct http_input *input, struct request *request_r)
{
    (void)input;
    (void)request_r;
    return true;
}

static bool prepare_kv_put(const struct http_input *input, struct request *request_r)
{
    if (input->head->raw_body) {
        request_r->value = (struct bytes){input->body, input->body_len};
        return true;
    }
    return http_json_content(input->body, input->body_len, &request_r->value, input->error,
                             input->error_size);
}

/* A decimal number as a whole; false also when it leaves int64. */
static bool parse_int64(struct bytes text, int64_t *number_r)
{
    int64_t number = 0;
    size_t i = 0;
    bool negative = text.len > 0 && text.data[0] == '-';
    if (negative || (text.len > 0 && text.data[0] == '+'))
        i = 1;
    if (i == text.len)
        return false;
    for (; i < text.len; i++) {
        int digit = text.data[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, digit, &number))
            return false; /* counted downwards, for INT64_MIN has no positive counterpart */
    }
    if (!negative && __builtin_sub_overflow((int64_t)0, number, &number))
        return false;
    *number_r = number;
    return true;
}

static bool prepare_cache_set(const struct http_input *input, struct request *request_r)
{
    int64_t ttl = 0;
    struct bytes text = input->query.ttl;
    if (input->query.value.len == 0)
        return refuse(input, "no value provided; give it as ?value=");
    if ((text.len > 0 && !parse_int64(text, &ttl)) ||
        core_expiry(ttl, input->now_ms, &request_r->expiry_ms) != STATUS_OK)
        return refuse(input, core_ttl_error);
    request_r->value = input->query.value;
    return true;
}

static bool prepare_increment(const struct http_input *input, struct request *request_r)
{
    if (!input->query.increment.data)
        return refuse(input, "no increment provided; give it as ?increment=");
    if (!parse_int64(input->query.increment, &request_r->number))
        return refuse(input, "increment must be a whole number from -9223372036854775808 to "
                             "9223372036854775807");
    return true;
}

static bool prepare_flag_set(const struct http_input *input, struct request *request_r)
{
    static const char *const words[][2] = {{"0", "1"},        {"f", "t"},        {"F", "T"},
                                           {"false", "true"}, {"False", "True"}, {"FALSE", "TRUE"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (int value = 0; value < 2; value++)
            if (bytes_equal(input->query.value, bytes_of(words[i][value]))) {
                request_r->number = value;
                return true;
            }
    return refuse(input, "value must be one of 1 t T TRUE true True 0 f F FALSE false False");
}

static bool prepare_item(const struct http_input *input, struct request *request_r)
{
    if (input->query.item.len == 0)
        return refuse(input, "no item provided; give it as ?item=");
    request_r->value = input->query.item;
    return true;
}

/* ---- Shaping replies ---- */

static void shape_empty(const struct http_input *input, const struct reply *reply,
                        struct buffer *scratch, struct http_body *body_r)
{
    (void)input;
    (void)reply;
    (void)scratch;
    body_r->status = 204;
}

static void in_scratch(struct buffer *scratch, struct http_body *body)
{
    body->type = type_json;
    body->parts[0] = buffer_bytes(scratch);
}

static void shape_value(const struct http_input *input, const struct reply *reply,
                        struct buffer *scratch, struct http_body *body_r)
{
    if (input->head->accept_raw) {
        body_r->type = type_raw;
        body_r->parts[0] = reply->value;
        return;
    }
    enum http_json_form form = http_json_form(reply->value);
    if (form == HTTP_JSON_PLAIN) {
        body_r->type = type_json;
        body_r->parts[0] = (struct bytes){(const uint8_t *)"{\"value\":\"", 10};
        body_r->parts[1] = reply->value;
        body_r->parts[2] = (struct bytes){(const uint8_t *)"\"}", 2};
        return;
    }
    buffer_append_text(scratch,
                       form == HTTP_JSON_BASE64 ? "{\"value_base64\":\"" : "{\"value\":\"");
    http_json_append(scratch, reply->value, form);
    buffer_append(scratch, "\"}", 2);
    in_scratch(scratch, body_r);
}

static void shape_counter(const struct http_input *input, const struct reply *reply,
                          struct buffer *scratch, struct http_body *body_r)
{
    buffer_append(scratch, "{", 1);
    http_json_member(scratch, "key", input->key);
    buffer_append_format(scratch, ",\"value\":%lld}", (long long)reply->number);
    in_scratch(scratch, body_r);
}

static void shape_counter_put(const struct http_input *input, const struct reply *reply,
                              struct buffer *scratch, struct http_body *body_r)
{
    if (input->head->return_representation)
        shape_counter(input, reply, scratch, body_r);
    else
        shape_empty(input, reply, scratch, body_r);
}

static void shape_flag(const struct http_input *input, const struct reply *reply,
                       struct buffer *scratch, struct http_body *body_r)
{
    (void)input;
    (void)scratch;
    body_r->type = type_json;
    body_r->parts[0] = bytes_of(reply->number ? "{\"value\":true}" : "{\"value\":false}");
}

/* One item that is no UTF-8 turns them all to base64, so that nobody has to guess which. */
static void shape_set(const struct http_input *input, const struct reply *reply,
                      struct buffer *scratch, struct http_body *body_r)
{
    struct bytes rest = reply->value, item;
    bool base64 = false, first = true;
    while (!base64 && set_next(&rest, &item))
        base64 = http_json_form(item) == HTTP_JSON_BASE64;
    buffer_append_text(scratch, base64 ? "{\"items_base64\":[" : "{\"items\":[");
    for (rest = reply->value; set_next(&rest, &item); first = false) {
        buffer_append_text(scratch, first ? "\"" : ",\"");
        http_json_append(scratch, item, base64 ? HTTP_JSON_BASE64 : http_json_form(item));
        buffer_append(scratch, "\"", 1);
    }
    buffer_append(scratch, "],", 2);
    http_json_member(scratch, "set", input->key);
    buffer_append(scratch, "}", 1);
    in_scratch(scratch, body_r);
}

void http_body_error(int status, const char *text, struct buffer *scratch, struct http_body *body_r)
{
    *body_r = (struct http_body){.status = status};
    scratch->len = 0;
    buffer_append(scratch, "{", 1);
    http_json_member(scratch, "error", bytes_of(text));
    buffer_append(scratch, "}", 1);
    in_scratch(scratch, body_r);
}

/* ---- The table ---- */

static const struct http_route routes[] = {
#define ROUTE(operation, method, path, prepare, shape)                                             \
    {path, HTTP_##method, OP_##operation, 0, prepare_##prepare, shape_##shape},
#include "proto/api/operations.def"
    {"/ping", HTTP_GET, OP_NONE, HTTP_PAGE_PING, NULL, NULL},
    {"/livez", HTTP_GET, OP_NONE, HTTP_PAGE_LIVE, NULL, NULL},
    {"/readyz", HTTP_GET, OP_NONE, HTTP_PAGE_READY, NULL, NULL},
    {"/metrics", HTTP_GET, OP_NONE, HTTP_PAGE_METRICS, NULL, NULL},
};
enum { ROUTES = sizeof routes / sizeof *routes };

static bool covers(const struct http_route *route, struct http_text path)
{
    size_t len = strlen(route->path);
    bool prefix = route->path[len - 1] == '/';
    return (prefix ? path.len >= len : path.len == len) && memcmp(path.data, route->path, len) == 0;
}

static void add_method(char *allow, size_t size, const char *word)
{
    size_t len = strlen(allow);
    snprintf(allow + len, size - len, "%s%s", len > 0 ? ", " : "", word);
}

/* The methods of all rows for this path; empty when there is none. */
static void list_methods(struct http_text path, char *allow, size_t size)
{
    static const char *const words[] = {[HTTP_GET] = "GET, HEAD",
                                        [HTTP_PUT] = "PUT",
                                        [HTTP_POST] = "POST",
                                        [HTTP_DELETE] = "DELETE"};
    allow[0] = '\0';
    for (size_t i = 0; i < ROUTES; i++)
        if (covers(&routes[i], path))
            add_method(allow, size, words[routes[i].method]);
}

static void no_such_path(struct buffer *scratch, struct http_body *body_r)
{
    char text[512] = "no such path; there are";
    for (size_t i = 0; i < ROUTES; i++)
        if (i == 0 || strcmp(routes[i].path, routes[i - 1].path) != 0) {
            size_t len = strlen(text);
            snprintf(text + len, sizeof text - len, " %s", routes[i].path);
        }
    http_body_error(404, text, scratch, body_r);
}

const struct http_route *http_route_find(enum http_method method, struct http_text path,
                                         struct buffer *scratch, struct http_body *body_r)
{
    char allow[sizeof body_r->allow], text[96];
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    for (size_t i = 0; i < ROUTES; i++)
        if (routes[i].method == method && covers(&routes[i], path))
            return &routes[i];
    list_methods(path, allow, sizeof allow);
    if (allow[0] == '\0') {
        no_such_path(scratch, body_r);
        return NULL;
    }
    snprintf(text, sizeof text, "method not allowed; this path takes %s", allow);
    http_body_error(405, text, scratch, body_r);
    memcpy(body_r->allow, allow, sizeof allow);
    return NULL;
}

bool http_route_prepare(const struct http_route *route, struct http_text path,
                        struct http_text query, struct http_input *input, struct request *request_r)
{
    static const char escape[] = "a % must be followed by two hexadecimal digits";
    size_t skip = strlen(route->path);
    struct http_text key = {path.data + skip, path.len - skip};
    if (!http_percent_decode(&key, false))
        return refuse(input, escape);
    input->key = (struct bytes){key.data, key.len};
    if (!http_query_parse(query, &input->query))
        return refuse(input, escape);
    *request_r = (struct request){.op = route->op, .key = input->key};
    if (key.len == 0)
        return refuse(input, "no resource key provided");
    return route->prepare(input, request_r);
}
