/*
 * json_read - takes "content" out of a JSON body (see json.h). Runs in the http workers; touches
 * nothing but its arguments.
 *
 * One pass checks the whole body against RFC 8259 and remembers where the content is. What nobody
 * asked for is skipped without being understood: a number may have any size, a name may come twice,
 * and no memory is used however many values there are. Only the depth is bounded, by DEPTH_MAX.
 */
#include <stdio.h>

#include "workers/http/json.h"

enum { DEPTH_MAX = 10000 };

struct scan {
    const uint8_t *at, *end;
    const char *why; /* it is no JSON */
};

static bool bad(struct scan *scan, const char *why)
{
    scan->why = why;
    return false;
}

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r'))
        scan->at++;
}

/* The next byte; 0 at the end, which no JSON text has outside of strings. */
static uint8_t peek(const struct scan *scan)
{
    return scan->at < scan->end ? *scan->at : 0;
}

/* Takes white space and then a byte. */
static bool take(struct scan *scan, uint8_t c)
{
    skip_space(scan);
    if (peek(scan) != c || c == 0)
        return false;
    scan->at++;
    return true;
}

/* ---- Strings ---- */

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The number that four hexadecimal digits mean; -1 when they are none. */
static int32_t hex4(const uint8_t *at, const uint8_t *end)
{
    int32_t number = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex(at[i]);
        if (digit < 0)
            return -1;
        number = number << 4 | digit;
    }
    return number;
}

static bool skip_escape(struct scan *scan)
{
    scan->at++;
    uint8_t c = peek(scan);
    if (c == 'u' && hex4(scan->at + 1, scan->end) >= 0)
        scan->at += 5;
    else if (c != 0 && c != 'u' && strchr("\"\\/bfnrt", c))
        scan->at++;
    else
        return bad(scan, "a bad escape in a string");
    return true;
}

/* A string, from its opening quote on; *text_r is what is between its quotes, as it stands. */
static bool skip_string(struct scan *scan, struct bytes *text_r)
{
    const uint8_t *start = ++scan->at;
    for (;;) {
        size_t left = (size_t)(scan->end - scan->at);
        size_t plain = http_json_plain_prefix((struct bytes){scan->at, left});
        scan->at += plain;
        if (scan->at == scan->end)
            return bad(scan, "a string does not end");
        uint8_t c = *scan->at;
        if (c == '"')
            break;
        if (c < 0x20)
            return bad(scan, "a control character in a string");
        if (c == '\\') {
            if (!skip_escape(scan))
                return false;
            continue;
        }
        size_t len = http_utf8_sequence(scan->at, left - plain);
        if (len == 0)
            return bad(scan, "a string is no UTF-8");
        scan->at += len;
    }
    *text_r = (struct bytes){start, (size_t)(scan->at - start)};
    scan->at++;
    return true;
}

static uint8_t *put_utf8(uint8_t *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (uint8_t)code;
    } else if (code < 0x800) {
        *out++ = (uint8_t)(0xc0 | code >> 6);
        *out++ = (uint8_t)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *out++ = (uint8_t)(0xe0 | code >> 12);
        *out++ = (uint8_t)(0x80 | (code >> 6 & 63));
        *out++ = (uint8_t)(0x80 | (code & 63));
    } else {
        *out++ = (uint8_t)(0xf0 | code >> 18);
        *out++ = (uint8_t)(0x80 | (code >> 12 & 63));
        *out++ = (uint8_t)(0x80 | (code >> 6 & 63));
        *out++ = (uint8_t)(0x80 | (code & 63));
    }
    return out;
}

