/*
 * writer - lookups and changes, see writer.h. Runs in a store.
 */
#include "store/arena/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "proto/base/clock.h"
#include "proto/base/failpoint.h"
#include "proto/base/log.h"
#include "store/arena/internal.h"

enum {
    RESERVE_SHARE = 128, /* of the chunks */
    RESERVE_MAX = 64,    /* chunks */
    ALLOCATE_STEP = 64 << 20,
};

/* ---- Opening ---- */

/* New, or its wiping was cut short: there is nothing in it. A spare that is only damaged does not
 * say so. */
static bool is_raw(const struct arena_header *header)
{
    static const char zeros[sizeof header->magic];
    bool unfinished = memcmp(header->magic, zeros, sizeof zeros) == 0 || header->state == ARENA_RAW;
    return unfinished && header->spare.check == 0;
}

/* False when the header is that of another program or version: not ours to wipe. */
static bool is_known(const struct arena_header *header, char *reason, size_t reason_size)
{
    if (memcmp(header->magic, ARENA_MAGIC, sizeof header->magic) == 0 &&
        header->identity_check == arena_identity_check(header) && !arena_version_known(header)) {
        snprintf(reason, reason_size,
                 "the arena has version %u, this program needs version %d to %d", header->version,
                 ARENA_VERSION_FIRST, ARENA_VERSION);
        return false;
    }
    return true;
}

static void take_over(struct arena_writer *writer, uint64_t now_ms, struct arena_report *report)
{
    uint64_t start = clock_ns();
    if (writer->role == ARENA_CACHE || is_raw(writer->header)) {
        report->found_as = ARENA_WAS_RAW;
        wipe(writer, now_ms);
    } else if (verify(writer, report)) {
        bool sound = report->quarantined == 0 && report->mended == 0;
        report->found_as = sound ? ARENA_WAS_SOUND : ARENA_WAS_MENDED;
    } else {
        report->found_as = ARENA_WAS_DAMAGED;
        wipe(writer, now_ms);
    }
    for (int i = 0; i < SERVICE_COUNT * ARENA_SPACES; i++)
        report->records += writer->records[i % ARENA_SPACES][i / ARENA_SPACES];
    report->elapsed_ns = clock_ns() - start;
}

/* Chunks that only what does not grow may take for a moment. */
static uint32_t reserve_of(const struct arena_geometry *geometry)
{
    uint64_t share = geometry->chunks / RESERVE_SHARE;
    return share < 1 ? 1 : share > RESERVE_MAX ? RESERVE_MAX : (uint32_t)share;
}

static struct arena_writer *open_over(void *base, uint64_t size, int fd, enum arena_role role,
                                      uint64_t now_ms, struct arena_report *report_r, char *reason,
                                      size_t reason_size)
{
    struct arena_geometry geometry;
    if (!arena_geometry(size, &geometry)) {
        snprintf(reason, reason_size, "an arena cannot have %llu bytes", (unsigned long long)size);
        return NULL;
    }
    if (!is_known(base, reason, reason_size))
        return NULL;
    struct arena_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        panic("out of memory");
    writer->base = base;
    writer->size = size;
    writer->role = role;
    writer->geometry = geometry;
    writer->header = base;
    writer->stripes = (void *)(writer->base + geometry.stripes_offset);
    writer->index = (void *)(writer->base + geometry.index_offset);
    heap_open(&writer->heap, &geometry, fd);
    if (role == ARENA_DATA)
        writer->heap.reserve = reserve_of(&geometry);
    recency_open(&writer->recency, now_ms);
    *report_r = (struct arena_report){0};
    take_over(writer, now_ms, report_r);
    return writer;
}

struct arena_writer *arena_writer_attach(void *base, uint64_t size, enum arena_role role,
                                         uint64_t now_ms, struct arena_report *report_r,
                                         char *reason, size_t reason_size)
{
    return open_over(base, size, -1, role, now_ms, report_r, reason, reason_size);
}

