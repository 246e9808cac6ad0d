/*
 * text - text from outside on its way to a terminal, a log or JSON.
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

enum { TEXT_JSON_MAX = 7 }; /* bytes of one character in JSON, with a NUL */

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

#endif