/* The character of \uXXXX, or of a pair of them; *at is moved behind. False for half a pair. */
static bool take_unicode(const uint8_t **at, const uint8_t *end, uint32_t *code_r)
{
    uint32_t code = (uint32_t)hex4(*at, end);
    *at += 4;
    *code_r = code;
    if (code < 0xd800 || code > 0xdfff)
        return true;
    if (code > 0xdbff || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
        return false;
    int32_t low = hex4(*at + 2, end);
    if (low < 0xdc00 || low > 0xdfff)
        return false;
    *at += 6;
    *code_r = 0x10000 + ((code - 0xd800) << 10 | ((uint32_t)low - 0xdc00));
    return true;
}

/* Writes what a string that skip_string() found means to out, which may be where it stands: it
 * becomes no longer. False when it has half of a surrogate pair. */
static bool unescape(struct bytes text, uint8_t *out, size_t *len_r)
{
    const uint8_t *at = text.data, *end = text.data + text.len;
    uint8_t *start = out;
    while (at < end) {
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
        uint8_t c = at[1];
        const char *letter = strchr(from, c);
        uint32_t code = letter ? (uint32_t)to[letter - from] : c;
        at += 2;
        if (c == 'u' && !take_unicode(&at, end, &code))
            return false;
        out = put_utf8(out, code);
    }
    *len_r = (size_t)(out - start);
    return true;
}

/* ---- Values ---- */

static void skip_digits(struct scan *scan)
{
    while (peek(scan) >= '0' && peek(scan) <= '9')
        scan->at++;
}

static bool skip_some_digits(struct scan *scan)
{
    const uint8_t *start = scan->at;
    skip_digits(scan);
    return scan->at > start || bad(scan, "a number is not finished");
}

static bool skip_number(struct scan *scan)
{
    if (peek(scan) == '-')
        scan->at++;
    if (peek(scan) == '0')
        scan->at++;
    else if (!skip_some_digits(scan))
        return false;
    if (peek(scan) == '.') {
        scan->at++;
        if (!skip_some_digits(scan))
            return false;
    }
    if ((peek(scan) | 0x20) == 'e') {
        scan->at++;
        if (peek(scan) == '+' || peek(scan) == '-')
            scan->at++;
        return skip_some_digits(scan);
    }
    return true;
}

static bool skip_word(struct scan *scan)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t len = strlen(words[i]);
        if ((size_t)(scan->end - scan->at) >= len && memcmp(scan->at, words[i], len) == 0) {
            scan->at += len;
            return true;
        }
    }
    return bad(scan, scan->at == scan->end ? "it is cut short" : "a value is expected");
}

static bool skip_scalar(struct scan *scan)
{
    struct bytes unused;
    uint8_t c = peek(scan);
    if (c == '"')
        return skip_string(scan, &unused);
    if (c == '-' || (c >= '0' && c <= '9'))
        return skip_number(scan);
    return skip_word(scan);
}

/* A member's name and its colon. */
static bool take_name(struct scan *scan, struct bytes *name_r)
{
    skip_space(scan);
    if (peek(scan) != '"')
        return bad(scan, "a member's name is expected");
    return skip_string(scan, name_r) && (take(scan, ':') || bad(scan, "a colon is expected"));
}

/* The arrays and objects around the place of a scan, a bit for each: 1 for an object. */
struct nest {
    unsigned depth;
    uint8_t objects[(DEPTH_MAX + 7) / 8];
};

static bool in_object(const struct nest *nest)
{
    unsigned top = nest->depth - 1;
    return nest->objects[top / 8] >> top % 8 & 1;
}

static bool enter(struct scan *scan, struct nest *nest, bool object)
{
    if (nest->depth == DEPTH_MAX)
        return bad(scan, "it is nested deeper than 10000 levels");
    uint8_t bit = (uint8_t)(1u << nest->depth % 8), *byte = &nest->objects[nest->depth / 8];
    *byte = (uint8_t)(object ? *byte | bit : *byte & ~bit);
    nest->depth++;
    scan->at++;
    return true;
}

/* What comes behind a value: ends of what it is in, then a comma and, in an object, a name. True
 * with depth 0: that was all. */
static bool skip_ends(struct scan *scan, struct nest *nest)
{
    struct bytes unused;
    while (nest->depth > 0) {
        if (take(scan, ','))
            return !in_object(nest) || take_name(scan, &unused);
        if (!take(scan, in_object(nest) ? '}' : ']'))
            return bad(scan, "a comma or a closing bracket is expected");
        nest->depth--;
    }
    return true;
}

/* Any value. */
static bool skip_value(struct scan *scan)
{
    struct nest nest = {.depth = 0};
    struct bytes unused;
    do {
        skip_space(scan);
        uint8_t c = peek(scan);
        bool object = c == '{', opens = object || c == '[';
        if (opens ? !enter(scan, &nest, object) : !skip_scalar(scan))
            return false;
        if (opens && take(scan, object ? '}' : ']'))
            nest.depth--;
        else if (object && !take_name(scan, &unused))
            return false;
        else if (opens)
            continue; /* its first value */
        if (!skip_ends(scan, &nest))
            return false;
    } while (nest.depth > 0);
    return true;
}

/* ---- The body ---- */

