/*
 * namespace - see namespace.h. Test builds only: when STRATO_NAMESPACES is set, a key "NUMBER|REST"
 * is REST in that namespace.
 */
#include "workers/core/namespace.h"

#ifdef STRATO_FAILPOINTS

#include <stdlib.h>

void core_find_namespace(struct request *request)
{
    char text[8] = "";
    const uint8_t *bar =
        request->key.len > 0 ? memchr(request->key.data, '|', request->key.len) : NULL;
    size_t len = bar ? (size_t)(bar - request->key.data) : 0;
    if (len == 0 || len >= sizeof text || !getenv("STRATO_NAMESPACES"))
        return;
    memcpy(text, request->key.data, len);
    request->namespace = (uint16_t)strtoul(text, NULL, 10);
    request->key = (struct bytes){bar + 1, request->key.len - len - 1};
}

#endif
