/* redis - the engine whose data is in a Redis server or a Redis Cluster. */
#ifndef STRATO_STORE_REDIS_REDIS_H
#define STRATO_STORE_REDIS_REDIS_H

#include "store/engine.h"

extern const struct engine_ops redis_engine;

#endif
