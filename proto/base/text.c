/*
 * text - see text.h. Any process. Pure.
 */
#include "proto/base/text.h"

#include <stdio.h>
#include <string.h>

/* What the first byte says: the length, its bits of the character, the least character that needs
 * this length. */
static size_t lead(unsigned char c, int32_t *bits_r, int32_t *least_r)
{
    if (c >= 0xc2 && c < 0xe0) {
        *bits_r = c & 0x1f;
        *least_r = 0x80;
        return 2;
    }
    if (c >= 0xe0 && c < 0xf0) {
        *bits_r = c & 0x0f;
        *least_r = 0x800;
        return 3;
    }
    if (c >= 0xf0 && c < 0xf5) {
        *bits_r = c & 0x07;
        *least_r = 0x10000;
        return 4;
    }
    *bits_r = c < 0x80 ? c : -1;
    *least_r = 0;
    return 1;
}

size_t text_next(const char *text, int32_t *code_r)
{
    int32_t code, least;
    size_t len = lead((unsigned char)*text, &code, &least);
    for (size_t i = 1; i < len; i++) {
        unsigned char c = (unsigned char)text[i]; /* the NUL at the end is no continuation */
        if ((c & 0xc0) != 0x80) {
            code = -1;
            break;
        }
        code = code << 6 | (c & 0x3f);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    if (code < least || surrogate || code > 0x10ffff)
        code = -1;
    *code_r = code;
    return code < 0 ? 1 : len;
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
