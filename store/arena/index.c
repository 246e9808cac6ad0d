/*
 * index - finding slots, as the only writer sees them. Runs in a store; the index has been verified
 * when it was opened, so that what does not fit here is a bug of ours.
 */
#include <string.h>

#include "proto/base/log.h"
#include "store/arena/internal.h"

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static bool is_key(const struct arena_writer *writer, uint64_t word, unsigned table,
                   struct bytes key)
{
    struct arena_record *record = record_at(writer, arena_word_offset(word));
    return arena_record_table(record) == table && bytes_equal(record_key(record), key);
}

bool index_find(const struct arena_writer *writer, unsigned table, struct bytes key, uint64_t hash,
                struct place *place_r)
{
    uint64_t number = arena_bucket_of(hash, writer->geometry.buckets);
    struct arena_bucket *bucket = &writer->index[number];
    _Atomic uint64_t *link = NULL;

    *place_r = (struct place){.bucket = number};
    for (;;) {
        for (int i = 0; i < ARENA_BUCKET_SLOTS; i++) {
            uint64_t word = load(&bucket->slots[i]);
            bool found = arena_word_matches(word, hash) && is_key(writer, word, table, key);
            if (found || (word == 0 && !place_r->slot)) {
                place_r->slot = &bucket->slots[i];
                place_r->holder = bucket;
                place_r->link = link;
            }
            if (found)
                return true;
        }
        link = &bucket->overflow;
        if (load(link) == 0)
            break;
        bucket = bucket_at(writer, load(link) * ARENA_GRAIN);
    }
    if (!place_r->slot)
        place_r->link = link;
    return false;
}

void index_find_record(const struct arena_writer *writer, uint64_t offset, struct place *place_r)
{
    struct arena_record *record = record_at(writer, offset);
    unsigned table = arena_record_table(record);
    uint64_t hash = arena_hash(writer->seed, table, record_key(record));
    if (!index_find(writer, table, record_key(record), hash, place_r) ||
        arena_word_offset(load(place_r->slot)) != offset)
        panic("arena: the record at %llu is not in the index", (unsigned long long)offset);
}

bool index_bucket_empty(const struct arena_bucket *bucket)
{
    for (int i = 0; i < ARENA_BUCKET_SLOTS; i++)
        if (load(&bucket->slots[i]) != 0)
            return false;
    return true;
}
