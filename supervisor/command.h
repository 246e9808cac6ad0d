/* command - what stratoctl may ask for. */
#ifndef STRATO_SUPERVISOR_COMMAND_H
#define STRATO_SUPERVISOR_COMMAND_H

#include "supervisor/state.h"

/* Does what a connection asks for; see ctl.h. */
void command_take(void *supervisor, struct ctl_connection *connection, const char *line);
/* Ends what waits for the plan, when it is done, and begins what waits for its turn. */
void command_step(struct supervisor *s, uint64_t now_ms);

#endif
