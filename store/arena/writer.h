/*
 * writer - the one writer of an arena: lookups, changes, reclaiming, and recovery. Runs in a store.
 *
 * Every change is made visible by one 64-bit store and is carried out exactly once for its origin,
 * whatever instant the process is killed at; see proto/arena/layout.h.
 */
#ifndef STRATO_STORE_ARENA_WRITER_H
#define STRATO_STORE_ARENA_WRITER_H

#include "proto/arena/layout.h"

struct arena_writer;

/* What the arena is to its store. */
enum arena_role {
    ARENA_DATA,  /* the data itself: taken over after a crash; only cache records are evictable */
    ARENA_CACHE, /* in front of data that lies elsewhere: begins empty, every record is evictable */
};

/* On whose behalf a change is made: a submission of a channel. */
struct arena_origin {
    uint32_t channel; /* below ARENA_CHANNELS_MAX, or ARENA_NOBODY */
    uint64_t sequence;
};
#define ARENA_NOBODY UINT32_MAX

/* How an arena was found when it was opened. */
struct arena_report {
    enum arena_found_as {
        ARENA_WAS_RAW,     /* new: laid out */
        ARENA_WAS_SOUND,   /* verified and taken over */
        ARENA_WAS_MENDED,  /* taken over, but for what was damaged */
        ARENA_WAS_DAMAGED, /* wiped: everything in it is lost */
    } found_as;
    char damage[128];     /* what was found wrong first */
    uint64_t quarantined; /* records given up */
    uint64_t mended;      /* words put right: of the header, or that link records */
    uint64_t records;
    uint64_t elapsed_ns;
};

/*
 * Maps the memfd read-write, then verifies and rebuilds, or lays out, or wipes. NULL with a reason
 * only when it cannot be mapped, the pages of its index cannot be had, or it has a version of
 * another program: then nothing was touched. fd stays the caller's and must stay open. Takes about
 * a second for ten million records, on all processors, and gives signs of life meanwhile.
 */
struct arena_writer *arena_writer_open(int fd, enum arena_role role, uint64_t now_ms,
                                       struct arena_report *report_r, char *reason,
                                       size_t reason_size);
/* The same over memory that the caller keeps; for tests. */
struct arena_writer *arena_writer_attach(void *base, uint64_t size, enum arena_role role,
                                         uint64_t now_ms, struct arena_report *report_r,
                                         char *reason, size_t reason_size);
void arena_writer_close(struct arena_writer **writer);

/* Notes in the header by which clock the records expire (proto/run/epoch.h), so that a stratod that
 * is given the arena can go on with it. */
void arena_note_clock(struct arena_writer *writer, uint64_t offset_ms, uint64_t boot);

/* Submissions of the channel, up to and including the last that changed something. */
uint64_t arena_applied(const struct arena_writer *writer, uint32_t channel);
/* The channel of this number is a new one: nothing of it is applied. */
void arena_forget(struct arena_writer *writer, uint32_t channel);

/* The revision given last; the next record put has one more. */
uint64_t arena_revision(const struct arena_writer *writer);
/* Gives the next one: no record has had it or will have it, unless arena_apply() is told to. */
uint64_t arena_next_revision(struct arena_writer *writer);

struct arena_entry {
    uint64_t revision;
    uint64_t expiry_ms;
    struct bytes value; /* in the arena; valid until the next change of any kind */
};
/* Here and below: table is a service, for its own keys, or what arena_table() makes.
 * STATUS_OK or STATUS_NOT_FOUND (missing, or expired at now_ms). */
enum status arena_get(const struct arena_writer *writer, unsigned table, struct bytes key,
                      uint64_t now_ms, struct arena_entry *entry_r) MUST_CHECK;

/*
 * Stores a record, replacing one of the same key. value must not lie in the arena. expiry_ms 0:
 * never. Makes room by reclaiming what has expired, moving records together and evicting from the
 * cache service. STATUS_OK, or STATUS_FULL and nothing has changed (but for evictions).
 */
enum status arena_put(struct arena_writer *writer, unsigned table, struct bytes key,
                      struct bytes value, uint64_t expiry_ms, struct arena_origin origin,
                      uint64_t now_ms, uint64_t *revision_r) MUST_CHECK;

/* The same for a copy of what lies elsewhere, with the revision it has there. ARENA_CACHE only. */
enum status arena_load(struct arena_writer *writer, unsigned table, struct bytes key,
                       struct bytes value, uint64_t expiry_ms, uint64_t revision,
                       uint64_t now_ms) MUST_CHECK;

/* STATUS_OK, or STATUS_NOT_FOUND (missing or expired). */
enum status arena_delete(struct arena_writer *writer, unsigned table, struct bytes key,
                         struct arena_origin origin, uint64_t now_ms) MUST_CHECK;

/* One change of a transaction. */
struct arena_write {
    enum service service;
    enum arena_space space;
    bool remove; /* takes the record away, if there is one; value and expiry are not used */
    struct bytes key;
    struct bytes value; /* must not lie in the arena */
    uint64_t expiry_ms; /* 0: never */
    uint64_t revision;  /* the record's: from arena_next_revision(), or 0 and it is set */
};
enum { ARENA_APPLY_MAX = 4096 };

/*
 * Carries out several writes, each of another key, all of them or none, for one submission,
 * whatever the instant at which the process is killed. Readers without a lock may see some of them
 * before the others. STATUS_OK, or STATUS_FULL (no room, or more than ARENA_APPLY_MAX writes) and
 * nothing has changed (but for evictions). What needs no more room than there was is done in a full
 * arena too.
 */
enum status arena_apply(struct arena_writer *writer, struct arena_write *writes, unsigned count,
                        struct arena_origin origin, uint64_t now_ms) MUST_CHECK;

/* ---- In the order of keys ---- */

/* Where a walk begins and ends: at keys from this one on, up to one that is not in it. */
struct arena_range {
    unsigned table;
    struct bytes from, to; /* empty: from the first, to the last */
    bool reverse;
};
struct arena_cursor {
    struct arena_range range;
    struct sorted_leaf *leaf;
    unsigned at;
};

/* Puts the cursor before the first of the range, or behind its last when it goes in reverse. The
 * range's keys are borrowed. A table's first walk puts its keys in order, which takes about a
 * second for a million records of the arena and gives signs of life; after that, order is kept. */
void arena_seek(struct arena_writer *writer, const struct arena_range *range,
                struct arena_cursor *cursor_r);
/* The next record, also one that has expired; false at the end. What it gives and the cursor are
 * valid until the next change of any kind. */
bool arena_step(const struct arena_writer *writer, struct arena_cursor *cursor, struct bytes *key_r,
                struct arena_entry *entry_r);

/* A worker's report that readers hit the record of this slot word. May be anything. */
void arena_hit(struct arena_writer *writer, uint64_t word);

/* Reclaims up to limit records that have expired; returns how many. */
unsigned arena_reclaim(struct arena_writer *writer, uint64_t now_ms, unsigned limit);

struct arena_stats {
    uint64_t size; /* bytes of the heap */
    uint64_t used; /* bytes in blocks in use */
    uint64_t records[SERVICE_COUNT];
    uint64_t parts[SERVICE_COUNT];    /* of collections; not in records */
    uint64_t evicted, expired, moved; /* since this process started */
    uint64_t quarantined;             /* since the arena was made */
    uint64_t generation;
};
void arena_stats(const struct arena_writer *writer, struct arena_stats *stats_r);

#endif
