/*
 * batch - the submissions of one round that wait for a commit, with copies of what they ask and
 * what they have written.
 */
#ifndef STRATO_STORE_DISK_BATCH_H
#define STRATO_STORE_DISK_BATCH_H

#include "store/engine.h"
#include "store/tx.h"

/* A run of bytes that the batch keeps. Its buffers grow, so a place is a position. */
struct batch_place {
    bool written; /* in batch.written; else in batch.bytes */
    size_t at, len;
};

struct batch_entry {
    uint32_t channel;
    uint64_t sequence;
    struct request request; /* but for its views, which are positions in bytes */
    enum status status;     /* of its answer, which is kept */
    size_t key_at, value_at;
    size_t first_write, write_count; /* its part of the write set */
    bool changed;
};

/* What one put or removal did to a key of a service's own space, for the arena. */
struct batch_wrote {
    struct tx_key key;
    struct bytes shown; /* what hot reads are to find */
    uint64_t expiry_ms;
    uint64_t revision; /* 0: the record is gone */
};

struct batch_write {          /* the same, kept */
    struct batch_wrote wrote; /* but for its views */
    struct batch_place name, shown;
};

struct batch { /* all zero is an empty one */
    struct batch_entry *entries;
    size_t count, capacity;
    struct batch_write *writes;
    size_t write_count, write_capacity;
    struct buffer bytes;   /* of requests */
    struct buffer written; /* of writes, where they are not those of the request */
};

/* Appends a submission. */
struct batch_entry *batch_add(struct batch *batch, const struct engine_call *call);
/* The request of an entry; its views are valid until the next batch_add(). */
struct request batch_request(const struct batch *batch, const struct batch_entry *entry);

/* The entry is about to be carried out, perhaps again: it has written nothing. */
void batch_begin(struct batch *batch, struct batch_entry *entry);
/* Keeps a write of the entry begun last. Views into the entry's request are not copied. */
void batch_wrote(struct batch *batch, struct batch_entry *entry, const struct batch_wrote *wrote);
/* What hot reads are to find of a key that this entry has written; else nothing happens. */
void batch_show(struct batch *batch, struct batch_entry *entry, struct tx_key key,
                struct bytes shown);
/* The write of this number; its views are valid until the batch changes. */
struct batch_wrote batch_write(const struct batch *batch, size_t number);

/* Where the batch stands, and going back to it: what was kept since is dropped. */
struct batch_mark {
    size_t written, writes;
};
struct batch_mark batch_mark(const struct batch *batch);
void batch_return(struct batch *batch, struct batch_mark mark);

/* Empties it. Gives memory back when it has become large. */
void batch_clear(struct batch *batch);
void batch_free(struct batch *batch);

#endif
