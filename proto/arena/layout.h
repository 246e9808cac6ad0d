/*
 * layout - the arena: records and their index in one memfd of fixed size, shared by offset.
 *
 *     | header 4 KiB | stripes 32 KiB | index: buckets | heap: chunks of 64 KiB ... |
 *
 * One store process writes; any number of workers read through a read-only mapping, without locks
 * and without being known to the writer.
 *
 * Publication. The writer builds a whole record in a free block, then makes it visible by ONE
 * 64-bit store: a slot word of a bucket, or the link to an overflow bucket that holds the word.
 * Replacing and deleting are the same one store. Around it the stripe's sequence count goes to odd
 * and back to even; the old block is reused only after that. A reader copies what it needs and
 * trusts the copy only if the stripe's count was even and did not change meanwhile. Every offset
 * and length is checked against the mapping before use, so even a torn or hostile arena can only
 * make it answer "ask the store".
 *
 * Crash. Before the one store the writer writes it down in the intent (where, what, on behalf of
 * which channel and sequence number). A transaction writes down a list of such stores, in its
 * header or in a block of the heap. A restarted writer carries a valid intent out again, which is
 * harmless if it had been, and then knows from `applied` which submission each channel has had
 * applied. All else (free blocks, eviction order, expiry) is rebuilt from the index.
 *
 * Geometry follows from the size of the memfd alone (arena_geometry), so that a damaged header
 * cannot mislead a reader. All numbers little-endian, host order on every machine we build for.
 */
#ifndef STRATO_PROTO_ARENA_LAYOUT_H
#define STRATO_PROTO_ARENA_LAYOUT_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/op.h"

#define ARENA_MAGIC "STRAREN" /* with its NUL eight bytes */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the arena is little-endian");

enum {
    /* 2: it may hold lists of stores, parts of collections and keys of namespaces. An arena begins
     * with 1, as release 0.2.0 has it, and goes to 2 with the first of these. */
    ARENA_VERSION = 2,
    ARENA_VERSION_FIRST = 1,
    ARENA_CHANNELS_MAX = 128, /* 2 lanes of at most 32 http and 32 grpc workers */
    ARENA_STRIPES = 4096,
    ARENA_CHUNK = 65536,
    ARENA_GRAIN = 16, /* blocks start at multiples of this */
    ARENA_BUCKET_SLOTS = 7,
};
#define ARENA_SIZE_MIN ((uint64_t)1 << 20)
#define ARENA_SIZE_MAX ((uint64_t)1 << 44)

enum arena_state {
    ARENA_RAW = 0,   /* zeroed, or being wiped: the store is not to be asked about contents */
    ARENA_READY = 1, /* readers may read */
};

enum arena_intent_kind {
    ARENA_INTENT_NONE = 0,
    ARENA_INTENT_WORD = 1, /* one word */
    ARENA_INTENT_LIST = 2, /* several: all of them or none */
};

/*
 * The records of a service are in several key spaces. A table is one of them: the service's number,
 * which alone names its own keys, with 256 times the space; so stand service and space in a record.
 */
enum arena_space {
    ARENA_OWN = 0, /* its keys, as clients name them: 1 to KEY_MAX bytes */
    ARENA_PARTS =
        1, /* of collections: id (8 bytes, big-endian), name. Never evicted by themselves */
    ARENA_NAMED = 2, /* keys in namespaces: namespace (2 bytes, big-endian), key */
    ARENA_SPACES
};
enum { ARENA_KEY_MAX = KEY_MAX + 8 };

static inline unsigned arena_table(enum service service, enum arena_space space)
{
    return (unsigned)service | (unsigned)space << 8;
}
/* Where a service's key in a namespace is: its table, and its key there, which may be put together
 * in room. */
