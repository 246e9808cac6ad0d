/*
 * json - the body of PUT /kv. Pure.
 */
#ifndef STRATO_WORKERS_HTTP_JSON_H
#define STRATO_WORKERS_HTTP_JSON_H

#include "workers/core/json.h"

/*
 * Takes "content" out of the body of PUT /kv, {"content":"..."}, unescaped in place; of several the
 * last. What else is in the object must be JSON (at most 10000 levels deep) and is ignored. False
 * when the body is something else; error (size bytes) says what and what is wanted.
 */
bool http_json_content(uint8_t *body, size_t len, struct bytes *content_r, char *error,
                       size_t size);

#endif
