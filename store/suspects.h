/*
 * suspects - what a predecessor had under way when it died: one of these requests may have been the
 * end of it.
 *
 * They are tried again. If that is the end of the next store too, each is tried by itself, with
 * nothing else under way, so that it shows which it is. What was by itself and has had its tries is
 * given up: it is answered with an error, for it would be the end of every further store. Until all
 * are answered nothing else is taken from their channel.
 */
#ifndef STRATO_STORE_SUSPECTS_H
#define STRATO_STORE_SUSPECTS_H

#include "proto/channel/channel.h"

enum { SUSPECTS_TRIES = 2 };

struct suspects {
    uint64_t end;      /* they begin at what is completed; 0: there are none */
    unsigned attempts; /* stores that have tried them */
    bool give_up;      /* there is one, it was by itself, and it has had its tries */
};

/* Those of a channel that was just opened; whether there are any. */
bool suspects_find(struct suspects *suspects, const struct channel_store *end);
/* Whether no more than one request is under way. */
bool suspects_only_one(const struct channel_store *ends, unsigned channels);
/* Whether each of them is tried by itself. */
static inline bool suspects_alone(const struct suspects *suspects)
{
    return suspects->end != 0 && suspects->attempts >= SUSPECTS_TRIES;
}

#endif
