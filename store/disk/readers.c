/*
 * readers - see readers.h. Runs in store-disk. Cannot fail: what LMDB does not tell counts as
 * nobody.
 */
#include "store/disk/readers.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/log.h"

unsigned readers_clear(struct readers *readers, MDB_env *lmdb)
{
    int dead = 0;
    if (mdb_reader_check(lmdb, &dead) != MDB_SUCCESS || dead <= 0)
        return 0;
    atomic_fetch_add(&readers->dead, (unsigned)dead);
    log_warn("cleared %d read transactions of dead processes: they kept pages of the database from "
             "being used again",
             dead);
    return (unsigned)dead;
}

/* ---- The table, which LMDB shows as text only ---- */

struct oldest {
    uint64_t txn;
    int pid;
    unsigned open;
};

/* One line: pid, thread, transaction; "-" instead of the last when it reads nothing now. */
static int take_line(const char *line, void *context)
{
    struct oldest *oldest = context;
    int pid;
    uint64_t txn;
    if (sscanf(line, " %d %*x %" SCNu64, &pid, &txn) != 2)
        return 0;
    oldest->open++;
    if (txn < oldest->txn) {
        oldest->txn = txn;
        oldest->pid = pid;
    }
    return 0;
}

static struct oldest look(MDB_env *lmdb)
{
    struct oldest oldest = {.txn = UINT64_MAX};
    mdb_reader_list(lmdb, take_line, &oldest);
    return oldest;
}

uint64_t readers_oldest(MDB_env *lmdb)
{
    return look(lmdb).txn;
}

struct names {
    char *text;
    size_t len, size;
};

static int take_name(const char *line, void *context)
{
    struct names *names = context;
    int pid;
    if (sscanf(line, " %d", &pid) != 1 || names->size - names->len < 16)
        return 0;
    int n = snprintf(names->text + names->len, names->size - names->len, "%s%d",
                     names->len ? ", " : " ", pid);
    names->len += (size_t)n;
    return 0;
}

void readers_name(MDB_env *lmdb, char *text, size_t size)
{
    struct names names = {text, 0, size};
    *text = '\0';
    mdb_reader_list(lmdb, take_name, &names);
}

/* ---- Housekeeping ---- */

/* Its first sight begins its age: LMDB does not know when a transaction began. */
static void note_oldest(struct readers *readers, const struct oldest *oldest, uint64_t last_txn,
                        uint64_t now_ms)
{
    bool old = oldest->txn < last_txn; /* something was changed since */
    readers->open = oldest->open;
    if (!old || oldest->pid != readers->pid || oldest->txn != readers->txn) {
        readers->told = false;
        readers->since_ms = now_ms;
    }
    readers->pid = old ? oldest->pid : 0;
    readers->txn = old ? oldest->txn : 0;
    readers->age_ms = old ? now_ms - readers->since_ms : 0;
}

void readers_tend(struct readers *readers, MDB_env *lmdb, uint64_t now_ms)
{
    MDB_envinfo info;
    if (readers->tended_ms != 0 && now_ms - readers->tended_ms < READERS_TEND_MS)
        return;
    readers->tended_ms = now_ms;
    readers_clear(readers, lmdb);
    mdb_env_info(lmdb, &info);
    const struct oldest oldest = look(lmdb);
    note_oldest(readers, &oldest, info.me_last_txnid, now_ms);
    if (readers->age_ms < READERS_OLD_MS || readers->told)
        return;
    readers->told = true;
    log_warn("process %d has had one read transaction open for over %" PRIu64
             " s: no page that was freed since is used again, and the database grows; end it",
             readers->pid, readers->age_ms / 1000);
}
