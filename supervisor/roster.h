/* roster - keeps proto/run/roster.h up to date. */
#ifndef STRATO_SUPERVISOR_ROSTER_H
#define STRATO_SUPERVISOR_ROSTER_H

#include "supervisor/state.h"

/* Tells the workers who is there. Cheap when nothing has changed. */
void roster_update(struct supervisor *s, uint64_t now_ms);

#endif
