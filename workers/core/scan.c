/*
 * scan - see scan.h. Runs in workers; touches nothing but its arguments.
 */
#include "workers/core/scan.h"

enum { DEPTH_MAX = 10000 };

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
    uint8_t c = scan_peek(scan);
    if (c == 'u' && hex4(scan->at + 1, scan->end) >= 0)
        scan->at += 5;
    else if (c != 0 && c != 'u' && strchr("\"\\/bfnrt", c))
        scan->at++;
    else
        return scan_bad(scan, "a bad escape in a string");
    return true;
}

bool scan_skip_string(struct scan *scan, struct bytes *text_r)
{
    const uint8_t *start = ++scan->at;
    for (;;) {
        size_t left = (size_t)(scan->end - scan->at);
        size_t plain = core_json_plain_prefix((struct bytes){scan->at, left});
        scan->at += plain;
        if (scan->at == scan->end)
            return scan_bad(scan, "a string does not end");
        uint8_t c = *scan->at;
        if (c == '"')
            break;
        if (c < 0x20)
            return scan_bad(scan, "a control character in a string");
        if (c == '\\') {
            if (!skip_escape(scan))
                return false;
            continue;
        }
        size_t len = core_utf8_sequence(scan->at, left - plain);
        if (len == 0)
            return scan_bad(scan, "a string is no UTF-8");
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

bool scan_unescape(struct bytes text, uint8_t *out, size_t *len_r)
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
    while (scan_peek(scan) >= '0' && scan_peek(scan) <= '9')
        scan->at++;
}

static bool skip_some_digits(struct scan *scan)
{
    const uint8_t *start = scan->at;
    skip_digits(scan);
    return scan->at > start || scan_bad(scan, "a number is not finished");
}

static bool skip_number(struct scan *scan)
{
    if (scan_peek(scan) == '-')
        scan->at++;
    if (scan_peek(scan) == '0')
        scan->at++;
    else if (!skip_some_digits(scan))
        return false;
    if (scan_peek(scan) == '.') {
        scan->at++;
        if (!skip_some_digits(scan))
            return false;
    }
    if ((scan_peek(scan) | 0x20) == 'e') {
        scan->at++;
        if (scan_peek(scan) == '+' || scan_peek(scan) == '-')
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
    return scan_bad(scan, scan->at == scan->end ? "it is cut short" : "a value is expected");
}

static bool skip_scalar(struct scan *scan)
{
    struct bytes unused;
    uint8_t c = scan_peek(scan);
    if (c == '"')
        return scan_skip_string(scan, &unused);
    if (c == '-' || (c >= '0' && c <= '9'))
        return skip_number(scan);
    return skip_word(scan);
}

bool scan_take_name(struct scan *scan, struct bytes *name_r)
{
    scan_skip_space(scan);
    if (scan_peek(scan) != '"')
        return scan_bad(scan, "a member's name is expected");
    return scan_skip_string(scan, name_r) &&
           (scan_take(scan, ':') || scan_bad(scan, "a colon is expected"));
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
        return scan_bad(scan, "it is nested deeper than 10000 levels");
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
        if (scan_take(scan, ','))
            return !in_object(nest) || scan_take_name(scan, &unused);
        if (!scan_take(scan, in_object(nest) ? '}' : ']'))
            return scan_bad(scan, "a comma or a closing bracket is expected");
        nest->depth--;
    }
    return true;
}

bool scan_skip_value(struct scan *scan)
{
    struct nest nest = {.depth = 0};
    struct bytes unused;
    do {
        scan_skip_space(scan);
        uint8_t c = scan_peek(scan);
        bool object = c == '{', opens = object || c == '[';
        if (opens ? !enter(scan, &nest, object) : !skip_scalar(scan))
            return false;
        if (opens && scan_take(scan, object ? '}' : ']'))
            nest.depth--;
        else if (object && !scan_take_name(scan, &unused))
            return false;
        else if (opens)
            continue; /* its first value */
        if (!skip_ends(scan, &nest))
            return false;
    } while (nest.depth > 0);
    return true;
}
