/*
 * parse - see parse.h. Runs in the http workers; touches nothing but its arguments.
 */
#include "workers/http/parse.h"

#include <strings.h>

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
    for (size_t i = 0; i < text.len; i++)
        if (!(classes[text.data[i]] & class))
            return false;
    return true;
}

static bool is(struct bytes text, const char *word)
{
    return text.len == strlen(word) && strncasecmp((const char *)text.data, word, text.len) == 0;
}

static struct bytes cut(struct bytes text, size_t at, size_t len)
{
    return (struct bytes){text.data + at, len};
}

static struct bytes trim(struct bytes text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = cut(text, 1, text.len - 1);
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Takes what comes before the next separator off the front of *rest, trimmed. False at the end. */
static bool next_part(struct bytes *rest, char separator, struct bytes *part_r)
{
    if (rest->len == 0)
        return false;
    const uint8_t *at = memchr(rest->data, separator, rest->len);
    size_t len = at ? (size_t)(at - rest->data) : rest->len;
    *part_r = trim(cut(*rest, 0, len));
    size_t used = at ? len + 1 : len;
    *rest = cut(*rest, used, rest->len - used);
    return true;
}

static bool bad(struct http_head *head, int error, const char *reason)
{
    head->error = error;
    head->reason = reason;
    return false;
}

/* ---- The request line ---- */

static enum http_method method_of(struct bytes word)
{
    static const struct {
        const char *word;
        enum http_method method;
    } table[] = {{"GET", HTTP_GET},
                 {"PUT", HTTP_PUT},
                 {"HEAD", HTTP_HEAD},
                 {"POST", HTTP_POST},
                 {"DELETE", HTTP_DELETE}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (bytes_equal(word, bytes_of(table[i].word)))
            return table[i].method;
    return HTTP_OTHER;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
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
                       is_digit(version.data[5]) && version.data[6] == '.' &&
                       is_digit(version.data[7]);
    if (well_formed)
        return bad(head, 505, "HTTP/1.1 and HTTP/1.0 are spoken here");
    return bad(head, 400, "the request line must be METHOD TARGET HTTP/1.1");
}

static bool parse_request_line(struct bytes line, const uint8_t *start, struct http_head *head)
{
    static const char shape[] = "the request line must be METHOD TARGET HTTP/1.1";
    const uint8_t *space = memchr(line.data, ' ', line.len);
    if (!space)
        return bad(head, 400, shape);
    struct bytes method = {line.data, (size_t)(space - line.data)};
    struct bytes rest = cut(line, method.len + 1, line.len - method.len - 1);
    space = memchr(rest.data, ' ', rest.len);
    if (!space)
        return bad(head, 400, shape);
    struct bytes target = {rest.data, (size_t)(space - rest.data)};
    if (method.len == 0 || !all_of(method, TOKEN) || target.len == 0)
        return bad(head, 400, shape);
    if (!all_of(target, TARGET))
        return bad(head, 400, "the request target has a byte that must be percent-encoded");
    head->method = method_of(method);
    head->target_at = (uint32_t)(target.data - start);
    head->target_len = (uint32_t)target.len;
    return parse_version(cut(rest, target.len + 1, rest.len - target.len - 1), head);
}

/* ---- Fields ---- */

/* What must be remembered while the fields are read. */
struct fields {
    struct http_head *head;
    unsigned hosts;
    bool close, keep_alive;
    bool transfer_encoding;
};

static bool on_host(struct fields *fields, struct bytes value)
{
    for (size_t i = 0; i < value.len; i++)
        if (strchr(" \t/?#@\\", value.data[i]))
            return bad(fields->head, 400, "the Host field is no host");
    fields->hosts++;
    return true;
}

static bool on_connection(struct fields *fields, struct bytes value)
{
    struct bytes word;
    while (next_part(&value, ',', &word)) {
        fields->close = fields->close || is(word, "close");
        fields->keep_alive = fields->keep_alive || is(word, "keep-alive");
    }
    return true;
}

static bool on_content_length(struct fields *fields, struct bytes value)
{
    struct http_head *head = fields->head;
    uint64_t length = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (!is_digit(value.data[i]))
            return bad(head, 400, "Content-Length must be a number");
        if (length > (UINT64_MAX - 9) / 10)
            length = UINT64_MAX;
        else
            length = length * 10 + (uint64_t)(value.data[i] - '0');
    }
    if (value.len == 0)
        return bad(head, 400, "Content-Length must be a number");
    if (head->has_length && head->length != length)
        return bad(head, 400, "two Content-Length fields disagree");
    head->has_length = true;
    head->length = length;
    return true;
}

static bool on_transfer_encoding(struct fields *fields, struct bytes value)
{
    struct http_head *head = fields->head;
    if (fields->transfer_encoding)
        return bad(head, 400, "more than one Transfer-Encoding field");
    fields->transfer_encoding = true;
    if (!is(value, "chunked"))
        return bad(head, 501, "the only transfer coding understood is chunked");
    head->chunked = true;
    return true;
}

static bool on_expect(struct fields *fields, struct bytes value)
{
    if (!is(value, "100-continue"))
        return bad(fields->head, 417, "the only expectation understood is 100-continue");
    fields->head->expect_continue = true;
    return true;
}

/* JSON is what no type, JSON's types, and the one that curl -d sends unasked mean. */
static bool on_content_type(struct fields *fields, struct bytes value)
{
    struct bytes type = {0};
    next_part(&value, ';', &type);
    bool suffix = type.len > 5 && is(cut(type, type.len - 5, 5), "+json");
    fields->head->raw_body = type.len > 0 && !suffix && !is(type, "application/json") &&
                             !is(type, "text/json") &&
                             !is(type, "application/x-www-form-urlencoded");
    return true;
}

static bool has_zero_weight(struct bytes parameters)
{
    struct bytes one;
    while (next_part(&parameters, ';', &one)) {
        if (one.len < 3 || (one.data[0] | 0x20) != 'q' || one.data[1] != '=')
            continue;
        for (size_t i = 2; i < one.len; i++)
            if (one.data[i] != '0' && one.data[i] != '.')
                return false;
        return true;
    }
    return false;
}

/* Of JSON and raw bytes the one named first wins; JSON when neither is. */
static bool on_accept(struct fields *fields, struct bytes value)
{
    struct bytes range;
    while (next_part(&value, ',', &range)) {
        struct bytes type;
        if (!next_part(&range, ';', &type) || has_zero_weight(range))
            continue;
        if (is(type, "application/json"))
            return true;
        if (is(type, "application/octet-stream")) {
            fields->head->accept_raw = true;
            return true;
        }
    }
    return true;
}

static bool on_prefer(struct fields *fields, struct bytes value)
{
    struct bytes preference, word;
    while (next_part(&value, ',', &preference))
        if (next_part(&preference, ';', &word) &&
            (is(word, "return=representation") || is(word, "return=\"representation\"")))
            fields->head->return_representation = true;
    return true;
}

static bool on_field(struct fields *fields, struct bytes name, struct bytes value)
{
    static const struct {
        const char *name;
        size_t len;
        bool (*on)(struct fields *fields, struct bytes value);
    } table[] = {
        {"host", 4, on_host},
        {"accept", 6, on_accept},
        {"expect", 6, on_expect},
        {"prefer", 6, on_prefer},
        {"connection", 10, on_connection},
        {"content-type", 12, on_content_type},
        {"content-length", 14, on_content_length},
        {"transfer-encoding", 17, on_transfer_encoding},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (name.len == table[i].len && is(name, table[i].name))
            return table[i].on(fields, value);
    return true;
}

static bool parse_field(struct fields *fields, struct bytes line)
{
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return bad(fields->head, 400, "folded header fields are not accepted");
    const uint8_t *colon = memchr(line.data, ':', line.len);
    if (!colon)
        return bad(fields->head, 400, "a header field has no colon");
    struct bytes name = {line.data, (size_t)(colon - line.data)};
    if (name.len == 0 || !all_of(name, TOKEN))
        return bad(fields->head, 400, "a header field's name has a byte that is not allowed");
    struct bytes value = cut(line, name.len + 1, line.len - name.len - 1);
    if (!all_of(value, VALUE))
        return bad(fields->head, 400, "a header field's value has a byte that is not allowed");
    return on_field(fields, name, trim(value));
}

/* What the fields mean together. */
static bool conclude(const struct fields *fields)
{
    struct http_head *head = fields->head;
    if (fields->hosts > 1 || (fields->hosts == 0 && !head->http10))
        return bad(head, 400, "a request must have one Host field");
    if (head->chunked && head->has_length)
        return bad(head, 400, "both Content-Length and Transfer-Encoding are given");
    if (head->chunked && head->http10)
        return bad(head, 400, "HTTP/1.0 has no Transfer-Encoding");
    head->keep_alive = !fields->close && (!head->http10 || fields->keep_alive);
    head->expect_continue = head->expect_continue && !head->http10;
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
    bad(head, error, reason);
    return HTTP_PARSE_BAD;
}

static enum http_parse parse_fields(struct bytes rest, const uint8_t *start, struct http_head *head)
{
    static const char too_large[] = "the header fields are larger than 16 KiB or more than 100";
    struct fields fields = {.head = head};
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
        rest = cut(rest, line.len + 2, rest.len - line.len - 2);
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
        rest = cut(rest, 2, rest.len - 2); /* empty lines before a request are to be ignored */
    enum line got = next_line(rest, &line);
    if ((got == LINE_MORE && len > HTTP_LINE_MAX) || (got == LINE_DONE && line.len > HTTP_LINE_MAX))
        return refuse(head_r, 414, "the request line is longer than 8 KiB");
    if (got == LINE_BAD)
        return refuse(head_r, 400, "a line does not end in CR LF");
    enum http_parse result = HTTP_PARSE_MORE;
    if (got == LINE_DONE) {
        if (!parse_request_line(line, data, head_r))
            return HTTP_PARSE_BAD;
        rest = cut(rest, line.len + 2, rest.len - line.len - 2);
        result = parse_fields(rest, data, head_r);
    }
    *scanned = result == HTTP_PARSE_MORE ? len : 0;
    return result;
}
