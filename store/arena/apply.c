/*
 * apply - a transaction: several writes that become visible together or not at all, whatever the
 * instant of a crash. Runs in a store.
 *
 * First all room that is needed is made, which may evict and move other records. Then every write
 * gets its place in the index, its record is built where nobody sees it yet, and publish_all()
 * stores the words. Only after that are the old records' blocks given back.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "store/arena/internal.h"

enum { FEW = 16 };

/* One write on its way. */
struct step {
    struct arena_write *write;
    uint64_t hash;
    uint64_t block;               /* for its record; 0: it removes */
    uint64_t old;                 /* the record that is there now; 0: none */
    uint64_t bucket;              /* its chain */
    _Atomic uint64_t *slot;       /* where its word goes; NULL: in a spare bucket, or nowhere */
    const _Atomic uint64_t *seen; /* where it is then */
    unsigned table;
    bool borrowed; /* out of the reserve */
};

/* An overflow bucket that is filled before it is linked. */
struct spare {
    uint64_t offset;
    uint64_t bucket;
    _Atomic uint64_t *link; /* where it will hang; NULL: behind another spare, or nowhere yet */
    unsigned used;
    struct arena_bucket content;
};

struct apply {
    struct arena_writer *writer;
    struct step *steps;
    unsigned count;
    struct spare *spares;
    unsigned spare_count, spares_used;
    struct publication *words;
    uint32_t word_count;
    uint64_t list; /* block for the words; 0: they have room in the header */
    uint64_t now_ms;
    struct step few[FEW];              /* where steps, ... */
    struct publication few_words[FEW]; /* ... and words are when they are few */
};

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void *make(size_t count, size_t size)
{
    void *made = calloc(count ? count : 1, size);
    if (!made)
        panic("out of memory: a transaction of %zu", count);
    return made;
}

/* ---- Room ---- */

static uint64_t size_of(const struct arena_write *write)
{
    return sizeof(struct arena_record) + write->key.len + write->value.len;
}

static struct arena_record *current(const struct apply *apply, const struct step *step)
{
    struct place place;
    bool found = index_find(apply->writer, step->table, step->write->key, step->hash, &place);
    return found ? record_at(apply->writer, arena_word_offset(load(place.slot))) : NULL;
}

/* Whether it needs more room than there was before; else it may use the reserve. */
static bool grows(const struct apply *apply)
{
    uint64_t before = 0, after = 0;
    for (unsigned i = 0; i < apply->count; i++) {
        const struct arena_record *old = current(apply, &apply->steps[i]);
        before += old ? record_size(old) : 0;
        after += apply->steps[i].write->remove ? 0 : size_of(apply->steps[i].write);
    }
    return after > before;
}

/* A pinned block; 0 when there is no room. */
static uint64_t take(struct apply *apply, uint64_t size, bool *borrowed_r)
{
    struct arena_writer *writer = apply->writer;
    uint64_t block = room_for(writer, size, false, apply->now_ms);
    *borrowed_r = block == 0 && !grows(apply);
    if (*borrowed_r)
        block = heap_alloc_reserved(&writer->heap, size);
    if (block != 0)
        heap_pin(&writer->heap, block);
    return block;
}

static bool take_blocks(struct apply *apply)
{
    bool borrowed;
    for (unsigned i = 0; i < apply->count; i++) {
        struct step *step = &apply->steps[i];
        if (step->write->remove)
            continue;
        if (step->write->value.len > arena_value_max(&apply->writer->geometry))
            return false;
        step->block = take(apply, size_of(step->write), &step->borrowed);
        if (step->block == 0)
            return false;
    }
    /* At most a word for each write: those in a spare bucket share the one that links it. */
    if (apply->count <= ARENA_REDO_INLINE)
        return true;
    apply->list = take(apply, apply->count * sizeof(struct arena_redo), &borrowed);
    return apply->list != 0;
}

static void give_back(struct apply *apply, uint64_t block)
{
    if (block == 0)
        return;
    heap_unpin(&apply->writer->heap, block);
    heap_free(&apply->writer->heap, block);
}

static void give_all_back(struct apply *apply)
{
    for (unsigned i = 0; i < apply->count; i++)
        give_back(apply, apply->steps[i].block);
    give_back(apply, apply->list);
    for (unsigned i = 0; i < apply->spare_count; i++)
        heap_free(&apply->writer->heap, apply->spares[i].offset);
}

