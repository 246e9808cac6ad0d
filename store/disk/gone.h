/*
 * gone - whether data.mdb is still the file that LMDB writes to. When somebody has removed, renamed
 * or replaced it, what is written ends with the process: then nothing more may be acknowledged.
 */
#ifndef STRATO_STORE_DISK_GONE_H
#define STRATO_STORE_DISK_GONE_H

#include "store/disk/env.h"

/* Looks (two system calls), sets env->gone, and logs a change of it. Returns env->gone, which ends
 * when the very file is back under its name. */
bool gone_look(struct env *env);

/* The same from time to time; now_ms is of clock_ms(). */
void gone_tend(struct env *env, uint64_t now_ms);

/* What writes, and the question whether the store is ready, are answered while it is gone. */
struct reply gone_reply(void);
bool gone_concerns(const struct request *request);

#endif
