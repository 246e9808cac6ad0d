/*
 * parse - see parse.h. Runs in the http workers; touches nothing but its arguments.
 */
#include "workers/http/parse.h"

#include "workers/http/fields.h"
#include "workers/http/text.h"

/* Where a byte may occur: in a token, a field's value, a request target (RFC 9110, 5.6.2 and 5.5).
 * Targets may hold raw bytes above 127: clients do send unescaped UTF-8. */
enum {
    TOKEN = 1,
    VALUE = 2,
    TARGET = 4,
    DELIMITER = VALUE | TARGET,
    ANYWHERE = TOKEN | VALUE | TARGET,
};

static const uint8_t classes[256] = {
    ['\t'] = VALUE,
    [' '] = VALUE,
    ['!'] = ANYWHERE,
    ['"'] = DELIMITER,
    ['#'] = TOKEN | VALUE, /* would start a fragment, which is never sent */
    ['$' ... '\''] = ANYWHERE,
    ['(' ... ')'] = DELIMITER,
    ['*' ... '+'] = ANYWHERE,
    [','] = DELIMITER,
    ['-' ... '.'] = ANYWHERE,
    ['/'] = DELIMITER,
    ['0' ... '9'] = ANYWHERE,
    [':' ... '@'] = DELIMITER,
    ['A' ... 'Z'] = ANYWHERE,
    ['[' ... ']'] = DELIMITER,
    ['^' ... 'z'] = ANYWHERE,
    ['{'] = DELIMITER,
    ['|'] = ANYWHERE,
    ['}'] = DELIMITER,
    ['~'] = ANYWHERE,
    [0x80 ... 0xff] = DELIMITER,
};

static bool all_of(struct bytes text, uint8_t class)
{
    const uint8_t *at = text.data, *end = text.data + text.len;
    uint8_t common = class;
    for (; end - at >= 4; at += 4)
        common &= classes[at[0]] & classes[at[1]] & classes[at[2]] & classes[at[3]];
    for (; at < end; at++)
        common &= classes[*at];
    return common == class;
}

/* ---- The request line ---- */

