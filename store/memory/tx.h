/*
 * tx - a request's transaction (store/tx.h) over the arena: what it writes is put together, and
 * carried out in one step at its end.
 */
#ifndef STRATO_STORE_MEMORY_TX_H
#define STRATO_STORE_MEMORY_TX_H

#include "store/arena/writer.h"
#include "store/tx.h"

/* What a transaction has written so far; its memory is kept from one to the next. */
struct memory_writes;
struct memory_writes *memory_writes_open(void);
void memory_writes_close(struct memory_writes **writes);

struct memory_tx {
    struct tx tx;
    struct arena_writer *arena;
    struct memory_writes *writes;
    uint64_t now_ms;
};

/* Begins one over an arena, which may make collections or not. Only one at a time can use these
 * writes. */
void memory_tx_begin(struct memory_tx *tx, struct arena_writer *arena, struct memory_writes *writes,
                     bool collections, uint64_t now_ms);
/* Whether it has written nothing. */
bool memory_tx_is_empty(const struct memory_tx *tx);
/* Carries out what it has written, for a submission. STATUS_OK, or STATUS_FULL and nothing has
 * changed. What the writes borrowed need not be valid any more after it. */
enum status memory_tx_commit(struct memory_tx *tx, struct arena_origin origin) MUST_CHECK;

#endif
