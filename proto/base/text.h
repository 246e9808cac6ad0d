/*
 * text - text from outside: numbers and characters in it, and its way to a terminal, a log or JSON.
 *
 * A terminal obeys more than what is below U+0020: U+0080 to U+009F are controls too (as UTF-8, or
 * as a bare byte), and some characters turn the direction of what follows. All of these count as
 * controls here.
 */
#ifndef STRATO_PROTO_BASE_TEXT_H
#define STRATO_PROTO_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/bytes.h"

enum { TEXT_JSON_MAX = 7 }; /* bytes of one character in JSON, with a NUL */

/* ---- Numbers ---- */

/* Reads decimal digits; what follows them is left in *rest_r. False when there are none or the
 * number leaves uint64. */
bool text_digits(const char *text, uint64_t *number_r, const char **rest_r);
/* Whether all of text is one decimal number from min to max, without a sign. */
bool text_number(const char *text, uint64_t min, uint64_t max, uint64_t *number_r);
/* Whether all of text is one decimal number within int64, perhaps with a sign. */
bool text_int64(struct bytes text, int64_t *number_r);
/* Whether text is a flag as Go writes and reads one: 0, 1, f, t, F, T, false, true... */
bool text_flag(struct bytes text, bool *flag_r);

/* The number that a hexadecimal digit means, or -1. */
static inline int text_hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX in place, and + as a blank if plus says so. False when a % begins nothing. */
bool text_percent_decode(uint8_t *data, size_t *len, bool plus);

/* ---- Characters ---- */

/* The length of the UTF-8 character at p, which has room bytes (at least 1); 0 if it is none:
 * overlong, a surrogate, above U+10FFFF or cut short. */
size_t text_utf8(const uint8_t *p, size_t room);

/* The length in bytes of the character that text (NUL-terminated, not empty) begins with, and the
 * character. 1 and -1 for a byte that is no UTF-8. */
size_t text_next(const char *text, int32_t *code_r);
bool text_is_control(int32_t code);

/* Makes it one line that does nothing to a terminal, in place and of the same length: controls
 * become blanks, bytes that are no UTF-8 question marks. */
void text_flatten(char *text);

/* Prints len bytes so that lines stay lines and nothing is done to a terminal. */
void text_print(FILE *file, const void *text, size_t len);

/* Writes the first character of text as the inside of a JSON string has it, controls escaped and a
 * byte that is no UTF-8 as the character of that number. Gives its length in text. */
size_t text_json(const char *text, char out[TEXT_JSON_MAX]);

/* Whether a word is near enough to another to be what was meant: one letter, or two of a long word,
 * to be put in, left out or changed. */
bool text_is_near(const char *given, const char *word);

#endif
