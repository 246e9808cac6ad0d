/*
 * flush - what keeps a database whole whose commits are not synced (sync = interval, off).
 *
 * LMDB orders its writes by syncing twice for each commit. Without that a power loss may leave a
 * new root on disk but not the pages below it, or new pages over those of the old root. So:
 *
 * interval: a thread syncs each sync_interval. Around it, it holds a read transaction of the
 * snapshot that was synced last, so that no page of it is used again, and keeps that snapshot's
 * root (LMDB's two meta pages) in the file "unsynced". If the machine was started anew since, the
 * roots are put back before the database is opened: what is there then is exactly the snapshot.
 *
 * off: nothing is synced but at the end. "unsynced" then holds no roots: if the machine was
 * started anew since, the database is refused, for nobody can know whether it is whole.
 *
 * The file is there while such a store runs, and after it died until the next start; a stop in
 * order syncs everything and removes it. That the machine was started anew shows in its boot id.
 */
#ifndef STRATO_STORE_DISK_FLUSH_H
#define STRATO_STORE_DISK_FLUSH_H

#include "store/disk/env.h"

struct flush;

/* Before the database is opened: puts the last synced roots back where that is needed. Ends the
 * process through run_child_fail() when the database cannot be trusted. */
void flush_recover(const char *directory);

/* After it was opened: syncs what a predecessor left, and starts the thread for sync = interval.
 * NULL for sync = commit. env and conf are borrowed until flush_close(). */
struct flush *flush_open(struct env *env, const struct conf *conf);
/* Syncs everything and removes the file. Accepts NULL. */
void flush_close(struct flush **flush);

/* Around each commit, so that the thread meets a database between two of them. */
void flush_before_commit(struct flush *flush);
void flush_after_commit(struct flush *flush);

/* Pages that were freed by this transaction or later ones cannot be used again yet. Accepts NULL.
 */
uint64_t flush_pinned(struct flush *flush);
/* How long the last sync of the thread took. Accepts NULL: 0. */
uint64_t flush_last_ns(struct flush *flush);

#endif
