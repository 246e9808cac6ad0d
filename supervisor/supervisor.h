/*
 * supervisor - starts all processes, keeps them running, stops them. What stratod and strato-http
 * have in common.
 */
#ifndef STRATO_SUPERVISOR_SUPERVISOR_H
#define STRATO_SUPERVISOR_SUPERVISOR_H

#include "proto/conf/conf.h"

/*
 * Runs until it is told to stop; returns the exit code. conf is checked already and changed where
 * port 0 became a real one. path is the file it came from, for SIGHUP; NULL if there is none.
 * program is the name in messages, borrowed for good.
 */
int supervise(struct conf *conf, const char *path, const char *program);

#endif
