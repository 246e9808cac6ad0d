/*
 * in_force - which configuration is in force. What was in force before a reload is kept (struct
 * before) until every process serves with the new one.
 */
#ifndef STRATO_SUPERVISOR_IN_FORCE_H
#define STRATO_SUPERVISOR_IN_FORCE_H

#include "supervisor/state.h"

/* Puts a checked configuration in force, with its memfd and its sockets, and keeps what was. */
void in_force_replace(struct supervisor *s, const struct conf *conf, const struct conf *loaded,
                      int config, const struct listeners *listen);
/* The new one serves, or everything stops: what was before is given up. */
void in_force_settle(struct supervisor *s);
/* A process could not start with the new one: puts in force what was before, and plans the restart
 * of every process that knows the new one. False when nothing is kept. */
bool in_force_go_back(struct supervisor *s, uint64_t now_ms);

#endif
