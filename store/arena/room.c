/*
 * room - making room in a full arena. Runs in a store.
 *
 * In this order: reclaim what has expired; move records together so that a chunk becomes free for
 * another block size; evict from the cache service. Each step is a series of small complete
 * changes, so that a crash in the middle loses nothing but evicted cache entries.
 */
#include "proto/base/log.h"
#include "store/arena/internal.h"

enum {
    RECLAIM_BATCH = 64,
    EVICTIONS_MAX = 65536, /* for one request; then it is refused */
};

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* An overflow bucket that has become empty is cut out of its chain. */
static void unlink_if_empty(struct arena_writer *writer, const struct place *place)
{
    if (!place->link || !index_bucket_empty(place->holder))
        return;
    uint64_t offset = load(place->link) * ARENA_GRAIN;
    publish(writer, place->bucket, place->link, load(&place->holder->overflow), NOBODY);
    heap_free(&writer->heap, offset);
}

void room_remove(struct arena_writer *writer, const struct place *place, struct arena_origin origin)
{
    uint64_t offset = arena_word_offset(load(place->slot));
    struct arena_record *record = record_at(writer, offset);
    publish(writer, place->bucket, place->slot, 0, origin);
    if (record->node != RECENCY_NONE)
        recency_remove(&writer->recency, record->node);
    writer->records[record->service]--;
    heap_free(&writer->heap, offset);
    unlink_if_empty(writer, place);
}

static void remove_at(struct arena_writer *writer, uint64_t offset)
{
    struct place place;
    index_find_record(writer, offset, &place);
    room_remove(writer, &place, NOBODY);
}

unsigned arena_reclaim(struct arena_writer *writer, uint64_t now_ms, unsigned limit)
{
    unsigned done = 0;
    uint64_t offset;
    while (done < limit && (offset = recency_due(&writer->recency, now_ms)) != 0) {
        struct arena_record *record = record_at(writer, offset);
        if (record->expiry_ms > now_ms)
            break; /* the clock was set back; its time will come again */
        remove_at(writer, offset);
        writer->expired++;
        done++;
    }
    return done;
}

static bool evict(struct arena_writer *writer)
{
    uint64_t offset = recency_victim(&writer->recency);
    if (offset == 0)
        return false;
    remove_at(writer, offset);
    writer->evicted++;
    return true;
}

/* Moves one record to another block, or evicts it. False when neither can be done. */
static bool move_record(struct arena_writer *writer, uint64_t from)
{
    struct arena_record *record = record_at(writer, from);
    uint64_t to = heap_alloc(&writer->heap, record_size(record));
    if (to == 0) {
        if (record->node == RECENCY_NONE || !recency_evictable(&writer->recency, record->node))
            return false;
        remove_at(writer, from);
        writer->evicted++;
        return true;
    }
    struct place place;
    index_find_record(writer, from, &place);
    arena_copy_in(record_at(writer, to), record, record_size(record));
    if (record->node != RECENCY_NONE)
        recency_move(&writer->recency, record->node, to);
    uint64_t tag = load(place.slot) & ~ARENA_WORD_OFFSET_MASK;
    publish(writer, place.bucket, place.slot, tag | to / ARENA_GRAIN, NOBODY);
    heap_free(&writer->heap, from);
    writer->moved++;
    return true;
}

static bool empty_chunk(struct arena_writer *writer, uint32_t chunk)
{
    uint32_t cursor = 0;
    uint64_t offset;
    while ((offset = heap_next_used(&writer->heap, chunk, &cursor)) != 0)
        if (!move_record(writer, offset))
            return false;
    return true;
}

/* Frees n neighbouring chunks by moving what is in them elsewhere. */
static bool compact(struct arena_writer *writer, uint32_t n)
{
    uint32_t first;
    if (!heap_cheapest_window(&writer->heap, n, &first))
        return false;
    bool emptied = true;
    for (uint32_t i = first; i < first + n; i++)
        heap_hold(&writer->heap, i, true);
    for (uint32_t i = first; i < first + n && emptied; i++)
        emptied = empty_chunk(writer, i);
    for (uint32_t i = first; i < first + n; i++)
        heap_hold(&writer->heap, i, false);
    return emptied;
}

static uint64_t take(struct arena_writer *writer, uint64_t size, bool bucket)
{
    return bucket ? heap_alloc_bucket(&writer->heap) : heap_alloc(&writer->heap, size);
}

/* Whether moving records together could make room: all that is free would be enough. */
static bool worth_compacting(const struct arena_writer *writer, uint32_t chunks)
{
    return heap_available(&writer->heap) >= (uint64_t)chunks * ARENA_CHUNK;
}

uint64_t room_for(struct arena_writer *writer, uint64_t size, bool bucket, uint64_t now_ms)
{
    uint32_t chunks = bucket ? 1 : heap_chunks_for(size);
    uint64_t offset = take(writer, size, bucket);
    while (offset == 0 && arena_reclaim(writer, now_ms, RECLAIM_BATCH) > 0)
        offset = take(writer, size, bucket);
    for (unsigned evictions = 0; offset == 0; evictions++) {
        if (worth_compacting(writer, chunks) && compact(writer, chunks))
            return take(writer, size, bucket);
        if (evictions == EVICTIONS_MAX || !evict(writer))
            return 0;
        offset = take(writer, size, bucket);
    }
    return offset;
}
