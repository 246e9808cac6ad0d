/*
 * room - making room in a full arena. Runs in a store.
 *
 * In this order: reclaim what has expired; move records together so that a chunk becomes free for
 * another block size; evict from the cache service. Each step is a series of small complete
 * changes, so that a crash in the middle loses nothing but evicted cache entries.
 *
 * A record is never changed in place, so even one that does not grow needs room for a moment: that
 * is what the heap's reserve is for. What took of it gives it back at once where it can.
 */
#include "proto/base/log.h"
#include "store/arena/internal.h"

enum {
    RECLAIM_BATCH = 64,
    RECLAIMS_MAX = 256,    /* batches for one request */
    EVICTIONS_MAX = 65536, /* for one request; then it is refused */
    WINDOWS_MAX = 16,      /* tried for one compaction */
    COMPACTION_REST = 64,  /* evictions before the next try after one that failed */
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

void room_tidy(struct arena_writer *writer, uint64_t number)
{
    _Atomic uint64_t *link = &writer->index[number].overflow;
    while (load(link) != 0) {
        uint64_t offset = load(link) * ARENA_GRAIN;
        struct arena_bucket *bucket = bucket_at(writer, offset);
        if (index_bucket_empty(bucket)) {
            publish(writer, number, link, load(&bucket->overflow), NOBODY);
            heap_free(&writer->heap, offset);
        } else {
            link = &bucket->overflow;
        }
    }
}

void room_remove(struct arena_writer *writer, const struct place *place, struct arena_origin origin)
{
    uint64_t offset = arena_word_offset(load(place->slot));
    struct arena_record *record = record_at(writer, offset);
    record_leaves(writer, record);
    publish(writer, place->bucket, place->slot, 0, origin);
    if (record->node != RECENCY_NONE)
        recency_remove(&writer->recency, record->node);
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

/* Moves one record to another block; or else evicts it, if it may. False when neither is done. */
static bool move_record(struct arena_writer *writer, uint64_t from, bool may_evict)
{
    struct arena_record *record = record_at(writer, from);
    uint64_t to = heap_alloc(&writer->heap, record_size(record));
    if (to == 0) {
        if (!may_evict || record->node == RECENCY_NONE ||
            !recency_evictable(&writer->recency, record->node))
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
        if (!move_record(writer, offset, true))
            return false;
    return true;
}

static bool empty_window(struct arena_writer *writer, uint32_t first, uint32_t n)
{
    bool emptied = true;
    for (uint32_t i = first; i < first + n; i++)
        heap_hold(&writer->heap, i, true);
    for (uint32_t i = first; i < first + n && emptied; i++)
        emptied = empty_chunk(writer, i);
    for (uint32_t i = first; i < first + n; i++)
        heap_hold(&writer->heap, i, false);
    return emptied;
}

/* Frees n neighbouring chunks by moving what is in them elsewhere. What a window holds may find no
 * other place, so a few are tried. */
static bool compact(struct arena_writer *writer, uint32_t n)
{
    struct heap_window window = HEAP_WINDOW_START;
    for (int i = 0; i < WINDOWS_MAX && heap_next_window(&writer->heap, n, &window); i++)
        if (empty_window(writer, (uint32_t)window.first, n))
            return true;
    return false;
}

static uint64_t take(struct arena_writer *writer, uint64_t size, bool bucket)
{
    return bucket ? heap_alloc_bucket(&writer->heap) : heap_alloc(&writer->heap, size);
}

/* Moves records together if that could make room: all that is free would be enough. One that came
 * to nothing is not tried again at once, unless there is nothing left to evict. */
static bool may_compact(struct arena_writer *writer, uint32_t chunks, bool last_resort)
{
    if (heap_available(&writer->heap) < (uint64_t)chunks * ARENA_CHUNK)
        return false;
    if (!last_resort && writer->compaction_rest > 0) {
        writer->compaction_rest--;
        return false;
    }
    if (compact(writer, chunks))
        return true;
    writer->compaction_rest = COMPACTION_REST;
    return false;
}

uint64_t room_for(struct arena_writer *writer, uint64_t size, bool bucket, uint64_t now_ms)
{
    uint32_t chunks = bucket ? 1 : heap_chunks_for(size);
    uint64_t offset = take(writer, size, bucket);
    for (unsigned i = 0; offset == 0 && i < RECLAIMS_MAX; i++) {
        if (arena_reclaim(writer, now_ms, RECLAIM_BATCH) == 0)
            break;
        offset = take(writer, size, bucket);
    }
    for (unsigned evictions = 0; offset == 0; evictions++) {
        if (may_compact(writer, chunks, false))
            return take(writer, size, bucket);
        if (evictions == EVICTIONS_MAX || !evict(writer))
            return may_compact(writer, chunks, true) ? take(writer, size, bucket) : 0;
        offset = take(writer, size, bucket);
    }
    return offset;
}

uint64_t room_to_replace(struct arena_writer *writer, const struct arena_record *old, uint64_t size)
{
    return heap_fits(size, record_size(old)) ? heap_alloc_reserved(&writer->heap, size) : 0;
}

void room_give_back(struct arena_writer *writer, uint64_t offset)
{
    uint32_t chunk = heap_slab_of(&writer->heap, offset);
    if (chunk == HEAP_NONE)
        return; /* a run is as good as the one that it replaced */
    heap_hold(&writer->heap, chunk, true);
    move_record(writer, offset, false);
    heap_hold(&writer->heap, chunk, false);
}
