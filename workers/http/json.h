/*
 * json - the little JSON that hot replies need, written by hand, and the body of PUT /kv.
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

/* Appends the text in that form, without quotes. */
void http_json_append(struct buffer *out, struct bytes text, enum http_json_form form);

/* Appends "NAME":"TEXT", or "NAME_base64":"..." for a text that is no UTF-8. */
void http_json_member(struct buffer *out, const char *name, struct bytes text);

/*
 * Takes "content" out of the body of PUT /kv, {"content":"..."}, unescaped in place. False when the
 * body is something else; error (size bytes) says what and what is wanted.
 */
bool http_json_content(uint8_t *body, size_t len, struct bytes *content_r, char *error,
                       size_t size);

#endif
