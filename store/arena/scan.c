/*
 * scan - how many records a table has, and the order of its keys, for walks. Runs in a store.
 *
 * A table that is walked for the first time has its keys put in order (sorted.h); from then on the
 * order follows every record that is added or taken away. It is private memory: who never walks
 * pays nothing for it, and after a restart it is made again at the first walk.
 */
#include "proto/base/log.h"
#include "store/arena/internal.h"

enum {
    PIECE = 1024, /* buckets between signs of life */
    AHEAD = 8,    /* buckets whose records are fetched while one is looked at */
};

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* The record behind a reference: the place of its slot in the arena. */
static struct arena_record *record_of(const struct arena_writer *writer, uint64_t ref)
{
    const _Atomic uint64_t *slot = (const void *)(writer->base + ref);
    return record_at(writer, arena_word_offset(load(slot)));
}

static struct bytes key_of(const void *context, uint64_t ref)
{
    return record_key(record_of(context, ref));
}

/* ---- What changes ---- */

static void add(const struct arena_writer *writer, struct sorted *sorted,
                const _Atomic uint64_t *slot)
{
    uint64_t ref = (uint64_t)((const uint8_t *)slot - writer->base);
    sorted_insert(sorted, key_of(writer, ref), ref);
}

void record_added(struct arena_writer *writer, const _Atomic uint64_t *slot)
{
    const struct arena_record *record = record_at(writer, arena_word_offset(load(slot)));
    writer->records[record->space][record->service]++;
    if (writer->sorted[record->space][record->service])
        add(writer, writer->sorted[record->space][record->service], slot);
}

void record_leaves(struct arena_writer *writer, const struct arena_record *record)
{
    struct sorted *sorted = writer->sorted[record->space][record->service];
    writer->records[record->space][record->service]--;
    if (sorted && !sorted_remove(sorted, record_key(record)))
        panic("arena: a record of %s is not in the order of its keys",
              service_name((enum service)record->service));
}

void scan_forget(struct arena_writer *writer)
{
    for (int i = 0; i < ARENA_SPACES * SERVICE_COUNT; i++)
        sorted_close(&writer->sorted[i % ARENA_SPACES][i / ARENA_SPACES]);
}

/* ---- The first walk ---- */

/* Memory is what it waits for. */
static void fetch_ahead(const struct arena_writer *writer, uint64_t number)
{
    if (number >= writer->geometry.buckets)
        return;
    for (int i = 0; i < ARENA_BUCKET_SLOTS; i++)
        __builtin_prefetch(
            record_at(writer, arena_word_offset(load(&writer->index[number].slots[i]))));
}

static void add_chain(const struct arena_writer *writer, uint64_t number, unsigned table,
                      struct sorted *sorted)
{
    struct arena_bucket *bucket = &writer->index[number];
    for (;;) {
        for (int i = 0; i < ARENA_BUCKET_SLOTS; i++) {
            uint64_t word = load(&bucket->slots[i]);
            if (word != 0 &&
                arena_record_table(record_at(writer, arena_word_offset(word))) == table)
                add(writer, sorted, &bucket->slots[i]);
        }
        if (load(&bucket->overflow) == 0)
            return;
        bucket = bucket_at(writer, load(&bucket->overflow) * ARENA_GRAIN);
    }
}

static struct sorted *order_of(struct arena_writer *writer, unsigned table)
{
    struct sorted **sorted = &writer->sorted[table >> 8][table & 0xff];
    uint64_t count = writer->records[table >> 8][table & 0xff];
    if (*sorted)
        return *sorted;
    *sorted = sorted_open(key_of, writer);
    for (uint64_t i = 0; sorted_count(*sorted) < count && i < writer->geometry.buckets; i++) {
        fetch_ahead(writer, i + AHEAD);
        add_chain(writer, i, table, *sorted);
        if (i % PIECE == 0)
            arena_beat();
    }
    return *sorted;
}

/* ---- Walking ---- */

void arena_seek(struct arena_writer *writer, const struct arena_range *range,
                struct arena_cursor *cursor_r)
{
    struct sorted *sorted = order_of(writer, range->table);
    struct sorted_cursor at;
    if (range->reverse && range->to.len == 0)
        sorted_seek_end(sorted, &at);
    else
        sorted_seek(sorted, range->reverse ? range->to : range->from, &at);
    *cursor_r = (struct arena_cursor){*range, at.leaf, at.at};
}

static bool is_beyond(const struct arena_range *range, struct bytes key)
{
    return range->reverse ? bytes_compare(key, range->from) < 0
                          : range->to.len > 0 && bytes_compare(key, range->to) >= 0;
}

bool arena_step(const struct arena_writer *writer, struct arena_cursor *cursor, struct bytes *key_r,
                struct arena_entry *entry_r)
{
    struct sorted_cursor at = {cursor->leaf, cursor->at};
    uint64_t ref;
    if (!(cursor->range.reverse ? sorted_prev(&at, &ref) : sorted_next(&at, &ref)))
        return false;
    const struct arena_record *record = record_of(writer, ref);
    *key_r = record_key(record);
    if (is_beyond(&cursor->range, *key_r))
        return false;
    cursor->leaf = at.leaf;
    cursor->at = at.at;
    *entry_r = (struct arena_entry){
        record->revision, record->expiry_ms, {key_r->data + record->key_len, record->value_len}};
    return true;
}
