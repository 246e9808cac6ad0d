/* memory - the engine whose data is the arena itself. */
#ifndef STRATO_STORE_MEMORY_MEMORY_H
#define STRATO_STORE_MEMORY_MEMORY_H

#include "store/engine.h"

extern const struct engine_ops memory_engine;

#endif