/* What is known of the last member of that name. */
struct found {
    bool there, string;
    struct bytes text; /* as it stands */
};

static bool is_content(struct bytes name)
{
    static const char word[] = "content";
    uint8_t text[6 * (sizeof word - 1)];
    size_t len;
    return name.len >= sizeof word - 1 && name.len <= sizeof text && unescape(name, text, &len) &&
           len == sizeof word - 1 && memcmp(text, word, len) == 0;
}

static bool take_member(struct scan *scan, struct found *found)
{
    struct bytes name;
    if (!take_name(scan, &name))
        return false;
    if (!is_content(name))
        return skip_value(scan);
    skip_space(scan);
    *found = (struct found){.there = true, .string = peek(scan) == '"'};
    return found->string ? skip_string(scan, &found->text) : skip_value(scan);
}

static bool take_object(struct scan *scan, struct found *found)
{
    scan->at++;
    if (take(scan, '}'))
        return true;
    do
        if (!take_member(scan, found))
            return false;
    while (take(scan, ','));
    return take(scan, '}') || bad(scan, "a comma or a closing bracket is expected");
}

/* The shape nearly every body has: one member and nothing to unescape. */
static bool quick_content(struct scan scan, struct bytes *content_r)
{
    static const char name[] = "\"content\"";
    if (!take(&scan, '{'))
        return false;
    skip_space(&scan);
    if ((size_t)(scan.end - scan.at) < sizeof name || memcmp(scan.at, name, sizeof name - 1) != 0)
        return false;
    scan.at += sizeof name - 1;
    if (!take(&scan, ':') || !take(&scan, '"'))
        return false;
    struct bytes content = {scan.at, (size_t)(scan.end - scan.at)};
    content.len = http_json_plain_prefix(content);
    scan.at += content.len;
    if (!take(&scan, '"') || content.data + content.len + 1 != scan.at || !take(&scan, '}'))
        return false;
    skip_space(&scan);
    *content_r = content;
    return scan.at == scan.end;
}

static bool refuse(char *error, size_t size, const char *what)
{
    snprintf(error, size,
             "%s; the body must be {\"content\":\"...\"}, or any bytes with "
             "Content-Type: application/octet-stream",
             what);
    return false;
}

static bool refuse_text(const struct scan *scan, const uint8_t *body, char *error, size_t size)
{
    char what[128];
    snprintf(what, sizeof what, "the body is no JSON (%s, at byte %zu)", scan->why,
             (size_t)(scan->at - body));
    return refuse(error, size, what);
}

/* Of UTF-8 or UTF-16: some editors write one, and it cannot be seen. */
static bool has_mark(const uint8_t *body, size_t len)
{
    return (len >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0) ||
           (len >= 2 && (memcmp(body, "\xff\xfe", 2) == 0 || memcmp(body, "\xfe\xff", 2) == 0));
}

/* Checks the whole body, and finds the content in it. */
static bool scan_body(uint8_t *body, size_t len, struct found *found, char *error, size_t size)
{
    struct scan scan = {.at = body, .end = body + len};
    if (has_mark(body, len))
        return refuse(
            error, size,
            "the body is no JSON: it begins with a byte order mark; send UTF-8 without it");
    skip_space(&scan);
    bool object = peek(&scan) == '{';
    bool good = object ? take_object(&scan, found) : skip_value(&scan);
    skip_space(&scan);
    if (good && scan.at != scan.end)
        good = bad(&scan, "more follows behind its end");
    if (!good)
        return refuse_text(&scan, body, error, size);
    if (!object)
        return refuse(error, size, "the body is no JSON object");
    if (!found->there)
        return refuse(error, size, "\"content\" is missing");
    return found->string || refuse(error, size, "\"content\" is no string");
}

bool http_json_content(uint8_t *body, size_t len, struct bytes *content_r, char *error, size_t size)
{
    struct found found = {0};
    if (!quick_content((struct scan){.at = body, .end = body + len}, content_r)) {
        if (!scan_body(body, len, &found, error, size))
            return false;
        uint8_t *out = body + (found.text.data - body);
        *content_r = (struct bytes){.data = out};
        if (!unescape(found.text, out, &content_r->len))
            return refuse(error, size,
                          "\"content\" has half of a surrogate pair (\\ud800 to \\udfff alone), "
                          "which is no character");
    }
    return content_r->len > 0 || refuse(error, size, "\"content\" is empty");
}
