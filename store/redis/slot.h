/*
 * slot - which of a cluster's 16384 slots a key belongs to, as Redis computes it. Pure.
 */
#ifndef STRATO_STORE_REDIS_SLOT_H
#define STRATO_STORE_REDIS_SLOT_H

#include "proto/base/bytes.h"

enum { REDIS_SLOTS = 16384 };

/* CRC16 (XMODEM) of the key, or of what is between its first '{' and the next '}' when that is not
 * empty, modulo REDIS_SLOTS. */
unsigned redis_slot(struct bytes key);

#endif
