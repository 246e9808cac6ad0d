/*
 * text - small steps through the text of header fields. Pure; nothing is copied.
 */
#ifndef STRATO_WORKERS_HTTP_TEXT_H
#define STRATO_WORKERS_HTTP_TEXT_H

#include <strings.h>

#include "proto/base/bytes.h"

/* Whether text is that word, in upper or lower case. */
static inline bool http_text_is(struct bytes text, const char *word)
{
    return text.len == strlen(word) && strncasecmp((const char *)text.data, word, text.len) == 0;
}

static inline struct bytes http_text_cut(struct bytes text, size_t at, size_t len)
{
    return (struct bytes){text.data + at, len};
}

static inline struct bytes http_text_trim(struct bytes text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = http_text_cut(text, 1, text.len - 1);
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Takes what comes before the next separator off the front of *rest, trimmed. False at the end. */
static inline bool http_text_next(struct bytes *rest, char separator, struct bytes *part_r)
{
    if (rest->len == 0)
        return false;
    const uint8_t *at = memchr(rest->data, separator, rest->len);
    size_t len = at ? (size_t)(at - rest->data) : rest->len;
    *part_r = http_text_trim(http_text_cut(*rest, 0, len));
    size_t used = at ? len + 1 : len;
    *rest = http_text_cut(*rest, used, rest->len - used);
    return true;
}

#endif