/* Header and index are touched at random: their pages are allocated now, the heap's as it fills. */
static bool allocate_index(int fd, uint64_t end, char *reason, size_t reason_size)
{
    for (uint64_t at = 0; at < end; at += ALLOCATE_STEP) {
        uint64_t len = end - at < ALLOCATE_STEP ? end - at : ALLOCATE_STEP;
        if (!heap_allocate_pages(fd, at, len)) {
            snprintf(reason, reason_size,
                     "cannot have %llu MiB of memory for the arena's index: %s",
                     (unsigned long long)(end >> 20), strerror(errno));
            return false;
        }
        arena_beat();
    }
    return true;
}

static void *map(int fd, uint64_t size, uint64_t index_end, char *reason, size_t reason_size)
{
    if (!allocate_index(fd, index_end, reason, reason_size))
        return NULL;
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        snprintf(reason, reason_size, "cannot map the arena: %s", strerror(errno));
        return NULL;
    }
    madvise(base, size, MADV_DONTDUMP); /* it is others' data, and may be large */
    return base;
}

struct arena_writer *arena_writer_open(int fd, enum arena_role role, uint64_t now_ms,
                                       struct arena_report *report_r, char *reason,
                                       size_t reason_size)
{
    struct stat info;
    struct arena_geometry geometry;
    if (fstat(fd, &info) != 0 || !arena_geometry((uint64_t)info.st_size, &geometry)) {
        snprintf(reason, reason_size, "descriptor %d is no arena", fd);
        return NULL;
    }
    void *base = map(fd, (uint64_t)info.st_size, geometry.heap_offset, reason, reason_size);
    if (!base)
        return NULL;
    struct arena_writer *writer =
        open_over(base, (uint64_t)info.st_size, fd, role, now_ms, report_r, reason, reason_size);
    if (writer)
        writer->mapped = true;
    else
        munmap(base, (size_t)info.st_size);
    return writer;
}

void arena_writer_close(struct arena_writer **writer)
{
    scan_forget(*writer);
    heap_close(&(*writer)->heap);
    recency_close(&(*writer)->recency);
    if ((*writer)->mapped)
        munmap((*writer)->base, (*writer)->size);
    free(*writer);
    *writer = NULL;
}

void arena_note_clock(struct arena_writer *writer, uint64_t offset_ms, uint64_t boot)
{
    writer->header->clock_offset_ms = offset_ms;
    writer->header->clock_boot = boot;
    writer->header->clock_check = arena_clock_check(writer->header);
}

uint64_t arena_applied(const struct arena_writer *writer, uint32_t channel)
{
    return atomic_load_explicit(&writer->header->applied[channel].count, memory_order_relaxed);
}

void arena_forget(struct arena_writer *writer, uint32_t channel)
{
    publish_applied(writer, channel, 0);
}

/* ---- Reading ---- */

static bool expired(const struct arena_record *record, uint64_t now_ms)
{
    return record->expiry_ms != 0 && record->expiry_ms <= now_ms;
}

static struct arena_record *record_in(const struct arena_writer *writer, const struct place *place)
{
    uint64_t word = atomic_load_explicit(place->slot, memory_order_relaxed);
    return record_at(writer, arena_word_offset(word));
}

enum status arena_get(const struct arena_writer *writer, unsigned table, struct bytes key,
                      uint64_t now_ms, struct arena_entry *entry_r)
{
    struct place place;
    uint64_t hash = arena_hash(writer->seed, table, key);
    if (!index_find(writer, table, key, hash, &place))
        return STATUS_NOT_FOUND;
    struct arena_record *record = record_in(writer, &place);
    if (expired(record, now_ms))
        return STATUS_NOT_FOUND;
    *entry_r = (struct arena_entry){
        .revision = record->revision,
        .expiry_ms = record->expiry_ms,
        .value = {record_body(record) + record->key_len, record->value_len},
    };
    return STATUS_OK;
}

