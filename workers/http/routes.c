/*
 * routes - see routes.h. Runs in the http workers; touches nothing but its arguments, and fails
 * only by panic when memory runs out.
 */
#include "workers/http/routes.h"

#include <stdio.h>

#include "proto/base/set.h"
#include "proto/base/text.h"
#include "workers/core/core.h"
#include "workers/http/json.h"

static const char type_json[] = "application/json";
static const char type_raw[] = "application/octet-stream";
static const char type_text[] = "text/plain; charset=utf-8";

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

static bool prepare_cache_set(const struct http_input *input, struct request *request_r)
{
    int64_t ttl = 0;
    struct bytes text = input->query.ttl;
    if (input->query.value.len == 0)
        return refuse(input, "no value provided; give it as ?value=");
    if ((text.len > 0 && !text_int64(text, &ttl)) ||
        core_expiry(ttl, input->now_ms, &request_r->expiry_ms) != STATUS_OK)
        return refuse(input, core_ttl_error);
    request_r->value = input->query.value;
    return true;
}

static bool prepare_increment(const struct http_input *input, struct request *request_r)
{
    if (!input->query.increment.data)
        return refuse(input, "no increment provided; give it as ?increment=");
    if (!text_int64(input->query.increment, &request_r->number))
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

/* ---- Requests that are messages ---- */

static struct message_writer writer_of(const struct http_input *input)
{
    return (struct message_writer){api_messages(input->op)->request, input->made, input->error,
                                   input->error_size, 0};
}

/* ?int64=string: numbers of 64 bits as strings. */
static bool take_int64(struct http_input *input, struct bytes value)
{
    input->int64_as_string = bytes_equal(value, bytes_of("string"));
    return input->int64_as_string || bytes_equal(value, bytes_of("number")) ||
           refuse(input, "int64 must be number or string");
}

/* The parameters are fields of the message, but for these two. */
static bool read_fields(struct http_text query, struct http_input *input,
                        struct message_writer *writer)
{
    struct bytes name, value;
    int found;
    while ((found = http_query_next(&query, &name, &value)) > 0) {
        bool good = true;
        if (bytes_equal(name, bytes_of("key")))
            input->query.key = value;
        else if (bytes_equal(name, bytes_of("int64")))
            good = take_int64(input, value);
        else
            good = message_add_parameter(writer, name, value);
        if (!good)
            return false;
    }
    return found == 0 || refuse(input, "a % must be followed by two hexadecimal digits");
}

/* A body that is no JSON is the field "value". */
static bool read_body(struct http_input *input, struct message_writer *writer)
{
    struct bytes body = {input->body, input->body_len};
    if (input->head->raw_body)
        return message_add_bytes(writer, "value", body);
    return body.len == 0 || message_add_json(writer, input->body, input->body_len);
}

static bool has_key(enum op op)
{
    return api_bytes_field(api_messages(op)->request, "key");
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

/* The value as it is: bytes, or text when that is asked for and it is one. */
static void shape_raw(enum http_form accept, struct bytes value, struct http_body *body_r)
{
    bool text = accept == HTTP_FORM_TEXT && core_json_form(value) != CORE_JSON_BASE64;
    body_r->type = text ? type_text : type_raw;
    body_r->parts[0] = value;
}

static void shape_value(const struct http_input *input, const struct reply *reply,
                        struct buffer *scratch, struct http_body *body_r)
{
    if (input->head->accept != HTTP_FORM_JSON) {
        shape_raw(input->head->accept, reply->value, body_r);
        return;
    }
    enum core_json_form form = core_json_form(reply->value);
    if (input->head->method == HTTP_HEAD) {
        const char *name =
            form == CORE_JSON_BASE64 ? "{\"value_base64\":\"\"}" : "{\"value\":\"\"}";
        body_r->type = type_json;
        body_r->unsent = strlen(name) + core_json_length(reply->value, form);
        return;
    }
    if (form == CORE_JSON_PLAIN) {
        body_r->type = type_json;
        body_r->parts[0] = (struct bytes){(const uint8_t *)"{\"value\":\"", 10};
        body_r->parts[1] = reply->value;
        body_r->parts[2] = (struct bytes){(const uint8_t *)"\"}", 2};
        return;
    }
    buffer_append_text(scratch,
                       form == CORE_JSON_BASE64 ? "{\"value_base64\":\"" : "{\"value\":\"");
    core_json_append(scratch, reply->value, form);
    buffer_append(scratch, "\"}", 2);
    in_scratch(scratch, body_r);
}

static void shape_counter(const struct http_input *input, const struct reply *reply,
                          struct buffer *scratch, struct http_body *body_r)
{
    if (input->head->accept != HTTP_FORM_JSON) {
        buffer_append_format(scratch, "%lld", (long long)reply->number);
        shape_raw(input->head->accept, buffer_bytes(scratch), body_r);
        return;
    }
    buffer_append(scratch, "{", 1);
    core_json_member(scratch, "key", input->key);
    buffer_append_format(scratch, ",\"value\":%lld}", (long long)reply->number);
    in_scratch(scratch, body_r);
}

/* What a change answers with by itself is left out when the client prefers so. */
static void shape_counter_post(const struct http_input *input, const struct reply *reply,
                               struct buffer *scratch, struct http_body *body_r)
{
    if (input->head->prefer == HTTP_PREFER_MINIMAL)
        shape_empty(input, reply, scratch, body_r);
    else
        shape_counter(input, reply, scratch, body_r);
}

static void shape_counter_put(const struct http_input *input, const struct reply *reply,
                              struct buffer *scratch, struct http_body *body_r)
{
    if (input->head->prefer == HTTP_PREFER_REPRESENTATION)
        shape_counter(input, reply, scratch, body_r);
    else
        shape_empty(input, reply, scratch, body_r);
}

static void shape_flag(const struct http_input *input, const struct reply *reply,
                       struct buffer *scratch, struct http_body *body_r)
{
    (void)scratch;
    if (input->head->accept != HTTP_FORM_JSON) {
        shape_raw(input->head->accept, bytes_of(reply->number ? "true" : "false"), body_r);
        return;
    }
    body_r->type = type_json;
    body_r->parts[0] = bytes_of(reply->number ? "{\"value\":true}" : "{\"value\":false}");
}

/* What shape_set() would write. */
static void measure_set(const struct http_input *input, const struct reply *reply, bool base64,
                        struct http_body *body_r)
{
    struct bytes rest = reply->value, item;
    enum core_json_form key_form = core_json_form(input->key);
    uint64_t length = base64 ? strlen("{\"items_base64\":[") : strlen("{\"items\":[");
    while (set_next(&rest, &item))
        length += strlen("\"\",") +
                  core_json_length(item, base64 ? CORE_JSON_BASE64 : core_json_form(item));
    length -= reply->value.len > 0; /* the last has no comma */
    length +=
        key_form == CORE_JSON_BASE64 ? strlen("],\"set_base64\":\"\"}") : strlen("],\"set\":\"\"}");
    body_r->type = type_json;
    body_r->unsent = length + core_json_length(input->key, key_form);
}

/* One item that is no UTF-8 turns them all to base64, so that nobody has to guess which. */
static void shape_set(const struct http_input *input, const struct reply *reply,
                      struct buffer *scratch, struct http_body *body_r)
{
    struct bytes rest = reply->value, item;
    bool base64 = false, first = true;
    while (!base64 && set_next(&rest, &item))
        base64 = core_json_form(item) == CORE_JSON_BASE64;
    if (input->head->method == HTTP_HEAD) {
        measure_set(input, reply, base64, body_r);
        return;
    }
    buffer_append_text(scratch, base64 ? "{\"items_base64\":[" : "{\"items\":[");
    for (rest = reply->value; set_next(&rest, &item); first = false) {
        buffer_append_text(scratch, first ? "\"" : ",\"");
        core_json_append(scratch, item, base64 ? CORE_JSON_BASE64 : core_json_form(item));
        buffer_append(scratch, "\"", 1);
    }
    buffer_append(scratch, "],", 2);
    core_json_member(scratch, "set", input->key);
    buffer_append(scratch, "}", 1);
    in_scratch(scratch, body_r);
}

static void shape_message(const struct http_input *input, const struct reply *reply,
                          struct buffer *scratch, struct http_body *body_r)
{
    const ProtobufCMessageDescriptor *type = api_messages(input->op)->reply;
    bool unwanted =
        input->head->prefer == HTTP_PREFER_MINIMAL && op_info(input->op)->kind != OP_READS;
    if (type->n_fields == 0 || unwanted) {
        shape_empty(input, reply, scratch, body_r);
        return;
    }
    struct api_pool pool;
    api_pool_open(&pool);
    const ProtobufCMessage *message = api_unpack(type, reply->value, &pool);
    if (message)
        message_append_json(message, input->int64_as_string, scratch);
    api_pool_reset(&pool);
    if (message)
        in_scratch(scratch, body_r);
    else
        http_body_error(500, "the store's answer does not parse", scratch, body_r);
}

static void shape_set_change(const struct http_input *input, const struct reply *reply,
                             struct buffer *scratch, struct http_body *body_r)
{
    if (input->head->prefer == HTTP_PREFER_MINIMAL)
        shape_empty(input, reply, scratch, body_r);
    else
        shape_set(input, reply, scratch, body_r);
}

void http_body_error(int status, const char *text, struct buffer *scratch, struct http_body *body_r)
{
    *body_r = (struct http_body){.status = status};
    scratch->len = 0;
    buffer_append(scratch, "{", 1);
    core_json_member(scratch, "error", bytes_of(text));
    buffer_append(scratch, "}", 1);
    in_scratch(scratch, body_r);
}

/* ---- The table ---- */

/* Which parameters a row reads, by the name of its prepare. */
enum {
    READS_KEY = 1 << HTTP_PARAMETER_KEY,
    READS_nothing = READS_KEY,
    READS_kv_put = READS_KEY,
    READS_cache_set = READS_KEY | 1 << HTTP_PARAMETER_VALUE | 1 << HTTP_PARAMETER_TTL,
    READS_increment = READS_KEY | 1 << HTTP_PARAMETER_INCREMENT,
    READS_flag_set = READS_KEY | 1 << HTTP_PARAMETER_VALUE,
    READS_item = READS_KEY | 1 << HTTP_PARAMETER_ITEM,
    READS_message = 0, /* see make_message() */
};

/* Nothing but http_route_prepare() looks at what a message is made of. */
#define prepare_message NULL

static const struct http_route routes[] = {
#define ROUTE(operation, method, path, prepare, shape)                                             \
    {(path), sizeof(path) - 1, HTTP_##method,     OP_##operation,                                  \
     0,      READS_##prepare,  prepare_##prepare, shape_##shape},
#include "proto/api/operations.def"
#define PAGE(path, page)                                                                           \
    {                                                                                              \
        (path), sizeof(path) - 1, HTTP_GET, OP_NONE, (page), 0, NULL, NULL                         \
    }
    PAGE("/ping", HTTP_PAGE_PING),
    PAGE("/livez", HTTP_PAGE_LIVE),
    PAGE("/readyz", HTTP_PAGE_READY),
    PAGE("/metrics", HTTP_PAGE_METRICS),
#undef PAGE
};
enum { ROUTES = sizeof routes / sizeof *routes };

/* by_query: the key comes as ?key=, so the path is without its last slash. */
static bool covers(const struct http_route *route, struct http_text path, bool by_query)
{
    size_t len = route->path_len;
    bool prefix = route->path[len - 1] == '/';
    if (prefix && by_query && path.len == len - 1)
        len--;
    return (prefix ? path.len >= len : path.len == len) && memcmp(path.data, route->path, len) == 0;
}

static void add_method(char *allow, size_t size, const char *word)
{
    size_t len = strlen(allow);
    snprintf(allow + len, size - len, "%s%s", len > 0 ? ", " : "", word);
}

/* The methods of all rows for this path; empty when there is none. */
static void list_methods(struct http_text path, bool by_query, char allow[HTTP_ALLOW_MAX])
{
    static const char *const words[] = {[HTTP_GET] = "GET, HEAD",
                                        [HTTP_PUT] = "PUT",
                                        [HTTP_POST] = "POST",
                                        [HTTP_DELETE] = "DELETE"};
    allow[0] = '\0';
    for (size_t i = 0; i < ROUTES; i++)
        if (covers(&routes[i], path, by_query))
            add_method(allow, HTTP_ALLOW_MAX, words[routes[i].method]);
    if (allow[0])
        add_method(allow, HTTP_ALLOW_MAX, "OPTIONS");
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

/* "/" and "*": the server as a whole. */
static bool is_server(struct http_text path)
{
    return path.len == 1 && (path.data[0] == '/' || path.data[0] == '*');
}

static void answer_options(struct http_text path, struct http_body *body_r)
{
    *body_r = (struct http_body){.status = 204};
    if (is_server(path))
        strcpy(body_r->allow, "GET, HEAD, PUT, POST, DELETE, OPTIONS");
    else
        list_methods(path, true, body_r->allow);
}

/* There is no row for it: says why. */
static void refuse_path(struct http_text path, bool by_query, struct buffer *scratch,
                        struct http_body *body_r)
{
    char allow[HTTP_ALLOW_MAX], text[HTTP_ALLOW_MAX + 64];
    list_methods(path, by_query, allow);
    if (allow[0] == '\0') {
        no_such_path(scratch, body_r);
        return;
    }
    snprintf(text, sizeof text, "method not allowed; this path takes %s", allow);
    http_body_error(405, text, scratch, body_r);
    memcpy(body_r->allow, allow, sizeof allow);
}

const struct http_route *http_route_find(enum http_method method, struct http_text path,
                                         struct http_text query, struct buffer *scratch,
                                         struct http_body *body_r)
{
    bool by_query = query.len > 0 && http_query_has_key(query);
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    for (size_t i = 0; i < ROUTES; i++)
        if (routes[i].method == method && covers(&routes[i], path, by_query))
            return &routes[i];
    if (method == HTTP_OPTIONS)
        answer_options(path, body_r);
    if (method != HTTP_OPTIONS || body_r->allow[0] == '\0')
        refuse_path(path, by_query, scratch, body_r);
    return NULL;
}

bool http_route_status_only(const struct http_route *route, const struct http_head *head)
{
    return head->prefer == HTTP_PREFER_MINIMAL && route->method != HTTP_GET;
}

/* The key is the rest of the path, or the parameter of that name. */
static bool take_key(const struct http_route *route, struct http_text path,
                     struct http_input *input)
{
    size_t skip = route->path_len;
    struct http_text key = {path.data + path.len, 0};
    if (path.len > skip)
        key = (struct http_text){path.data + skip, path.len - skip};
    if (!http_percent_decode(&key, false))
        return refuse(input, "a % must be followed by two hexadecimal digits");
    if (key.len > 0 && input->query.key.data)
        return refuse(input, "the key is given twice, in the path and as ?key=");
    input->key = key.len > 0 ? (struct bytes){key.data, key.len} : input->query.key;
    return true;
}

/* Half of what was asked for is not done: neither value is taken. */
static bool refuse_twice(const struct http_input *input, unsigned twice)
{
    snprintf(input->error, input->error_size, "the parameter %s is given twice; give it once",
             http_parameter_name((enum http_parameter)__builtin_ctz(twice)));
    return false;
}

/* A message has all that was given, the key too. */
static bool make_message(const struct http_route *route, struct http_text path,
                         struct http_text query, struct http_input *input,
                         struct request *request_r)
{
    struct message_writer writer = writer_of(input);
    input->query = (struct http_query){0};
    if (!read_fields(query, input, &writer) || !take_key(route, path, input))
        return false;
    *request_r = (struct request){.op = route->op, .key = input->key};
    if (!has_key(route->op))
        request_r->key = api_no_key;
    else if (input->key.len == 0)
        return refuse(input, "no resource key provided");
    else if (!message_add_bytes(&writer, "key", input->key))
        return false;
    if (!read_body(input, &writer))
        return false;
    request_r->value = buffer_bytes(input->made);
    return true;
}

bool http_route_prepare(const struct http_route *route, struct http_text path,
                        struct http_text query, struct http_input *input, struct request *request_r)
{
    input->op = route->op;
    if (op_info(route->op)->takes == OP_TAKES_MESSAGE)
        return make_message(route, path, query, input, request_r);
    if (!http_query_parse(query, &input->query))
        return refuse(input, "a % must be followed by two hexadecimal digits");
    if (input->query.twice & route->parameters)
        return refuse_twice(input, input->query.twice & route->parameters);
    if (!take_key(route, path, input))
        return false;
    *request_r = (struct request){.op = route->op, .key = input->key};
    if (input->key.len == 0)
        return refuse(input, "no resource key provided");
    return route->prepare(input, request_r);
}
