/*
 * json - the little JSON that replies need (json.c), and the body of PUT /kv (json_read.c).
 *
 * A text is written as a JSON string when it is UTF-8, else as base64 under another name, so that
 * no value is ever altered. Pure.
 */
#ifndef STRATO_WORKERS_HTTP_JSON_H
#define STRATO_WORKERS_HTTP_JSON_H

#include <stdbool.h>

#include "proto/base/bytes.h"

enum http_json_form {
    HTTP_JSON_PLAIN,  /* stands in a JSON string as it is */
    HTTP_JSON_ESCAPE, /* UTF-8, but some of it must be escaped */
    HTTP_JSON_BASE64, /* no UTF-8 */
};

/* Looks at a text once. */
enum http_json_form http_json_form(struct bytes text);

/* How many bytes at the front are plain ASCII. */
size_t http_json_plain_prefix(struct bytes text);
/* Length of the UTF-8 sequence at the front of left bytes, at least one; 0 when it is none
 * (overlong, a surrogate, cut). */
size_t http_utf8_sequence(const uint8_t *s, size_t left);

/* How many bytes http_json_append() would append. */
size_t http_json_length(struct bytes text, enum http_json_form form);

/* Appends the text in that form, without quotes. */
void http_json_append(struct buffer *out, struct bytes text, enum http_json_form form);

/* Appends "NAME":"TEXT", or "NAME_base64":"..." for a text that is no UTF-8. */
void http_json_member(struct buffer *out, const char *name, struct bytes text);

/*
 * Takes "content" out of the body of PUT /kv, {"content":"..."}, unescaped in place; of several the
 * last. What else is in the object must be JSON (at most 10000 levels deep) and is ignored. False
 * when the body is something else; error (size bytes) says what and what is wanted.
 */
bool http_json_content(uint8_t *body, size_t len, struct bytes *content_r, char *error,
                       size_t size);

#endif
