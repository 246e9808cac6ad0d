/*
 * bulk - values too large for a ring slot, in the store: those staged by workers before they are
 * submitted, and long answers waiting to be fetched where the channel has no place for them
 * (proto/channel/place.h). Private to the process: a restarted store has none, says STATUS_RESTAGE
 * for what it no longer has, and the worker sends it again.
 *
 * Bounded: per channel at most CHANNEL_SLOTS of each kind and BULK_PER_CHANNEL times max_value (or
 * max_answer) bytes; beyond that the oldest goes. All of a channel's go when a new worker says
 * hello on it.
 */
#ifndef STRATO_STORE_BULK_H
#define STRATO_STORE_BULK_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum { BULK_PER_CHANNEL = 64 };

struct bulk;

/* max_answer: the longest usual answer, a value's or a set's. */
struct bulk *bulk_open(unsigned channels, uint64_t max_value, uint64_t max_answer);
void bulk_close(struct bulk **bulk);

/* Takes a piece and says how much is there now. STATUS_OK, also for a piece that is already there;
 * STATUS_TOO_LARGE (total over max_value); STATUS_RESTAGE when it leaves a gap (start at 0 again);
 * STATUS_INVALID for an impossible one. */
enum status bulk_stage(struct bulk *bulk, unsigned channel, uint64_t bulk_id, uint64_t total,
                       uint64_t offset, struct bytes piece, uint64_t *there_r) MUST_CHECK;
/* A complete staged value; false when there is none. Borrowed until the next call here. It stays
 * until dropped. */
bool bulk_staged(struct bulk *bulk, unsigned channel, uint64_t bulk_id, struct bytes *value_r);
void bulk_drop_staged(struct bulk *bulk, unsigned channel, uint64_t bulk_id);

/* Keeps a copy of a long answer. */
void bulk_keep(struct bulk *bulk, unsigned channel, uint64_t sequence, struct bytes value);
bool bulk_kept(struct bulk *bulk, unsigned channel, uint64_t sequence, struct bytes *value_r);
void bulk_drop_kept(struct bulk *bulk, unsigned channel, uint64_t sequence);
/* Whether any answer waits to be fetched. */
bool bulk_has_kept(const struct bulk *bulk);

/* A new worker is on this channel, or there is none any more: all that was there goes. */
void bulk_forget(struct bulk *bulk, unsigned channel);

/* Bytes held now, of both kinds. */
uint64_t bulk_bytes(const struct bulk *bulk);

#endif
