/*
 * room - how many more pages a transaction may take before what grows is refused.
 *
 * LMDB never changes a page in place: even deleting takes new pages before it gives old ones back,
 * and those two transactions later. So a reserve is kept for what does not grow, and the blocks on
 * the disk are taken before they are written to: then neither a full map nor a full disk keeps
 * anybody from deleting, or is noticed only when a batch is to be committed.
 */
#ifndef STRATO_STORE_DISK_ROOM_H
#define STRATO_STORE_DISK_ROOM_H

#include "store/disk/env.h"

struct room {
    uint64_t reserve;   /* pages */
    uint64_t allocated; /* pages of the file up to here have blocks on the disk */
    uint64_t next;      /* the file's first page that was never used, and then ... */
    uint64_t taken;     /* ... this many for what this transaction has done */
    uint64_t free;      /* pages in the file that it can use again, once they were counted */
    bool counted;
    bool full; /* something was refused in this transaction */
};

void room_open(struct room *room, const struct env *env);
/* At the beginning of a write transaction. */
void room_begin(struct room *room, const struct env *env);
/* Takes what writing a value of this length may need; reader reads the last commit. False when
 * there is not enough. */
bool room_take(struct room *room, struct env *env, MDB_txn *reader, size_t value_len);

#endif