static inline struct bytes arena_key(enum service service, uint16_t namespace, struct bytes name,
                                     uint8_t room[ARENA_KEY_MAX], unsigned *table_r)
{
    *table_r = service;
    if (namespace == 0)
        return name;
    *table_r = arena_table(service, ARENA_NAMED);
    room[0] = (uint8_t)(namespace >> 8);
    room[1] = (uint8_t) namespace;
    if (name.len > 0)
        memcpy(room + sizeof namespace, name.data, name.len);
    return (struct bytes){room, sizeof namespace + name.len};
}
/* Whether a record of this table can have a key of this length. */
static inline bool arena_key_fits(unsigned table, size_t len)
{
    static const uint8_t before[ARENA_SPACES] = {
        [ARENA_PARTS] = sizeof(uint64_t), [ARENA_NAMED] = sizeof(uint16_t)};
    return (table & 0xff) < SERVICE_COUNT && table >> 8 < ARENA_SPACES &&
           len > before[table >> 8] && len <= (size_t)before[table >> 8] + KEY_MAX;
}

/* A word that a transaction stores: where, from the arena's start, and what. */
struct arena_redo {
    uint64_t word_offset;
    uint64_t word;
};
enum {
    ARENA_REDO_MAX = 8192,   /* words of one transaction */
    ARENA_REDO_INLINE = 112, /* so many have room in the header */
};

/*
 * Written by the store only. The other fields of one intent are written before `kind`, with
 * release; `kind` is cleared before any other change to the arena is made.
 */
struct arena_intent {
    _Atomic uint32_t kind;
    uint32_t channel;     /* UINT32_MAX: on nobody's behalf */
    uint64_t sequence;    /* of the submission */
    uint64_t word_offset; /* of the 64-bit word to store; of a list: header.redo, or a block of the
                             heap */
    uint64_t word;        /* of a list: how many struct arena_redo it has */
    uint64_t check; /* XXH3 of the four fields above; of a list: of it, with that as the seed */
};

/*
 * How many submissions of a channel up to and including the last that changed something:
 * sequence + 1 of the last change; 0 for none. `inverse` is ~count, so that damage shows; count is
 * written first, and between the two the intent is valid.
 */
struct arena_applied {
    _Atomic uint64_t count;
    _Atomic uint64_t inverse;
};

/*
 * What of the header cannot be worked out, once more: a damaged header is mended from it. Written
 * when the arena is laid out or taken over; all zero in one that release 0.2.0 laid out, and while
 * an arena is being wiped.
 */
struct arena_spare {
    uint64_t generation;
    uint64_t hash_seed;
    uint64_t revision; /* about: of the time it was written */
    uint64_t check;    /* arena_spare_check() */
};

struct arena_header {
    char magic[8]; /* written last when a raw arena is laid out */
    uint32_t version;
    uint32_t header_size;
    uint64_t size;
    uint64_t generation;        /* counts wipes; random in its upper half */
    _Atomic uint64_t hash_seed; /* chosen anew with each generation, in a raw arena only */
    _Atomic uint64_t state;     /* enum arena_state */
    _Atomic uint64_t revision;  /* the last one given; never smaller than any record's */
    uint64_t identity_check;    /* arena_identity_check() */
    struct arena_spare spare;
    _Atomic uint64_t quarantined; /* records given up because they were damaged */
    uint64_t clock_offset_ms;     /* the service clock (proto/base/clock.h) of its expiry times, */
    uint64_t clock_boot;          /* and the boot that it counts from; 0: unknown */
    uint64_t clock_check;         /* arena_clock_check() */
    struct arena_intent intent;
    uint8_t pad1[88];
    struct arena_applied applied[ARENA_CHANNELS_MAX];
    struct arena_redo redo[ARENA_REDO_INLINE];
};
_Static_assert(sizeof(struct arena_header) == 4096, "header layout");
_Static_assert(offsetof(struct arena_header, spare) == 64, "header layout");
_Static_assert(offsetof(struct arena_header, clock_offset_ms) == 104, "header layout");
_Static_assert(offsetof(struct arena_header, intent) == 128, "header layout");
_Static_assert(offsetof(struct arena_header, applied) == 256, "header layout");

