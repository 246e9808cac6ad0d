/*
 * json - see json.h. Runs in the http workers; fails only by panic when memory runs out.
 */
#include "workers/http/json.h"

#include <jansson.h>
#include <stdio.h>

/* Most values that a body may hold: one is needed, and each costs memory of its own. */
enum { VALUES_MAX = 100 };

/* ---- Looking at a text ---- */

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Whether one of eight bytes is a control character, a quote, a backslash or above 127. */
static bool word_is_special(uint64_t word)
{
    uint64_t quote = word ^ EACH('"'), backslash = word ^ EACH('\\');
    uint64_t control = word - EACH(0x20); /* borrows only matter when the answer is yes anyway */
    return ((word | (control & ~word) | ((quote - EACH(1)) & ~quote) |
             ((backslash - EACH(1)) & ~backslash)) &
            EACH(0x80)) != 0;
}

static bool byte_is_special(uint8_t c)
{
    return c < 0x20 || c == '"' || c == '\\' || c >= 0x80;
}

/* How many bytes at the front are plain ASCII. */
static size_t plain_prefix(struct bytes text)
{
    size_t i = 0;
    for (uint64_t word; i + sizeof word <= text.len; i += sizeof word) {
        memcpy(&word, text.data + i, sizeof word);
        if (word_is_special(word))
            break;
    }
    while (i < text.len && !byte_is_special(text.data[i]))
        i++;
    return i;
}

