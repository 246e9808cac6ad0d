/*
 * Fuzzes the way of a request: head, target, chunked body, route. In one piece and in two, which
 * must come to the same. A test program; fails by a sanitizer or by abort.
 */
#include <stdlib.h>

#include "workers/http/chunk.h"
#include "workers/http/routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static size_t decode_body(const struct http_head *head, uint8_t *body, size_t len)
{
    struct http_chunked chunked = {0};
    size_t at = 0, body_len = 0;
    if (!head->chunked)
        return head->length < len ? head->length : len;
    http_chunk_decode(&chunked, body, len, 4096, &at, &body_len);
    require(body_len <= 4096 && body_len <= at && at <= len);
    return body_len;
}

static void route(const struct http_head *head, uint8_t *data, size_t len)
{
    static struct buffer scratch;
    char error[400];
    struct http_body body;
    struct http_text path, query, target = {data + head->target_at, head->target_len};
    struct request request;
    if (!http_target_split(target, &path, &query))
        return;
    const struct http_route *row = http_route_find(head->method, path, query, &scratch, &body);
    if (!row || row->page != HTTP_PAGE_NONE)
        return;
    static struct buffer made;
    struct http_input input = {
        .head = head,
        .body = data + head->size,
        .body_len = decode_body(head, data + head->size, len - head->size),
        .error = error,
        .error_size = sizeof error,
        .made = &made,
    };
    made.len = 0;
    if (http_route_prepare(row, path, query, &input, &request))
        require(request.op != OP_NONE && request.key.len > 0 && request.key.len <= len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct http_head head, again;
    size_t scanned = 0, half = len / 2, scanned_half = 0;
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy)
        abort();
    if (len > 0)
        memcpy(copy, data, len);
    enum http_parse result = http_parse_head(copy, len, &scanned, &head);
    enum http_parse in_two = http_parse_head(copy, half, &scanned_half, &again);
    if (in_two == HTTP_PARSE_MORE)
        in_two = http_parse_head(copy, len, &scanned_half, &again);
    require(result != HTTP_PARSE_BAD || (head.error >= 400 && head.error < 600 && head.reason));
    if (result == HTTP_PARSE_DONE) {
        require(in_two == HTTP_PARSE_DONE && again.size == head.size);
        require(head.size <= len && head.target_at + head.target_len < head.size);
        route(&head, copy, len);
    }
    free(copy);
    return 0;
}
