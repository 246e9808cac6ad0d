/*
 * record - what the tables hold, and reading and changing it in a transaction.
 *
 *     cache, counter, flag, kv   key -> header, value (as in the arena: a counter is eight bytes)
 *     set      key -> header, struct set_root
 *     named    service, namespace (2 bytes, big-endian; never 0), key -> as in the service's table,
 *              which has the keys of namespace 0
 *     item     id of the set (8 bytes, big-endian), item -> nothing (a value for others than sets)
 *     expiry   time in ms (8 bytes, big-endian), service, key -> nothing; in a namespace:
 *              time, service + 128, namespace, key
 *     meta     formats: formats.h; "state" -> struct state; "channel" + number: channels.h
 *     meta     formats: formats.h; "state" -> struct state; "channel" + number: channels.h
 *
 * All numbers little-endian but where their order as keys counts.
 */
#ifndef STRATO_STORE_DISK_RECORD_H
#define STRATO_STORE_DISK_RECORD_H

#include "proto/base/op.h"
#include "proto/base/set.h"
#include "store/disk/env.h"
#include "store/services/set/root.h"
#include "store/tx.h"

enum { RECORD_FORMAT = 1 };

/* Before every value. */
struct record_header {
    uint8_t format;
    uint64_t revision;
    uint64_t expiry_ms; /* ms since the epoch; 0 never */
} __attribute__((packed));

/* What goes on from transaction to transaction. */
struct state {
    uint64_t revision; /* the last one given */
    uint64_t set_id;   /* likewise */
};

/* One transaction and what it has done so far. */
struct work {
    struct env *env;
    MDB_txn *txn;
    struct state *state; /* NULL when it only reads */
    uint64_t now_ms;
    bool changed;
};

struct record {
    uint64_t revision;
    uint64_t expiry_ms;
    struct bytes value; /* in the database; valid until the next change in the transaction */
};

/* Of keys in a service's own space, in any namespace. */

/* STATUS_OK; STATUS_NOT_FOUND, also when it has expired; STATUS_DAMAGED: it is none of Strato. The
 * value of a counter, a flag or a set then has the right length. */
enum status record_get(const struct work *work, struct tx_key key,
                       struct record *record_r) MUST_CHECK;
/* Stores a record with the next revision. value must not lie in the database. STATUS_OK, or
 * STATUS_FULL or STATUS_DAMAGED: then the transaction must be aborted. */
enum status record_put(struct work *work, struct tx_key key, struct bytes value, uint64_t expiry_ms,
                       uint64_t *revision_r) MUST_CHECK;
/* STATUS_OK, also for a damaged one; STATUS_NOT_FOUND (missing, or expired); STATUS_FULL and
 * STATUS_DAMAGED as above. */
enum status record_delete(struct work *work, struct tx_key key) MUST_CHECK;

/* Removes up to limit records that have expired; *count_r says how many. STATUS_OK; STATUS_FULL or
 * STATUS_DAMAGED as above. */
enum status record_reclaim(struct work *work, unsigned limit, unsigned *count_r) MUST_CHECK;

/* The earliest time at which a record expires; 0 when none ever does. */
uint64_t record_next_expiry(const struct work *work);

/* Whether a root can be one. */
bool record_root_is_sane(const struct set_root *root);

/* See tx_walk(). STATUS_OK or STATUS_DAMAGED. */
enum status record_walk(const struct work *work, const struct tx_range *range,
                        bool (*visit)(void *context, struct bytes name, const struct tx_item *item),
                        void *context) MUST_CHECK;
/* The parts of collections: a name and a value, without revision and expiry. */
/* STATUS_OK; STATUS_NOT_FOUND; STATUS_FULL and STATUS_DAMAGED as above. */
enum status record_get_part(const struct work *work, uint64_t id, struct bytes name,
                            struct bytes *value_r) MUST_CHECK;
enum status record_put_part(struct work *work, uint64_t id, struct bytes name,
                            struct bytes value) MUST_CHECK;
enum status record_remove_part(struct work *work, uint64_t id, struct bytes name) MUST_CHECK;

/* What makes no sense is made anew from the records, which takes its time. */
void record_load_state(const struct work *work, struct state *state_r);
enum status record_save_state(const struct work *work) MUST_CHECK;

#endif