/* Length of the UTF-8 sequence at the front; 0 when it is none (overlong, a surrogate, cut). */
static size_t utf8_sequence(const uint8_t *s, size_t left)
{
    uint8_t first = s[0], low = 0x80, high = 0xbf;
    size_t len;
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        len = 2;
    else if (first >= 0xe0 && first <= 0xef)
        len = 3;
    else if (first >= 0xf0 && first <= 0xf4)
        len = 4;
    else
        return 0;
    if (left < len)
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

enum http_json_form http_json_form(struct bytes text)
{
    enum http_json_form form = HTTP_JSON_PLAIN;
    for (size_t i = plain_prefix(text); i < text.len;) {
        uint8_t c = text.data[i];
        if (c < 0x20 || c == '"' || c == '\\')
            form = HTTP_JSON_ESCAPE;
        size_t n = utf8_sequence(text.data + i, text.len - i);
        if (n == 0)
            return HTTP_JSON_BASE64;
        i += n;
        if (n > 1)
            continue; /* text that is not ASCII comes in runs */
        i += plain_prefix((struct bytes){text.data + i, text.len - i});
    }
    return form;
}

/* ---- Writing ---- */

static uint8_t *put_escape(uint8_t *out, uint8_t c)
{
    static const char digits[] = "0123456789abcdef";
    static const char letters[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    *out++ = '\\';
    if (c >= 0x20 || letters[c]) {
        *out++ = c >= 0x20 ? c : (uint8_t)letters[c];
        return out;
    }
    memcpy(out, "u00", 3);
    out[3] = (uint8_t)digits[c >> 4];
    out[4] = (uint8_t)digits[c & 15];
    return out + 5;
}

static void append_escaped(struct buffer *out, struct bytes text)
{
    enum { PIECE = 4096 }; /* room is made for the worst of each piece, not of the whole */
    for (size_t at = 0; at < text.len; at += PIECE) {
        size_t end = text.len - at < PIECE ? text.len : at + PIECE;
        buffer_reserve(out, 6 * (end - at));
        uint8_t *p = out->data + out->len;
        for (size_t i = at; i < end; i++) {
            uint8_t c = text.data[i];
            if (c < 0x20 || c == '"' || c == '\\')
                p = put_escape(p, c);
            else
                *p++ = c;
        }
        out->len = (size_t)(p - out->data);
    }
}

static void append_base64(struct buffer *out, struct bytes text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    buffer_reserve(out, (text.len + 2) / 3 * 4);
    uint8_t *p = out->data + out->len;
    for (size_t i = 0; i < text.len; i += 3) {
        size_t left = text.len - i;
        uint32_t bits = (uint32_t)text.data[i] << 16;
        bits |= left > 1 ? (uint32_t)text.data[i + 1] << 8 : 0;
        bits |= left > 2 ? (uint32_t)text.data[i + 2] : 0;
        *p++ = (uint8_t)digits[bits >> 18];
        *p++ = (uint8_t)digits[bits >> 12 & 63];
        *p++ = (uint8_t)(left > 1 ? digits[bits >> 6 & 63] : '=');
        *p++ = (uint8_t)(left > 2 ? digits[bits & 63] : '=');
    }
    out->len = (size_t)(p - out->data);
}

void http_json_append(struct buffer *out, struct bytes text, enum http_json_form form)
{
    if (form == HTTP_JSON_PLAIN)
        buffer_append(out, text.data, text.len);
    else if (form == HTTP_JSON_ESCAPE)
        append_escaped(out, text);
    else
        append_base64(out, text);
}

void http_json_member(struct buffer *out, const char *name, struct bytes text)
{
    enum http_json_form form = http_json_form(text);
    buffer_append(out, "\"", 1);
    buffer_append_text(out, name);
    buffer_append_text(out, form == HTTP_JSON_BASE64 ? "_base64\":\"" : "\":\"");
    http_json_append(out, text, form);
    buffer_append(out, "\"", 1);
}

/* ---- Reading ---- */

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Takes white space and then a word off the front. */
static bool take(struct bytes *rest, const char *word)
{
    size_t len = strlen(word), at = 0;
    while (at < rest->len && is_space(rest->data[at]))
        at++;
    if (rest->len - at < len || memcmp(rest->data + at, word, len) != 0)
        return false;
    *rest = (struct bytes){rest->data + at + len, rest->len - at - len};
    return true;
}

/* The shape nearly every body has: one member and nothing to unescape. */
static bool quick_content(struct bytes body, struct bytes *content_r)
{
    if (!take(&body, "{") || !take(&body, "\"content\"") || !take(&body, ":") || !take(&body, "\""))
        return false;
    const uint8_t *quote = body.len > 0 ? memchr(body.data, '"', body.len) : NULL;
    if (!quote)
        return false;
    struct bytes content = {body.data, (size_t)(quote - body.data)};
    if (http_json_form(content) != HTTP_JSON_PLAIN)
        return false;
    body = (struct bytes){quote + 1, body.len - content.len - 1};
    if (!take(&body, "}"))
        return false;
    while (body.len > 0 && is_space(body.data[body.len - 1]))
        body.len--;
    *content_r = content;
    return body.len == 0;
}

/* Whether there are more values than VALUES_MAX: a small document could otherwise become a hundred
 * times its size in memory. Only commas and brackets outside of strings are counted. */
static bool has_too_many_values(const uint8_t *body, size_t len)
{
    unsigned values = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = body[i];
        if (c == '"') {
            for (i++; i < len && body[i] != '"'; i++)
                i += body[i] == '\\';
        } else if ((c == ',' || c == '[' || c == '{') && ++values > VALUES_MAX) {
            return true;
        }
    }
    return false;
}

static bool refuse(char *error, size_t size, const char *what)
{
    snprintf(error, size,
             "%s; the body must be {\"content\":\"...\"}, or any bytes with "
             "Content-Type: application/octet-stream",
             what);
    return false;
}

/* Copies the string out over the body, which is at least as long. */
static bool string_content(const json_t *root, uint8_t *body, size_t len, struct bytes *content_r,
                           char *error, size_t size)
{
    const json_t *content = json_object_get(root, "content");
    if (!json_is_object(root))
        return refuse(error, size, "the body is no JSON object");
    if (!content)
        return refuse(error, size, "\"content\" is missing");
    if (!json_is_string(content))
        return refuse(error, size, "\"content\" is no string");
    size_t content_len = json_string_length(content);
    if (content_len > len)
        return refuse(error, size, "\"content\" grew when it was unescaped");
    memcpy(body, json_string_value(content), content_len);
    *content_r = (struct bytes){body, content_len};
    return true;
}

static bool parsed_content(uint8_t *body, size_t len, struct bytes *content_r, char *error,
                           size_t size)
{
    json_error_t problem;
    if (has_too_many_values(body, len))
        return refuse(error, size, "the body has more than 100 JSON values");
    json_t *root = json_loadb((const char *)body, len, JSON_ALLOW_NUL | JSON_DECODE_ANY, &problem);
    if (!root) {
        char what[JSON_ERROR_TEXT_LENGTH + 64];
        for (char *c = problem.text; *c; c++) /* it quotes the body, perhaps half a character */
            *c = *c & 0x80 ? '?' : *c;
        snprintf(what, sizeof what, "the body is no JSON (%s)", problem.text);
        return refuse(error, size, what);
    }
    bool good = string_content(root, body, len, content_r, error, size);
    json_decref(root);
    return good;
}

bool http_json_content(uint8_t *body, size_t len, struct bytes *content_r, char *error, size_t size)
{
    if (!quick_content((struct bytes){body, len}, content_r) &&
        !parsed_content(body, len, content_r, error, size))
        return false;
    if (content_r->len == 0)
        return refuse(error, size, "\"content\" is empty");
    return true;
}