/* One more overflow bucket. What was placed may have moved meanwhile. */
static bool take_spare(struct apply *apply)
{
    uint64_t offset = room_for(apply->writer, 0, true, apply->now_ms);
    if (offset == 0)
        return false;
    struct spare *spares =
        reallocarray(apply->spares, apply->spare_count + 1, sizeof *apply->spares);
    if (!spares)
        panic("out of memory: %u overflow buckets", apply->spare_count + 1);
    apply->spares = spares;
    apply->spares[apply->spare_count++] = (struct spare){.offset = offset};
    return true;
}

/* ---- Places ---- */

static bool taken(const struct apply *apply, unsigned before, const _Atomic uint64_t *slot)
{
    for (unsigned i = 0; i < before; i++)
        if (apply->steps[i].slot == slot)
            return true;
    return false;
}

/* A slot of the chain that is vacant and not promised to an earlier write; else NULL and the link
 * at the chain's end. */
static _Atomic uint64_t *vacant_slot(const struct apply *apply, unsigned index,
                                     _Atomic uint64_t **end_r)
{
    struct arena_bucket *bucket = &apply->writer->index[apply->steps[index].bucket];
    for (;;) {
        for (int i = 0; i < ARENA_BUCKET_SLOTS; i++)
            if (load(&bucket->slots[i]) == 0 && !taken(apply, index, &bucket->slots[i]))
                return &bucket->slots[i];
        if (load(&bucket->overflow) == 0)
            break;
        bucket = bucket_at(apply->writer, load(&bucket->overflow) * ARENA_GRAIN);
    }
    *end_r = &bucket->overflow;
    return NULL;
}

/* The chain's spare with a free slot; a new one of those in stock; NULL when that is empty. */
static struct spare *spare_for(struct apply *apply, uint64_t bucket, _Atomic uint64_t *end)
{
    struct spare *last = NULL;
    for (unsigned i = 0; i < apply->spares_used; i++)
        if (apply->spares[i].bucket == bucket)
            last = &apply->spares[i];
    if (last && last->used < ARENA_BUCKET_SLOTS)
        return last;
    if (apply->spares_used == apply->spare_count)
        return NULL;
    struct spare *fresh = &apply->spares[apply->spares_used++];
    *fresh = (struct spare){.offset = fresh->offset, .bucket = bucket, .link = last ? NULL : end};
    if (last)
        last->content.overflow = fresh->offset / ARENA_GRAIN;
    return fresh;
}

/* False when an overflow bucket is lacking. */
static bool place(struct apply *apply, unsigned index)
{
    struct step *step = &apply->steps[index];
    struct arena_writer *writer = apply->writer;
    struct place found;
    _Atomic uint64_t *end = NULL;
    bool exists = index_find(writer, step->table, step->write->key, step->hash, &found);
    step->bucket = found.bucket;
    step->old = exists ? arena_word_offset(load(found.slot)) : 0;
    step->slot = exists ? found.slot : NULL;
    if (exists || step->write->remove)
        return true;
    step->slot = vacant_slot(apply, index, &end);
    step->seen = step->slot;
    if (step->slot)
        return true;
    struct spare *spare = spare_for(apply, step->bucket, end);
    if (!spare)
        return false;
    step->seen = &bucket_at(writer, spare->offset)->slots[spare->used];
    spare->content.slots[spare->used++] = arena_word(step->hash, step->block);
    return true;
}

/* Places all; again from the start after room was made for one more bucket. */
static bool place_all(struct apply *apply)
{
    for (unsigned i = 0; i < apply->count;) {
        if (place(apply, i)) {
            i++;
            continue;
        }
        if (!take_spare(apply))
            return false;
        apply->spares_used = 0;
        i = 0;
    }
    return true;
}

/* ---- Writing ---- */

static void build(struct apply *apply, struct step *step)
{
    struct arena_writer *writer = apply->writer;
    struct arena_write *write = step->write;
    const struct arena_record *old = step->old ? record_at(writer, step->old) : NULL;
    if (write->revision == 0)
        write->revision = record_next_revision(writer);
    const struct arena_record head = {
        .revision = write->revision,
        .expiry_ms = write->expiry_ms,
        .value_len = (uint32_t)write->value.len,
        .node = record_choose_node(writer, old, step->block, step->table, write->expiry_ms),
        .key_len = (uint16_t)write->key.len,
        .service = (uint8_t)write->service,
        .space = (uint8_t)write->space,
    };
    record_build(writer, step->block, head, write->key, write->value);
}

