/*
 * text - see text.h. Any process. Pure.
 */
#include "proto/base/text.h"

#include <stdio.h>
#include <string.h>

/* ---- Numbers ---- */

bool text_digits(const char *text, uint64_t *number_r, const char **rest_r)
{
    uint64_t number = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*p - '0'), &number))
            return false;
    *number_r = number;
    *rest_r = p;
    return p > text;
}

bool text_number(const char *text, uint64_t min, uint64_t max, uint64_t *number_r)
{
    const char *rest;
    return text_digits(text, number_r, &rest) && !*rest && *number_r >= min && *number_r <= max;
}

bool text_int64(struct bytes text, int64_t *number_r)
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

bool text_flag(struct bytes text, bool *flag_r)
{
    static const char *const words[][2] = {{"0", "1"},        {"f", "t"},        {"F", "T"},
                                           {"false", "true"}, {"False", "True"}, {"FALSE", "TRUE"}};
    for (size_t i = 0; i < 2 * sizeof words / sizeof words[0]; i++) {
        if (!bytes_equal(text, bytes_of(words[i / 2][i % 2])))
            continue;
        *flag_r = i % 2;
        return true;
    }
    return false;
}

bool text_percent_decode(uint8_t *data, size_t *len, bool plus)
{
    size_t out = 0;
    for (size_t in = 0; in < *len; in++) {
        uint8_t c = data[in];
        if (c == '%') {
            int high = in + 2 < *len ? text_hex(data[in + 1]) : -1;
            int low = high >= 0 ? text_hex(data[in + 2]) : -1;
            if (low < 0)
                return false;
            c = (uint8_t)(high << 4 | low);
            in += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        data[out++] = c;
    }
    *len = out;
    return true;
}

/* ---- Characters ---- */

size_t text_utf8(const uint8_t *p, size_t room)
{
    uint8_t first = p[0];
    if (first < 0x80)
        return 1;
    size_t len = first < 0xc2 || first > 0xf4 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (len == 0 || room < len)
        return 0;
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

size_t text_next(const char *text, int32_t *code_r)
{
    static const uint8_t bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07}; /* of the first byte, by length */
    const uint8_t *p = (const uint8_t *)text;
    size_t len = text_utf8(p, strnlen(text, 4));
    int32_t code = len > 0 ? p[0] & bits[len] : -1;
    for (size_t i = 1; i < len; i++)
        code = code << 6 | (p[i] & 0x3f);
    *code_r = code;
    return len > 0 ? len : 1;
}

bool text_is_control(int32_t code)
{
    return (code >= 0 && code < 0x20) || (code >= 0x7f && code < 0xa0) || code == 0x200e ||
           code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

static void flatten(char *text, const char *keep)
{
    int32_t code;
    size_t len;
    for (; *text; text += len) {
        len = text_next(text, &code);
        if (code < 0)
            *text = '?';
        else if (text_is_control(code) && !strchr(keep, *text))
            memset(text, ' ', len);
    }
}

void text_flatten(char *text)
{
    flatten(text, "");
}

void text_print(FILE *file, const void *text, size_t len)
{
    char piece[512];
    for (size_t n; len > 0; len -= n, text = (const char *)text + n) {
        const char *newline = memchr(text, '\n', len);
        n = newline ? (size_t)(newline - (const char *)text) + 1 : len;
        if (n >= sizeof piece) /* a character that is cut here is shown as question marks */
            n = sizeof piece - 1;
        memcpy(piece, text, n);
        piece[n] = '\0';
        flatten(piece, "\n");
        fputs(piece, file);
    }
}

size_t text_json(const char *text, char out[TEXT_JSON_MAX])
{
    int32_t code;
    size_t len = text_next(text, &code);
    if (code == '"' || code == '\\') {
        snprintf(out, TEXT_JSON_MAX, "\\%c", *text);
    } else if (code < 0 || text_is_control(code)) {
        unsigned number = code < 0 ? (unsigned char)*text : (unsigned)code & 0xffff;
        snprintf(out, TEXT_JSON_MAX, "\\u%04x", number);
    } else {
        memcpy(out, text, len);
        out[len] = '\0';
    }
    return len;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

/* How many letters to insert, drop or change to get from a to b; large when b is long. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[32];
    size_t width = strlen(b);
    if (width >= 32)
        return 32;
    for (unsigned j = 0; j <= width; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= width; j++) {
            unsigned above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[width];
}

bool text_is_near(const char *given, const char *word)
{
    return distance(given, word) <= (strlen(word) > 4 ? 2 : 1);
}
