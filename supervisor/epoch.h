/* epoch - chooses the service clock's offset (proto/run/epoch.h) for all children. */
#ifndef STRATO_SUPERVISOR_EPOCH_H
#define STRATO_SUPERVISOR_EPOCH_H

#include "supervisor/shared.h"

/* Once, when the arenas are there and before the first child is started. Cannot fail. */
void epoch_choose(const struct shared *shared, const struct conf *conf);

#endif
