/*
 * verify - taking over an arena after a restart: check every record, rebuild what is private, or
 * wipe. Runs in a store when it starts; about 0.3 s for a million records.
 *
 * Whatever a predecessor's crash can leave is sound by construction (layout.h), so anything odd
 * found here is damage, and then nothing in the arena is believed.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "proto/base/log.h"
#include "store/arena/internal.h"

struct check {
    struct arena_writer *writer;
    uint64_t now_ms;
    uint64_t newest; /* highest revision met */
    char *damage;
    size_t damage_size;
};

static bool damaged(struct check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool damaged(struct check *check, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(check->damage, check->damage_size, format, args);
    va_end(args);
    return false;
}

static bool in_heap(const struct arena_geometry *g, uint64_t offset, uint64_t len)
{
    return offset >= g->heap_offset && offset <= g->size && len <= g->size - offset;
}

static bool check_record(struct check *check, uint64_t bucket, uint64_t word)
{
    struct arena_writer *writer = check->writer;
    uint64_t offset = arena_word_offset(word);
    unsigned long long at = offset;

    if (!in_heap(&writer->geometry, offset, sizeof(struct arena_record)))
        return damaged(check, "slot word %llx points outside", (unsigned long long)word);
    struct arena_record *record = record_at(writer, offset);
    if (record->key_len == 0 || record->key_len > KEY_MAX || record->service >= SERVICE_COUNT ||
        record->flags != 0 || !in_heap(&writer->geometry, offset, record_size(record)))
        return damaged(check, "the record at %llu has an impossible header", at);
    if (record->checksum != arena_checksum(record, record_body(record)))
        return damaged(check, "the record at %llu does not match its checksum", at);
    uint64_t hash = arena_hash(writer->seed, (enum service)record->service, record_key(record));
    if (arena_bucket_of(hash, writer->geometry.buckets) != bucket ||
        word != arena_word(hash, offset))
        return damaged(check, "the record at %llu is in the wrong bucket", at);
    if (!heap_claim(&writer->heap, offset, record_size(record)))
        return damaged(check, "the record at %llu overlaps another", at);

    uint32_t node = record->expiry_ms == 0
                        ? RECENCY_NONE
                        : recency_add(&writer->recency, offset, record->expiry_ms,
                                      record->service == SERVICE_CACHE);
    atomic_store_explicit((_Atomic uint32_t *)&record->node, node, memory_order_relaxed);
    writer->records[record->service]++;
    if (record->revision > check->newest)
        check->newest = record->revision;
    return true;
}

static bool check_chain(struct check *check, uint64_t number)
{
    struct arena_writer *writer = check->writer;
    struct arena_bucket *bucket = &writer->index[number];
    for (;;) {
        for (int i = 0; i < ARENA_BUCKET_SLOTS; i++) {
            uint64_t word = atomic_load_explicit(&bucket->slots[i], memory_order_relaxed);
            if (word != 0 && !check_record(check, number, word))
                return false;
        }
        uint64_t next = atomic_load_explicit(&bucket->overflow, memory_order_relaxed);
        if (next == 0)
            return true;
        /* Claiming it also ends a chain that runs in a circle. */
        if (next > ARENA_WORD_OFFSET_MASK || !heap_claim_bucket(&writer->heap, next * ARENA_GRAIN))
            return damaged(check, "bucket %llu has a bad overflow link",
                           (unsigned long long)number);
        bucket = bucket_at(writer, next * ARENA_GRAIN);
    }
}

static bool check_header(struct check *check)
{
    struct arena_writer *writer = check->writer;
    const struct arena_header *header = writer->header;
    if (memcmp(header->magic, ARENA_MAGIC, sizeof header->magic) != 0 ||
        header->identity_check != arena_identity_check(header) || header->size != writer->size ||
        header->state != ARENA_READY)
        return damaged(check, "the header is not this arena's");
    if (!publish_redo(writer))
        return damaged(check, "the intent does not match its checksum");
    for (int i = 0; i < ARENA_CHANNELS_MAX; i++)
        if (header->applied[i].count != ~header->applied[i].inverse)
            return damaged(check, "the mark of channel %d is damaged", i);
    return true;
}

static void forget_everything(struct arena_writer *writer, uint64_t now_ms)
{
    heap_reset(&writer->heap);
    recency_close(&writer->recency);
    recency_open(&writer->recency, now_ms);
    memset(writer->records, 0, sizeof writer->records);
}

bool verify(struct arena_writer *writer, uint64_t now_ms, char *damage, size_t damage_size)
{
    struct check check = {
        .writer = writer, .now_ms = now_ms, .damage = damage, .damage_size = damage_size};
    writer->seed = writer->header->hash_seed;
    if (!check_header(&check))
        return false;
    publish_close_stripes(writer, false);
    for (uint64_t i = 0; i < writer->geometry.buckets; i++)
        if (!check_chain(&check, i))
            return false;
    heap_claimed(&writer->heap);
    /* A revision given out before a crash may have no record any more; one beyond all clocks can
     * only be damage. */
    uint64_t given = writer->header->revision;
    if (given < check.newest || given > now_ms * 4000)
        return damaged(&check, "revision %llu is impossible", (unsigned long long)given);
    return true;
}

void wipe(struct arena_writer *writer, uint64_t now_ms)
{
    struct arena_header *header = writer->header;
    uint64_t seed;

    atomic_store_explicit(&header->state, ARENA_RAW, memory_order_release);
    publish_close_stripes(writer, true);
    forget_everything(writer, now_ms);
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        panic("getrandom gave nothing");

    header->version = ARENA_VERSION;
    header->header_size = sizeof *header;
    header->size = writer->size;
    header->generation++;
    atomic_store_explicit(&header->hash_seed, seed, memory_order_release);
    header->identity_check = arena_identity_check(header);
    writer->seed = seed;
    /* Microseconds: revisions of a new generation are above those of any former one. */
    header->revision = now_ms * 1000;
    memset(&header->intent, 0, sizeof header->intent);
    for (int i = 0; i < ARENA_CHANNELS_MAX; i++) {
        header->applied[i].count = 0;
        header->applied[i].inverse = ~(uint64_t)0;
    }
    for (uint64_t i = 0; i < writer->geometry.buckets; i++) {
        for (int slot = 0; slot < ARENA_BUCKET_SLOTS; slot++)
            atomic_store_explicit(&writer->index[i].slots[slot], 0, memory_order_release);
        atomic_store_explicit(&writer->index[i].overflow, 0, memory_order_release);
    }
    publish_close_stripes(writer, false);
    memcpy(header->magic, ARENA_MAGIC, sizeof header->magic);
    atomic_store_explicit(&header->state, ARENA_READY, memory_order_release);
}