uint64_t arena_revision(const struct arena_writer *writer)
{
    return atomic_load_explicit(&writer->header->revision, memory_order_relaxed);
}

uint64_t arena_next_revision(struct arena_writer *writer)
{
    return record_next_revision(writer);
}

/* ---- Changing ---- */

void record_raise_version(struct arena_writer *writer)
{
    struct arena_header *header = writer->header;
    if (header->version == ARENA_VERSION)
        return;
    header->version = ARENA_VERSION;
    failpoint("arena.version_raised");
    header->identity_check = arena_identity_check(header);
}

uint64_t record_next_revision(struct arena_writer *writer)
{
    uint64_t revision = atomic_load_explicit(&writer->header->revision, memory_order_relaxed) + 1;
    atomic_store_explicit(&writer->header->revision, revision, memory_order_release);
    return revision;
}

void record_build(struct arena_writer *writer, uint64_t offset, struct arena_record head,
                  struct bytes key, struct bytes value)
{
    uint8_t *to = writer->base + offset;
    /* Header and key start aligned; the value follows wherever the key ends. */
    arena_copy_in(to + sizeof head, key.data, key.len);
    arena_copy_in(to + sizeof head + key.len, value.data, value.len);
    head.checksum = arena_checksum(&head, to + sizeof head);
    arena_copy_in(to, &head, sizeof head);
}

/*
 * Where the record will hang. A full chain needs an overflow bucket, and making room for that may
 * move everything, so look again after it. *spare_r: the bucket to link, or 0.
 */
static bool find_place(struct arena_writer *writer, unsigned table, struct bytes key, uint64_t hash,
                       uint64_t now_ms, struct place *place_r, uint64_t *spare_r)
{
    *spare_r = 0;
    bool exists = index_find(writer, table, key, hash, place_r);
    if (exists || place_r->slot)
        return exists;
    uint64_t spare = room_for(writer, 0, true, now_ms);
    exists = index_find(writer, table, key, hash, place_r);
    if (spare && place_r->slot)
        heap_free(&writer->heap, spare);
    else
        *spare_r = spare;
    return exists;
}

static void replace(struct arena_writer *writer, const struct place *place, uint64_t word,
                    struct arena_origin origin)
{
    uint64_t old = arena_word_offset(atomic_load_explicit(place->slot, memory_order_relaxed));
    publish(writer, place->bucket, place->slot, word, origin);
    heap_free(&writer->heap, old);
}

static void insert(struct arena_writer *writer, const struct place *place, uint64_t spare,
                   uint64_t word, struct arena_origin origin)
{
    struct arena_bucket fresh = {.slots = {word}};
    if (spare) {
        arena_copy_in(bucket_at(writer, spare), &fresh, sizeof fresh);
        publish(writer, place->bucket, place->link, spare / ARENA_GRAIN, origin);
    } else {
        publish(writer, place->bucket, place->slot, word, origin);
    }
    record_added(writer, spare ? &bucket_at(writer, spare)->slots[0] : place->slot);
}

bool record_may_go(unsigned table)
{
    return (table & 0xff) == SERVICE_CACHE && table >> 8 != ARENA_PARTS;
}

uint32_t record_choose_node(struct arena_writer *writer, const struct arena_record *old,
                            uint64_t offset, unsigned table, uint64_t expiry_ms)
{
    uint32_t node = old ? old->node : RECENCY_NONE;
    if (expiry_ms == 0 && writer->role == ARENA_DATA) {
        if (node != RECENCY_NONE)
            recency_remove(&writer->recency, node);
        return RECENCY_NONE;
    }
    if (node == RECENCY_NONE)
        return recency_add(&writer->recency, offset, expiry_ms,
                           writer->role == ARENA_CACHE || record_may_go(table));
    recency_renew(&writer->recency, node, offset, expiry_ms);
    return node;
}

