/*
 * fields - see fields.h. Runs in the http workers; touches nothing but its arguments.
 *
 * A field that changes what a request means and that is not understood is not ignored: the head's
 * unmet says with what the request is refused, once it is complete.
 */
#include "workers/http/fields.h"

#include "workers/http/text.h"

bool http_head_bad(struct http_head *head, int error, const char *reason)
{
    head->error = error;
    head->reason = reason;
    return false;
}

static struct http_span span(const struct http_fields *fields, struct bytes value)
{
    return (struct http_span){(uint32_t)(value.data - fields->start), (uint32_t)value.len};
}

/* ---- The message and its connection ---- */

static bool on_host(struct http_fields *fields, struct bytes value)
{
    static const bool foreign[256] = {
        [' '] = 1, ['\t'] = 1, ['/'] = 1, ['?'] = 1, ['#'] = 1, ['@'] = 1, ['\\'] = 1};
    for (size_t i = 0; i < value.len; i++)
        if (foreign[value.data[i]])
            return http_head_bad(fields->head, 400, "the Host field is no host");
    fields->hosts++;
    fields->head->host = span(fields, value);
    return true;
}

static bool on_connection(struct http_fields *fields, struct bytes value)
{
    struct bytes word;
    while (http_text_next(&value, ',', &word)) {
        fields->close = fields->close || http_text_is(word, "close");
        fields->keep_alive = fields->keep_alive || http_text_is(word, "keep-alive");
    }
    return true;
}

static bool on_content_length(struct http_fields *fields, struct bytes value)
{
    struct http_head *head = fields->head;
    uint64_t length = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (!http_is_digit(value.data[i]))
            return http_head_bad(head, 400, "Content-Length must be a number");
        if (length > (UINT64_MAX - 9) / 10)
            length = UINT64_MAX;
        else
            length = length * 10 + (uint64_t)(value.data[i] - '0');
    }
    if (value.len == 0)
        return http_head_bad(head, 400, "Content-Length must be a number");
    if (head->has_length && head->length != length)
        return http_head_bad(head, 400, "two Content-Length fields disagree");
    head->has_length = true;
    head->length = length;
    return true;
}

static bool on_transfer_encoding(struct http_fields *fields, struct bytes value)
{
    struct http_head *head = fields->head;
    if (fields->transfer_encoding)
        return http_head_bad(head, 400, "more than one Transfer-Encoding field");
    fields->transfer_encoding = true;
    if (!http_text_is(value, "chunked"))
        return http_head_bad(head, 501, "the only transfer coding understood is chunked");
    head->chunked = true;
    return true;
}

static bool on_expect(struct http_fields *fields, struct bytes value)
{
    if (!http_text_is(value, "100-continue"))
        return http_head_bad(fields->head, 417, "the only expectation understood is 100-continue");
    fields->head->expect_continue = true;
    return true;
}

/* ---- What is refused because it would change the meaning ---- */

static bool is_write(const struct http_fields *fields)
{
    enum http_method method = fields->head->method;
    return method == HTTP_PUT || method == HTTP_POST || method == HTTP_DELETE;
}

/* The first that is found is told. */
static bool unmet(struct http_fields *fields, int status, const char *reason)
{
    struct http_head *head = fields->head;
    if (head->unmet == 0) {
        head->unmet = status;
        head->reason = reason;
    }
    return true;
}

static bool on_content_encoding(struct http_fields *fields, struct bytes value)
{
    struct bytes coding;
    while (is_write(fields) && http_text_next(&value, ',', &coding))
        if (coding.len > 0 && !http_text_is(coding, "identity"))
            unmet(fields, 415,
                  "no Content-Encoding is understood but identity; send the value as it is, or "
                  "store the encoded bytes as a value without that field");
    return true;
}

static bool on_content_range(struct http_fields *fields, struct bytes value)
{
    (void)value;
    if (is_write(fields))
        unmet(fields, 400,
              "a value cannot be written in part (Content-Range); send the whole of it");
    return true;
}

static bool on_if_match(struct http_fields *fields, struct bytes value)
{
    struct bytes tag;
    while (http_text_next(&value, ',', &tag))
        if (bytes_equal(tag, bytes_of("*")))
            return !is_write(fields) ||
                   unmet(fields, 501, "If-Match: * is not understood; nothing was changed");
    return unmet(fields, 412, "values have no ETag here, so none can match; nothing was changed");
}

static bool on_if_none_match(struct http_fields *fields, struct bytes value)
{
    (void)value;
    return !is_write(fields) ||
           unmet(fields, 501,
                 "If-None-Match is not understood when something is to be changed; nothing was");
}

