/* reload - the configuration read again while everything runs. */
#ifndef STRATO_SUPERVISOR_RELOAD_H
#define STRATO_SUPERVISOR_RELOAD_H

#include "supervisor/state.h"

/*
 * Reads the file again and plans what it takes to apply it; nothing is changed when it has a
 * problem. Appends one line per change or problem to report. False when it was refused.
 */
bool reload(struct supervisor *s, struct buffer *report, uint64_t now_ms);
/* Makes unix sockets anew whose files were removed, and plans the restart of their workers; the
 * configuration is not read. What cannot be done is logged, once for each trouble. */
void reload_listeners(struct supervisor *s, uint64_t now_ms);

#endif
