/*
 * internal - what the files of the arena writer share: state, the index, publication, room.
 */
#ifndef STRATO_STORE_ARENA_INTERNAL_H
#define STRATO_STORE_ARENA_INTERNAL_H

#include "store/arena/heap.h"
#include "store/arena/recency.h"
#include "store/arena/sorted.h"
#include "store/arena/writer.h"

struct arena_writer {
    uint8_t *base;
    uint64_t size; /* of the memfd */
    enum arena_role role;
    bool mapped; /* by us; else the memory is the caller's */
    struct arena_geometry geometry;
    struct arena_header *header;
    struct arena_stripe *stripes;
    struct arena_bucket *index;
    struct heap heap;
    struct recency recency;
    uint64_t seed;
    uint64_t records[ARENA_SPACES][SERVICE_COUNT];
    struct sorted *sorted[ARENA_SPACES][SERVICE_COUNT]; /* their order; NULL: not walked yet */
    unsigned compaction_rest; /* evictions until compaction is tried again */
    uint64_t evicted, expired, moved;
};

static inline struct arena_record *record_at(const struct arena_writer *writer, uint64_t offset)
{
    return (struct arena_record *)(writer->base + offset);
}
static inline struct arena_bucket *bucket_at(const struct arena_writer *writer, uint64_t offset)
{
    return (struct arena_bucket *)(writer->base + offset);
}
static inline uint8_t *record_body(struct arena_record *record)
{
    return (uint8_t *)(record + 1);
}
static inline struct bytes record_key(const struct arena_record *record)
{
    return (struct bytes){(const uint8_t *)(record + 1), record->key_len};
}
static inline uint64_t record_size(const struct arena_record *record)
{
    return sizeof *record + record->key_len + (uint64_t)record->value_len;
}

/* ---- writer.c: what goes into a record ---- */

uint64_t record_next_revision(struct arena_writer *writer);
/* As arena_put(), with this revision or, if it is 0, the next one. */
enum status record_store(struct arena_writer *writer, unsigned table, struct bytes key,
                         struct bytes value, uint64_t expiry_ms, struct arena_origin origin,
                         uint64_t now_ms, uint64_t *revision);
/* The record's place in the eviction order: the one of its predecessor, a new one, or none. */
uint32_t record_choose_node(struct arena_writer *writer, const struct arena_record *old,
                            uint64_t offset, unsigned table, uint64_t expiry_ms);
/* Whether the records of a table may be evicted where the arena is the data. */
bool record_may_go(unsigned table);
/* From now on the arena holds what release 0.2.0 does not know. */
void record_raise_version(struct arena_writer *writer);
/* Writes a record into a block that nobody sees yet. head lacks only its checksum. */
void record_build(struct arena_writer *writer, uint64_t offset, struct arena_record head,
                  struct bytes key, struct bytes value);

/* ---- index.c: chains of buckets, as the only writer sees them ---- */

struct place {
    uint64_t bucket;             /* number of the chain, for its stripe */
    _Atomic uint64_t *slot;      /* the word found, or a vacant one; NULL when the chain is full */
    _Atomic uint64_t *link;      /* the overflow word that leads to the slot's bucket; NULL for
                                    the first bucket. With slot NULL: the chain's last one */
    struct arena_bucket *holder; /* the slot's bucket */
};

/* The slot of a key. False when there is none; *place_r is then a vacant slot, or the end. */
bool index_find(const struct arena_writer *writer, unsigned table, struct bytes key, uint64_t hash,
                struct place *place_r);
/* The slot that holds the record at this offset. A record in use always has one. */
void index_find_record(const struct arena_writer *writer, uint64_t offset, struct place *place_r);
bool index_bucket_empty(const struct arena_bucket *bucket);

/* ---- scan.c: how many records there are, and in which order ---- */

/* A record has become visible under a key that had none, by the word in this slot. */
void record_added(struct arena_writer *writer, const _Atomic uint64_t *slot);
/* A record is about to be taken away, and its key with it. */
void record_leaves(struct arena_writer *writer, const struct arena_record *record);
/* Forgets the order of all. */
void scan_forget(struct arena_writer *writer);

/* ---- publish.c: making one word visible ---- */

/* Stores word at *target inside the chain's stripe, on behalf of origin (see layout.h). */
void publish(struct arena_writer *writer, uint64_t bucket, _Atomic uint64_t *target, uint64_t word,
             struct arena_origin origin);
/* The same for several words, all of them or none whatever the instant of a crash. list is the
 * offset of header.redo, or of a block with room for them. */
struct publication {
    uint64_t bucket;
    _Atomic uint64_t *target;
    uint64_t word;
};
void publish_all(struct arena_writer *writer, const struct publication *words, uint32_t count,
                 uint64_t list, struct arena_origin origin);
/* Notes that count submissions of a channel are applied. */
void publish_applied(struct arena_writer *writer, uint32_t channel, uint64_t count);
/* Carries out what a valid intent says, if it had not been. False when the intent is damaged: it is
 * cleared, and its change may be made or not. */
bool publish_redo(struct arena_writer *writer);
/* All stripes to odd (readers keep out) or back to even. Idempotent. */
void publish_close_stripes(struct arena_writer *writer, bool closed);

static const struct arena_origin NOBODY = {ARENA_NOBODY, 0};

/* ---- room.c: making room ---- */

/* A block for a record of size bytes, or for an overflow bucket (bucket true). Reclaims, moves and
 * evicts as needed: every place found before is stale after it. 0 when the arena is full. */
uint64_t room_for(struct arena_writer *writer, uint64_t size, bool bucket, uint64_t now_ms);
/* A block out of the reserve for a record that replaces one which needs no less. 0: none. */
uint64_t room_to_replace(struct arena_writer *writer, const struct arena_record *old,
                         uint64_t size);
/* Gives it back, by moving the record to where there is room since its predecessor is freed. */
void room_give_back(struct arena_writer *writer, uint64_t offset);
/* Takes a record out of the index and frees it. */
void room_remove(struct arena_writer *writer, const struct place *place,
                 struct arena_origin origin);

/* Cuts the empty overflow buckets out of a chain. */
void room_tidy(struct arena_writer *writer, uint64_t number);

/* ---- survey.c: the walk over all records ---- */

/* Rebuilds heap, recency and the counts of records, all empty before, from the index; gives up what
 * is damaged and adds that to the report. Returns the highest revision of a record. */
uint64_t survey(struct arena_writer *writer, struct arena_report *report);
/* Keeps what is told first as the report's damage. */
void arena_report_damage(struct arena_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A sign of life, for loops that may take long: some work has been done. */
void arena_beat(void);

/* ---- verify.c ---- */

/* Takes the arena over and mends it as it goes. False when that cannot be done: wipe it. */
bool verify(struct arena_writer *writer, struct arena_report *report);
/* Lays the arena out anew: everything in it is gone. */
void wipe(struct arena_writer *writer, uint64_t now_ms);
/* Whether the header has a spare: never while an arena is being wiped. */
bool arena_spare_sound(const struct arena_header *header);
static inline bool arena_version_known(const struct arena_header *header)
{
    return header->version >= ARENA_VERSION_FIRST && header->version <= ARENA_VERSION;
}

#endif
