/* roll - planned restarts: one process at a time, stores first. */
#ifndef STRATO_SUPERVISOR_ROLL_H
#define STRATO_SUPERVISOR_ROLL_H

#include "supervisor/state.h"

/* Plans the restart of every process whose name or kind this is, or of all ("all"). False when
 * there is none. roll_step() carries it out. */
bool roll_plan(struct supervisor *s, const char *name);
/* Begins to carry out what is planned in the slots. */
void roll_begin(struct supervisor *s);
/* Goes on with it: stores first, one process at a time. Clears rolling when all is done. */
void roll_step(struct supervisor *s, uint64_t now_ms);

#endif
