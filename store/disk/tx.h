/*
 * tx - a request's transaction (store/tx.h) over LMDB: in the open write transaction of a round, or
 * reading what was committed last.
 */
#ifndef STRATO_STORE_DISK_TX_H
#define STRATO_STORE_DISK_TX_H

#include "store/disk/batch.h"
#include "store/disk/record.h"

struct disk_tx {
    struct tx tx;
    struct work *work;
    struct batch *batch;       /* where the write set is kept; NULL: it only reads */
    struct batch_entry *entry; /* whose it is */
    /* When it only reads: the record of the request's key, if there is one, and what hot reads of
     * it are to be shown; empty for nothing. Valid as long as the reading transaction. */
    struct tx_item found;
    struct bytes shown;
};

void disk_tx_write(struct disk_tx *tx, struct work *work, struct batch *batch,
                   struct batch_entry *entry);
void disk_tx_read(struct disk_tx *tx, struct work *work);

#endif
