/*
 * tables - opens the tables of a database, and makes those that are missing: all of a new one, and
 * of an older release's those of services that it had not.
 */
#ifndef STRATO_STORE_DISK_TABLES_H
#define STRATO_STORE_DISK_TABLES_H

#include "store/disk/env.h"

/* Ends the process through run_child_fail() when the database is none of Strato or newer than this
 * program. */
void tables_open(struct env *env);

#endif
