/*
 * call - a submission on its way to Redis and back.
 */
#ifndef STRATO_STORE_REDIS_CALL_H
#define STRATO_STORE_REDIS_CALL_H

#include "store/engine.h"
#include "store/redis/link.h"

struct redis_call {
    struct redis_item item; /* first; the link's while linked */
    struct engine *engine;
    struct redis_call *next;          /* in a queue */
    struct redis_call *older, *newer; /* among the open ones */
    uint32_t channel;
    uint64_t sequence;
    uint64_t deadline_ns; /* later than this it is not sent any more; UINT64_MAX: no such moment */
    uint64_t due_ns;      /* answered by then, whatever came of it */
    uint64_t pause_ns;    /* not sent again before this */
    unsigned redirected;
    bool linked;            /* a link has it */
    bool answered;          /* but a link still has it */
    bool patient;           /* waits for a server that is away, until it is due */
    bool asked;             /* a probe: a check has begun for it */
    bool repeated;          /* an earlier sending may have been carried out */
    struct bytes key;       /* as Redis is to see it */
    struct request request; /* its views, like key, are of what follows */
    uint8_t bytes[];
};

/* A copy of a submission. Its key in Redis begins with prefix, and then redis_mark(). */
struct redis_call *redis_call_new(const struct engine_call *call, const char *prefix);

/* A queue of calls, in the order in which they came. */
struct redis_queue {
    struct redis_call *first, *last;
};
void redis_queue_add(struct redis_queue *queue, struct redis_call *call);
struct redis_call *redis_queue_take(struct redis_queue *queue);

/* All calls that are not answered, by age. */
struct redis_open {
    struct redis_call *oldest, *newest;
    unsigned count;
};
void redis_open_add(struct redis_open *open, struct redis_call *call);
void redis_open_remove(struct redis_open *open, struct redis_call *call);

#endif
