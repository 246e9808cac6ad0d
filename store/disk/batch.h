/*
 * batch - the submissions of one round that wait for a commit, with copies of what they ask and
 * what they are to be answered.
 */
#ifndef STRATO_STORE_DISK_BATCH_H
#define STRATO_STORE_DISK_BATCH_H

#include "store/disk/operation.h"
#include "store/engine.h"

struct batch_entry {
    uint32_t channel;
    uint64_t sequence;
    struct request request; /* but for its views, which are positions in bytes */
    struct reply reply;     /* likewise */
    size_t key_at, value_at, reply_at;
    bool changed;
};

struct batch { /* all zero is an empty one */
    struct batch_entry *entries;
    size_t count, capacity;
    struct buffer bytes;
};

/* Appends a submission; its entry has no reply yet. */
struct batch_entry *batch_add(struct batch *batch, const struct engine_call *call);
/* Keeps a copy of the reply and its value. */
void batch_answer(struct batch *batch, struct batch_entry *entry, const struct reply *reply);
/* The request and the reply of an entry; their views are valid until the next batch_add() or
 * batch_answer(). */
struct request batch_request(const struct batch *batch, const struct batch_entry *entry);
struct reply batch_reply(const struct batch *batch, const struct batch_entry *entry);
/* Empties it. Gives memory back when it has become large. */
void batch_clear(struct batch *batch);
void batch_free(struct batch *batch);

#endif
