/*
 * json - texts as JSON has them.
 *
 * A text is written as a JSON string when it is UTF-8, else as base64 under another name, so that
 * no value is ever altered. Pure.
 */
#ifndef STRATO_WORKERS_CORE_JSON_H
#define STRATO_WORKERS_CORE_JSON_H

#include <stdbool.h>

#include "proto/base/bytes.h"

enum core_json_form {
    CORE_JSON_PLAIN,  /* stands in a JSON string as it is */
    CORE_JSON_ESCAPE, /* UTF-8, but some of it must be escaped */
    CORE_JSON_BASE64, /* no UTF-8 */
};

/* Looks at a text once. */
enum core_json_form core_json_form(struct bytes text);

/* How many bytes at the front are plain ASCII. */
size_t core_json_plain_prefix(struct bytes text);
/* Length of the UTF-8 sequence at the front of left bytes, at least one; 0 when it is none
 * (overlong, a surrogate, cut). */
size_t core_utf8_sequence(const uint8_t *s, size_t left);

/* How many bytes core_json_append() would append. */
size_t core_json_length(struct bytes text, enum core_json_form form);

/* Appends the text in that form, without quotes. */
void core_json_append(struct buffer *out, struct bytes text, enum core_json_form form);

/* Appends "NAME":"TEXT", or "NAME_base64":"..." for a text that is no UTF-8. */
void core_json_member(struct buffer *out, const char *name, struct bytes text);

#endif
