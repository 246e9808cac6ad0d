/* disk - the engine whose data is an LMDB database: what is acknowledged is on disk. */
#ifndef STRATO_STORE_DISK_DISK_H
#define STRATO_STORE_DISK_DISK_H

#include "store/engine.h"

extern const struct engine_ops disk_engine;

#endif