/* Odd while a bucket of the stripe changes. Stripe of bucket b is b % ARENA_STRIPES. */
struct arena_stripe {
    _Atomic uint64_t sequence;
};

/*
 * A slot word: bits 0..39 the record's offset in grains (0: the slot is empty), bits 40..47 zero,
 * bits 48..63 the tag, the low 16 bits of the key's hash.
 * overflow: offset in grains of the next bucket of the chain, 0 at its end. Overflow buckets are
 * blocks in the heap, aligned to 64 bytes.
 */
struct arena_bucket {
    _Atomic uint64_t slots[ARENA_BUCKET_SLOTS];
    _Atomic uint64_t overflow;
};
_Static_assert(sizeof(struct arena_bucket) == 64, "one cache line");

/* A record: this, then the key, then the value. Never changed while it is visible, but for node. */
struct arena_record {
    uint64_t revision;
    uint64_t expiry_ms; /* ms since the epoch; 0 never */
    uint32_t value_len;
    uint32_t checksum; /* arena_checksum() */
    uint32_t node;     /* the store's own: its place in the eviction order; not in the checksum */
    uint16_t key_len;
    uint8_t service; /* enum service */
    uint8_t space;   /* enum arena_space */
};
_Static_assert(sizeof(struct arena_record) == 32, "record layout");

static inline unsigned arena_record_table(const struct arena_record *record)
{
    return arena_table((enum service)record->service, (enum arena_space)record->space);
}

struct arena_geometry {
    uint64_t size; /* of the memfd, rounded down to whole chunks behind the index */
    uint64_t stripes_offset;
    uint64_t index_offset;
    uint64_t buckets;
    uint64_t heap_offset; /* a multiple of 64 */
    uint64_t chunks;
};

/* False when size is outside ARENA_SIZE_MIN..ARENA_SIZE_MAX. */
bool arena_geometry(uint64_t size, struct arena_geometry *geometry_r);

/* Longest value that a record can hold in an arena of this geometry: a third of the heap, which is
 * more than the quarter of [memory] size that max_value may be. */
uint64_t arena_value_max(const struct arena_geometry *geometry);

uint64_t arena_hash(uint64_t seed, unsigned table, struct bytes key);
static inline uint64_t arena_bucket_of(uint64_t hash, uint64_t buckets)
{
    return (uint64_t)(((unsigned __int128)hash * buckets) >> 64);
}

#define ARENA_WORD_OFFSET_MASK (((uint64_t)1 << 40) - 1)
static inline uint64_t arena_word(uint64_t hash, uint64_t offset)
{
    return (hash & 0xffff) << 48 | offset / ARENA_GRAIN;
}
static inline uint64_t arena_word_offset(uint64_t word)
{
    return (word & ARENA_WORD_OFFSET_MASK) * ARENA_GRAIN;
}
static inline bool arena_word_matches(uint64_t word, uint64_t hash)
{
    return word != 0 && word >> 48 == (hash & 0xffff);
}

/* Over magic (as it will be), version, header_size, size, generation and hash_seed. */
uint64_t arena_identity_check(const struct arena_header *header);
/* Over clock_offset_ms and clock_boot; never 0. */
uint64_t arena_clock_check(const struct arena_header *header);
/* Over the other fields of *spare; never 0. */
uint64_t arena_spare_check(const struct arena_spare *spare);

/* Over revision, expiry, lengths, service and space of *record and the key and value at body. */
uint32_t arena_checksum(const struct arena_record *record, const uint8_t *body);

/*
 * Copies between shared and private memory in atomic pieces of up to 64 bits, so that a concurrent
 * writer is no data race; what was copied is trusted only after the stripe check. What is copied
 * out begins at a multiple of 8, as records and buckets do.
 */
void arena_copy_out(void *to, const void *shared, size_t len);
void arena_copy_in(void *shared, const void *from, size_t len);

#endif
