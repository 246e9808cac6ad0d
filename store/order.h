/*
 * order - answers that come before those of earlier submissions of their channel wait here, so that
 * an engine may answer in any order while completions are published in that of submission.
 *
 * Bounded: per channel CHANNEL_SLOTS answers, and ORDER_BYTES_MAX of values in all. A value beyond
 * that is dropped and its answer becomes STATUS_RESTAGE: the worker asks again, which is harmless
 * for every operation that answers with a value.
 */
#ifndef STRATO_STORE_ORDER_H
#define STRATO_STORE_ORDER_H

#include "proto/base/op.h"

enum { ORDER_BYTES_MAX = 64 << 20 };

struct order;

struct order *order_open(unsigned channels);
void order_close(struct order **order);

/* Keeps an answer, with a copy of its value. Each sequence number once. */
void order_hold(struct order *order, unsigned channel, uint64_t sequence,
                const struct reply *reply);
/* The answer with this number, or NULL; it is gone with the next call here. */
const struct reply *order_take(struct order *order, unsigned channel, uint64_t sequence);

#endif
