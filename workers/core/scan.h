/*
 * scan - reads a JSON text from its front to its end, checking it against RFC 8259. What nobody
 * asked for is skipped without being understood: a number may have any size, a name may come twice,
 * and no memory is used however many values there are. Only the depth is bounded, to 10000 levels.
 * Pure.
 */
#ifndef STRATO_WORKERS_CORE_SCAN_H
#define STRATO_WORKERS_CORE_SCAN_H

#include "workers/core/json.h"

struct scan {
    const uint8_t *at, *end;
    const char *why; /* it is no JSON */
};

static inline bool scan_bad(struct scan *scan, const char *why)
{
    scan->why = why;
    return false;
}

static inline void scan_skip_space(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r'))
        scan->at++;
}

/* The next byte; 0 at the end, which no JSON text has outside of strings. */
static inline uint8_t scan_peek(const struct scan *scan)
{
    return scan->at < scan->end ? *scan->at : 0;
}

/* Takes white space and then a byte. */
static inline bool scan_take(struct scan *scan, uint8_t c)
{
    scan_skip_space(scan);
    if (scan_peek(scan) != c || c == 0)
        return false;
    scan->at++;
    return true;
}

/* A string, from its opening quote on; *text_r is what is between its quotes, as it stands. */
bool scan_skip_string(struct scan *scan, struct bytes *text_r);
/* Writes what such a string means to out, which may be where it stands: it becomes no longer. False
 * when it has half of a surrogate pair. */
bool scan_unescape(struct bytes text, uint8_t *out, size_t *len_r);
/* A member's name and its colon. */
bool scan_take_name(struct scan *scan, struct bytes *name_r);
/* Any value. */
bool scan_skip_value(struct scan *scan);

#endif