static void add_word(struct apply *apply, uint64_t bucket, _Atomic uint64_t *target, uint64_t word)
{
    apply->words[apply->word_count++] = (struct publication){bucket, target, word};
}

/* Builds what nobody sees yet and lists the words that will show it. */
static void prepare(struct apply *apply)
{
    apply->words =
        apply->count <= FEW ? apply->few_words : make(apply->count, sizeof *apply->words);
    for (unsigned i = 0; i < apply->count; i++) {
        struct step *step = &apply->steps[i];
        if (!step->write->remove)
            build(apply, step);
        if (step->write->remove && step->old)
            record_leaves(apply->writer, record_at(apply->writer, step->old));
        if (step->slot)
            add_word(apply, step->bucket, step->slot,
                     step->write->remove ? 0 : arena_word(step->hash, step->block));
    }
    for (unsigned i = 0; i < apply->spares_used; i++) {
        struct spare *spare = &apply->spares[i];
        arena_copy_in(bucket_at(apply->writer, spare->offset), &spare->content,
                      sizeof spare->content);
        if (spare->link)
            add_word(apply, spare->bucket, spare->link, spare->offset / ARENA_GRAIN);
    }
}

/* What was before is nobody's any more. */
static void clean_up(struct apply *apply)
{
    struct arena_writer *writer = apply->writer;
    for (unsigned i = 0; i < apply->count; i++) {
        struct step *step = &apply->steps[i];
        struct arena_record *old = step->old ? record_at(writer, step->old) : NULL;
        if (step->write->remove && old && old->node != RECENCY_NONE)
            recency_remove(&writer->recency, old->node);
        if (!step->write->remove && !old)
            record_added(writer, step->seen);
        if (step->block)
            heap_unpin(&writer->heap, step->block);
        if (old)
            heap_free(&writer->heap, step->old);
    }
    give_back(apply, apply->list);
    for (unsigned i = 0; i < apply->count; i++) {
        if (apply->steps[i].write->remove)
            room_tidy(writer, apply->steps[i].bucket);
        if (apply->steps[i].borrowed)
            room_give_back(writer, apply->steps[i].block);
    }
    for (unsigned i = apply->spares_used; i < apply->spare_count; i++)
        heap_free(&writer->heap, apply->spares[i].offset);
}

static enum status apply_several(struct apply *apply, struct arena_origin origin)
{
    if (!take_blocks(apply) || !place_all(apply)) {
        give_all_back(apply);
        return STATUS_FULL;
    }
    record_raise_version(apply->writer);
    prepare(apply);
    publish_all(apply->writer, apply->words, apply->word_count,
                apply->list ? apply->list : offsetof(struct arena_header, redo), origin);
    clean_up(apply);
    return STATUS_OK;
}

static enum status remove_one(struct arena_writer *writer, const struct arena_write *write,
                              struct arena_origin origin, uint64_t now_ms)
{
    enum status status =
        arena_delete(writer, arena_table(write->service, write->space), write->key, origin, now_ms);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status apply_all(struct arena_writer *writer, struct arena_write *writes,
                             unsigned count, struct arena_origin origin, uint64_t now_ms)
{
    if (count > ARENA_APPLY_MAX)
        return STATUS_FULL;
    struct apply apply;
    apply.writer = writer;
    apply.count = count;
    apply.now_ms = now_ms;
    apply.spares = NULL;
    apply.words = NULL;
    apply.spare_count = apply.spares_used = apply.word_count = 0;
    apply.list = 0;
    apply.steps = count <= FEW ? apply.few : make(count, sizeof *apply.steps);
    for (unsigned i = 0; i < count; i++) {
        apply.steps[i] = (struct step){.write = &writes[i]};
        apply.steps[i].table = arena_table(writes[i].service, writes[i].space);
        apply.steps[i].hash = arena_hash(writer->seed, apply.steps[i].table, writes[i].key);
    }
    enum status status = count > 0 ? apply_several(&apply, origin) : STATUS_OK;
    free(apply.spares);
    if (count > FEW) {
        free(apply.steps);
        free(apply.words);
    }
    return status;
}

enum status arena_apply(struct arena_writer *writer, struct arena_write *writes, unsigned count,
                        struct arena_origin origin, uint64_t now_ms)
{
    if (count == 1 && !writes->remove)
        return record_store(writer, arena_table(writes->service, writes->space), writes->key,
                            writes->value, writes->expiry_ms, origin, now_ms, &writes->revision);
    if (count == 1)
        return remove_one(writer, writes, origin, now_ms);
    return apply_all(writer, writes, count, origin, now_ms);
}