static bool on_if_unmodified_since(struct http_fields *fields, struct bytes value)
{
    (void)value;
    return !is_write(fields) ||
           unmet(fields, 501, "If-Unmodified-Since is not understood; nothing was changed");
}

/* If-Range means nothing without Range, and a date without GET (RFC 9110, 13.1.3 and 13.1.5). */
static bool on_other_condition(struct http_fields *fields, struct bytes name)
{
    return !is_write(fields) || http_text_is(name, "if-range") ||
           http_text_is(name, "if-modified-since") ||
           unmet(fields, 501,
                 "a condition of the request (a field If or If-...) is not understood; nothing was "
                 "changed");
}

static bool on_method_override(struct http_fields *fields, struct bytes value)
{
    (void)value;
    return unmet(fields, 501,
                 "the method of a request cannot be overridden by a field; send it as the method");
}

/* ---- Forms of values ---- */

/* JSON is what no type, JSON's types, and the one that curl -d sends unasked mean. */
static bool on_content_type(struct http_fields *fields, struct bytes value)
{
    struct bytes type = {0};
    http_text_next(&value, ';', &type);
    bool suffix = type.len > 5 && http_text_is(http_text_cut(type, type.len - 5, 5), "+json");
    fields->head->raw_body = type.len > 0 && !suffix && !http_text_is(type, "application/json") &&
                             !http_text_is(type, "text/json") &&
                             !http_text_is(type, "application/x-www-form-urlencoded");
    return true;
}

/* "0.5" and so on as 500; what is none of these as 1000. */
static uint16_t parse_weight(struct bytes text)
{
    unsigned weight = 0, digits = 0;
    if (text.len == 0 || text.data[0] > '1' || text.data[0] < '0')
        return 1000;
    if (text.data[0] == '1' || (text.len > 1 && text.data[1] != '.'))
        return 1000;
    for (size_t i = 2; i < text.len && i < 5; i++, digits++) {
        if (!http_is_digit(text.data[i]))
            return 1000;
        weight = weight * 10 + (unsigned)(text.data[i] - '0');
    }
    for (; digits < 3; digits++)
        weight *= 10;
    return (uint16_t)weight;
}

static uint16_t find_weight(struct bytes parameters)
{
    struct bytes one;
    while (http_text_next(&parameters, ';', &one))
        if (one.len >= 2 && (one.data[0] | 0x20) == 'q' && one.data[1] == '=')
            return parse_weight(http_text_cut(one, 2, one.len - 2));
    return 1000;
}

/* How exactly a range of Accept means a type: 0 not at all, 1, 2 or 3. */
static uint8_t exactness(struct bytes range, const char *type)
{
    size_t main = (size_t)(strchr(type, '/') - type) + 1;
    if (http_text_is(range, type))
        return 3;
    if (range.len == main + 1 && range.data[main] == '*' &&
        strncasecmp((const char *)range.data, type, main) == 0)
        return 2;
    return http_text_is(range, "*/*");
}

static void take_range(struct http_fields *fields, struct bytes range, uint16_t weight)
{
    static const char *const types[HTTP_FORM_COUNT] = {
        [HTTP_FORM_JSON] = "application/json",
        [HTTP_FORM_TEXT] = "text/plain",
        [HTTP_FORM_RAW] = "application/octet-stream",
    };
    for (enum http_form form = 0; form < HTTP_FORM_COUNT; form++) {
        struct http_wish *wish = &fields->wishes[form];
        uint8_t exact = exactness(range, types[form]);
        if (exact > wish->exactness)
            *wish = (struct http_wish){exact, fields->ranges, weight};
    }
}

static bool on_accept(struct http_fields *fields, struct bytes value)
{
    struct bytes range, type;
    if (bytes_equal(value, bytes_of("*/*")))
        return true;
    fields->accept = true;
    while (http_text_next(&value, ',', &range)) {
        if (http_text_next(&range, ';', &type))
            take_range(fields, type, find_weight(range));
        fields->ranges = (uint8_t)(fields->ranges + (fields->ranges < UINT8_MAX));
    }
    return true;
}

/* Whether a is asked for rather than b: by weight, then what is named rather than meant by a
 * wildcard, then what is named first. */
static bool before(const struct http_wish *a, const struct http_wish *b)
{
    if (a->weight == 0 || a->weight != b->weight)
        return a->weight > b->weight;
    if ((a->exactness == 3) != (b->exactness == 3))
        return a->exactness == 3;
    return a->exactness == 3 && a->place < b->place;
}

enum http_form http_fields_accept(const struct http_fields *fields)
{
    enum http_form best = HTTP_FORM_JSON;
    for (enum http_form form = 1; fields->accept && form < HTTP_FORM_COUNT; form++)
        if (before(&fields->wishes[form], &fields->wishes[best]))
            best = form;
    return best;
}

