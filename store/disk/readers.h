/*
 * readers - which processes read the database. A read transaction keeps the pages that were in use
 * when it began from being used again, also in another program (mdb_copy, a script) and also after
 * that program was killed: until the dead reader's slot is cleared, which LMDB never does by
 * itself.
 */
#ifndef STRATO_STORE_DISK_READERS_H
#define STRATO_STORE_DISK_READERS_H

#include <lmdb.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    READERS_MAX = 62, /* slots; with LMDB's head they fill one page of lock.mdb */
    READERS_LOCK_SIZE = 4096,
    READERS_TEND_MS = 5000,
    READERS_OLD_MS = 60000, /* a reader of this age is told of in the log */
};

struct readers {           /* all zero at first */
    _Atomic uint64_t dead; /* slots of dead processes that were cleared; by any thread */
    uint64_t tended_ms;
    unsigned open;     /* transactions under way when it was last looked */
    int pid;           /* of the process with the oldest; 0: none reads anything old */
    uint64_t txn;      /* its transaction */
    uint64_t since_ms; /* when it was first seen to be old */
    uint64_t age_ms;
    bool told;
};

/* Clears the slots of dead processes and logs that; says how many. Any thread. */
unsigned readers_clear(struct readers *readers, MDB_env *lmdb);
/* The oldest transaction that is read by anybody; UINT64_MAX: none. */
uint64_t readers_oldest(MDB_env *lmdb);
/* Every READERS_TEND_MS clears dead readers and looks for one that is old; never blocks. now_ms is
 * of the monotonic clock. */
void readers_tend(struct readers *readers, MDB_env *lmdb, uint64_t now_ms);
/* Lists the processes that read, as " PID, PID", for an error; at most size bytes. */
void readers_name(MDB_env *lmdb, char *text, size_t size);

#endif