static enum http_method method_of(struct bytes word)
{
    static const struct {
        const char *word;
        enum http_method method;
    } table[] = {{"GET", HTTP_GET},   {"PUT", HTTP_PUT},       {"HEAD", HTTP_HEAD},
                 {"POST", HTTP_POST}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (bytes_equal(word, bytes_of(table[i].word)))
            return table[i].method;
    return HTTP_OTHER;
}

static bool parse_version(struct bytes version, struct http_head *head)
{
    if (bytes_equal(version, bytes_of("HTTP/1.1")))
        return true;
    if (bytes_equal(version, bytes_of("HTTP/1.0"))) {
        head->http10 = true;
        return true;
    }
    bool well_formed = version.len == 8 && memcmp(version.data, "HTTP/", 5) == 0 &&
                       http_is_digit(version.data[5]) && version.data[6] == '.' &&
                       http_is_digit(version.data[7]);
    if (well_formed)
        return http_head_bad(head, 505, "HTTP/1.1 and HTTP/1.0 are spoken here");
    return http_head_bad(head, 400, "the request line must be METHOD TARGET HTTP/1.1");
}

static bool parse_request_line(struct bytes line, const uint8_t *start, struct http_head *head)
{
    static const char shape[] = "the request line must be METHOD TARGET HTTP/1.1";
    const uint8_t *space = memchr(line.data, ' ', line.len);
    if (!space)
        return http_head_bad(head, 400, shape);
    struct bytes method = {line.data, (size_t)(space - line.data)};
    struct bytes rest = http_text_cut(line, method.len + 1, line.len - method.len - 1);
    space = memchr(rest.data, ' ', rest.len);
    if (!space)
        return http_head_bad(head, 400, shape);
    struct bytes target = {rest.data, (size_t)(space - rest.data)};
    if (method.len == 0 || !all_of(method, TOKEN) || target.len == 0)
        return http_head_bad(head, 400, shape);
    if (!all_of(target, TARGET))
        return http_head_bad(head, 400,
                             "the request target has a byte that must be percent-encoded");
    head->method = method_of(method);
    head->target_at = (uint32_t)(target.data - start);
    head->target_len = (uint32_t)target.len;
    return parse_version(http_text_cut(rest, target.len + 1, rest.len - target.len - 1), head);
}

/* ---- Fields ---- */

static bool parse_field(struct http_fields *fields, struct bytes line)
{
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return http_head_bad(fields->head, 400, "folded header fields are not accepted");
    const uint8_t *colon = memchr(line.data, ':', line.len);
    if (!colon)
        return http_head_bad(fields->head, 400, "a header field has no colon");
    struct bytes name = {line.data, (size_t)(colon - line.data)};
    if (name.len == 0 || !all_of(name, TOKEN))
        return http_head_bad(fields->head, 400,
                             "a header field's name has a byte that is not allowed");
    struct bytes value = http_text_cut(line, name.len + 1, line.len - name.len - 1);
    if (!all_of(value, VALUE))
        return http_head_bad(fields->head, 400,
                             "a header field's value has a byte that is not allowed");
    return http_field_take(fields, name, http_text_trim(value));
}

/* What the fields mean together. */
static bool conclude(const struct http_fields *fields)
{
    struct http_head *head = fields->head;
    if (fields->hosts > 1 || (fields->hosts == 0 && !head->http10))
        return http_head_bad(head, 400, "a request must have one Host field");
    if (head->chunked && head->has_length)
        return http_head_bad(head, 400, "both Content-Length and Transfer-Encoding are given");
    if (head->chunked && head->http10)
        return http_head_bad(head, 400, "HTTP/1.0 has no Transfer-Encoding");
    head->keep_alive = !fields->close && (!head->http10 || fields->keep_alive);
    head->expect_continue = head->expect_continue && !head->http10;
    head->accept = http_fields_accept(fields);
    return true;
}

/* ---- Lines ---- */

enum line { LINE_DONE, LINE_MORE, LINE_BAD };

/* The line at data, without its CR LF. */
static enum line next_line(struct bytes data, struct bytes *line_r)
{
    const uint8_t *end = data.len > 0 ? memchr(data.data, '\n', data.len) : NULL;
    if (!end)
        return LINE_MORE;
    if (end == data.data || end[-1] != '\r')
        return LINE_BAD;
    *line_r = (struct bytes){data.data, (size_t)(end - data.data) - 1};
    return LINE_DONE;
}

static bool has_end(const uint8_t *data, size_t len, size_t from)
{
    while (from < len) {
        const uint8_t *at = memchr(data + from, '\n', len - from);
        if (!at)
            return false;
        size_t left = len - (size_t)(at - data) - 1;
        if ((left >= 1 && at[1] == '\n') || (left >= 2 && at[1] == '\r' && at[2] == '\n'))
            return true;
        from = (size_t)(at - data) + 1;
    }
    return false;
}

static enum http_parse refuse(struct http_head *head, int error, const char *reason)
{
    http_head_bad(head, error, reason);
    return HTTP_PARSE_BAD;
}

static enum http_parse parse_fields(struct bytes rest, const uint8_t *start, struct http_head *head)
{
    static const char too_large[] = "the header fields are larger than 16 KiB or more than 100";
    struct http_fields fields = {.head = head, .start = start};
    size_t size = 0;
    for (unsigned count = 0;; count++) {
        struct bytes line;
        enum line got = next_line(rest, &line);
        size += got == LINE_DONE ? line.len + 2 : rest.len;
        if (size > HTTP_FIELDS_MAX + 2 || count > HTTP_FIELD_COUNT_MAX)
            return refuse(head, 431, too_large);
        if (got == LINE_MORE)
            return HTTP_PARSE_MORE;
        if (got == LINE_BAD)
            return refuse(head, 400, "a line does not end in CR LF");
        rest = http_text_cut(rest, line.len + 2, rest.len - line.len - 2);
        if (line.len == 0)
            break;
        if (!parse_field(&fields, line))
            return HTTP_PARSE_BAD;
    }
    head->size = (uint32_t)(rest.data - start);
    return conclude(&fields) ? HTTP_PARSE_DONE : HTTP_PARSE_BAD;
}

enum http_parse http_parse_head(const uint8_t *data, size_t len, size_t *scanned,
                                struct http_head *head_r)
{
    struct bytes rest = {data, len}, line;
    *head_r = (struct http_head){.method = HTTP_OTHER};
    bool bounded = len <= HTTP_LINE_MAX + HTTP_FIELDS_MAX; /* else a limit has been passed */
    if (*scanned > 0 && bounded && !has_end(data, len, *scanned > 3 ? *scanned - 3 : 0)) {
        *scanned = len;
        return HTTP_PARSE_MORE;
    }
    while (rest.len >= 2 && rest.data[0] == '\r' && rest.data[1] == '\n')
        rest = http_text_cut(rest, 2,
                             rest.len - 2); /* empty lines before a request are to be ignored */
    enum line got = next_line(rest, &line);
    if ((got == LINE_MORE && len > HTTP_LINE_MAX) || (got == LINE_DONE && line.len > HTTP_LINE_MAX))
        return refuse(head_r, 414, "the request line is longer than 8 KiB");
    if (got == LINE_BAD)
        return refuse(head_r, 400, "a line does not end in CR LF");
    enum http_parse result = HTTP_PARSE_MORE;
    if (got == LINE_DONE) {
        if (!parse_request_line(line, data, head_r))
            return HTTP_PARSE_BAD;
        rest = http_text_cut(rest, line.len + 2, rest.len - line.len - 2);
        result = parse_fields(rest, data, head_r);
    }
    *scanned = result == HTTP_PARSE_MORE ? len : 0;
    return result;
}