static bool on_prefer(struct http_fields *fields, struct bytes value)
{
    struct http_head *head = fields->head;
    struct bytes preference, word;
    while (http_text_next(&value, ',', &preference)) {
        if (!http_text_next(&preference, ';', &word) || head->prefer != HTTP_PREFER_NOTHING)
            continue;
        if (http_text_is(word, "return=representation") ||
            http_text_is(word, "return=\"representation\""))
            head->prefer = HTTP_PREFER_REPRESENTATION;
        else if (http_text_is(word, "return=minimal") || http_text_is(word, "return=\"minimal\""))
            head->prefer = HTTP_PREFER_MINIMAL;
    }
    return true;
}

/* ---- Where it comes from ---- */

static bool on_origin(struct http_fields *fields, struct bytes value)
{
    if (fields->head->origin.len > 0)
        return http_head_bad(fields->head, 400, "more than one Origin field");
    fields->head->origin = span(fields, value);
    return true;
}

static bool on_fetch_site(struct http_fields *fields, struct bytes value)
{
    if (!http_text_is(value, "none") && !http_text_is(value, "same-origin"))
        fields->head->cross_site = true;
    return true;
}

static bool on_request_method(struct http_fields *fields, struct bytes value)
{
    fields->head->preflight = value.len > 0;
    return true;
}

static bool on_request_headers(struct http_fields *fields, struct bytes value)
{
    enum { ECHO_MAX = 512 };
    if (value.len <= ECHO_MAX)
        fields->head->request_headers = span(fields, value);
    return true;
}

/* ---- The table ---- */

static const struct {
    const char *name;
    size_t len;
    bool (*on)(struct http_fields *fields, struct bytes value);
} table[] = {
#define FIELD(name, on)                                                                            \
    {                                                                                              \
        name, sizeof(name) - 1, (on)                                                               \
    }
    FIELD("host", on_host),
    FIELD("accept", on_accept),
    FIELD("expect", on_expect),
    FIELD("origin", on_origin),
    FIELD("prefer", on_prefer),
    FIELD("if-match", on_if_match),
    FIELD("connection", on_connection),
    FIELD("content-type", on_content_type),
    FIELD("content-range", on_content_range),
    FIELD("if-none-match", on_if_none_match),
    FIELD("x-http-method", on_method_override),
    FIELD("content-length", on_content_length),
    FIELD("sec-fetch-site", on_fetch_site),
    FIELD("content-encoding", on_content_encoding),
    FIELD("transfer-encoding", on_transfer_encoding),
    FIELD("x-method-override", on_method_override),
    FIELD("if-unmodified-since", on_if_unmodified_since),
    FIELD("x-http-method-override", on_method_override),
    FIELD("access-control-request-method", on_request_method),
    FIELD("access-control-request-headers", on_request_headers),
#undef FIELD
};

enum { NAME_MAX_LEN = 30 }; /* the longest name in it */
_Static_assert(sizeof "access-control-request-headers" - 1 == NAME_MAX_LEN, "the longest name");

/* If, If-ANYTHING: conditions by their name, also those of a future standard. */
static bool is_condition(struct bytes name)
{
    return (name.data[0] | 0x20) == 'i' && name.len >= 2 && (name.data[1] | 0x20) == 'f' &&
           (name.len == 2 || name.data[2] == '-');
}

/* Whether a name, which has the bytes of a token only, is that word of small letters and -. */
static bool is_name(struct bytes name, const char *word)
{
    size_t i = 0;
    for (uint64_t here, there; i + sizeof here <= name.len; i += sizeof here) {
        memcpy(&here, name.data + i, sizeof here);
        memcpy(&there, word + i, sizeof there);
        if ((here | 0x2020202020202020) != there) /* as below, of eight */
            return false;
    }
    for (; i < name.len; i++)
        if ((name.data[i] | 0x20) != word[i])
            return false;
    return true;
}

/* The first row of each length, and behind the last; filled when the first field comes. */
static uint8_t rows_from[NAME_MAX_LEN + 2];

static void find_rows(void)
{
    size_t row = 0;
    for (size_t len = 0; len < sizeof rows_from; len++) {
        while (row < sizeof table / sizeof *table && table[row].len < len)
            row++;
        rows_from[len] = (uint8_t)row;
    }
}

bool http_field_take(struct http_fields *fields, struct bytes name, struct bytes value)
{
    size_t len = name.len <= NAME_MAX_LEN ? name.len : 0;
    if (rows_from[NAME_MAX_LEN + 1] == 0)
        find_rows();
    for (size_t i = rows_from[len]; i < rows_from[len + 1]; i++)
        if (is_name(name, table[i].name))
            return table[i].on(fields, value);
    return !is_condition(name) || on_other_condition(fields, name);
}