enum status record_store(struct arena_writer *writer, unsigned table, struct bytes key,
                         struct bytes value, uint64_t expiry_ms, struct arena_origin origin,
                         uint64_t now_ms, uint64_t *revision)
{
    if (value.len > arena_value_max(&writer->geometry))
        return STATUS_FULL;
    struct place place;
    uint64_t spare;
    uint64_t hash = arena_hash(writer->seed, table, key);
    uint64_t size = sizeof(struct arena_record) + key.len + value.len;
    uint64_t offset = room_for(writer, size, false, now_ms);
    bool borrowed = offset == 0 && index_find(writer, table, key, hash, &place);
    if (borrowed)
        offset = room_to_replace(writer, record_in(writer, &place), size);
    if (offset == 0)
        return STATUS_FULL;
    if (table >= arena_table(0, 1))
        record_raise_version(writer);
    heap_pin(&writer->heap, offset);
    bool exists = find_place(writer, table, key, hash, now_ms, &place, &spare);
    heap_unpin(&writer->heap, offset);
    if (!exists && !place.slot && !spare) {
        heap_free(&writer->heap, offset);
        return STATUS_FULL;
    }
    struct arena_record *old = exists ? record_in(writer, &place) : NULL;
    struct arena_record head = {
        .revision = *revision ? *revision : record_next_revision(writer),
        .expiry_ms = expiry_ms,
        .value_len = (uint32_t)value.len,
        .node = record_choose_node(writer, old, offset, table, expiry_ms),
        .key_len = (uint16_t)key.len,
        .service = (uint8_t)table,
        .space = (uint8_t)(table >> 8),
    };
    record_build(writer, offset, head, key, value);
    uint64_t word = arena_word(hash, offset);
    if (exists) {
        replace(writer, &place, word, origin);
        if (borrowed)
            room_give_back(writer, offset);
    } else {
        insert(writer, &place, spare, word, origin);
    }
    *revision = head.revision;
    return STATUS_OK;
}

enum status arena_put(struct arena_writer *writer, unsigned table, struct bytes key,
                      struct bytes value, uint64_t expiry_ms, struct arena_origin origin,
                      uint64_t now_ms, uint64_t *revision_r)
{
    *revision_r = 0;
    return record_store(writer, table, key, value, expiry_ms, origin, now_ms, revision_r);
}

enum status arena_load(struct arena_writer *writer, unsigned table, struct bytes key,
                       struct bytes value, uint64_t expiry_ms, uint64_t revision, uint64_t now_ms)
{
    return record_store(writer, table, key, value, expiry_ms, NOBODY, now_ms, &revision);
}

enum status arena_delete(struct arena_writer *writer, unsigned table, struct bytes key,
                         struct arena_origin origin, uint64_t now_ms)
{
    struct place place;
    uint64_t hash = arena_hash(writer->seed, table, key);
    if (!index_find(writer, table, key, hash, &place) || expired(record_in(writer, &place), now_ms))
        return STATUS_NOT_FOUND;
    record_next_revision(writer);
    room_remove(writer, &place, origin);
    return STATUS_OK;
}

void arena_hit(struct arena_writer *writer, uint64_t word)
{
    uint64_t offset = arena_word_offset(word);
    const struct arena_geometry *g = &writer->geometry;
    if (offset < g->heap_offset || offset > g->size - sizeof(struct arena_record))
        return;
    /* Whatever lies there now: the node knows whose it is. */
    recency_hit(&writer->recency, record_at(writer, offset)->node, offset);
}

void arena_stats(const struct arena_writer *writer, struct arena_stats *stats_r)
{
    *stats_r = (struct arena_stats){
        .size = heap_size(&writer->heap),
        .used = writer->heap.used,
        .evicted = writer->evicted,
        .expired = writer->expired,
        .moved = writer->moved,
        .quarantined = writer->header->quarantined,
        .generation = writer->header->generation,
    };
    for (int i = 0; i < SERVICE_COUNT; i++) {
        stats_r->records[i] = writer->records[ARENA_OWN][i] + writer->records[ARENA_NAMED][i];
        stats_r->parts[i] = writer->records[ARENA_PARTS][i];
    }
}
