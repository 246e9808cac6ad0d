/*
 * survey - walking the whole index of an arena that is taken over: every record is checked, what is
 * private is rebuilt, and what makes no sense is given up. Runs in a store when it starts, on all
 * processors; readers go on meanwhile.
 *
 * A record that is damaged is unlinked (quarantined), and its block is free then: blocks are in use
 * only if a sound record claims them. A link that leads nowhere is cut. Each such change is one
 * store inside its stripe, as any other.
 *
 * Threads share the heap's map (heap_claim() is made for that) and the counter of pieces; all else
 * each has for itself. The calling thread gives a sign of life for each piece that it has done, so
 * that a survey may take any time, but not stand still.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/failpoint.h"
#include "proto/base/log.h"
#include "proto/run/run.h"
#include "store/arena/internal.h"

enum {
    PIECE = 1024, /* buckets; some milliseconds */
    AHEAD = 8,    /* buckets whose records are fetched while one is checked */
    THREADS_MAX = 32,
    FOLLOW_MAX = 64, /* buckets that a doubtful link is followed */
};

struct large {
    uint64_t bucket;
    _Atomic uint64_t *slot;
};

struct survey {
    struct arena_writer *writer;
    struct arena_report *report;
    struct recency_loader loader;
    uint64_t next;         /* atomic: the first bucket that nobody has taken */
    pthread_mutex_t mutex; /* for changes and the report */
};

/* One thread's own. */
struct surveyor {
    struct survey *survey;
    struct arena_writer *writer;
    struct recency_batch *batch;
    struct large *large; /* records in runs of chunks are claimed when all threads are done */
    size_t large_count, large_capacity;
    uint64_t records[ARENA_SPACES][SERVICE_COUNT];
    uint64_t newest; /* highest revision met */
};

/* A record as its slot shows it. */
struct view {
    struct arena_record *record;
    uint64_t offset;
    uint64_t hash;
};

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

void arena_beat(void)
{
    run_child_beat(clock_ms());
}

/* ---- Mending ---- */

void arena_report_damage(struct arena_report *report, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (report->damage[0] == '\0')
        vsnprintf(report->damage, sizeof report->damage, format, args);
    va_end(args);
}

/* Changes a word of a chain, in the one way that readers can follow. */
static void mend(struct survey *survey, uint64_t number, _Atomic uint64_t *target, uint64_t word,
                 uint64_t *count, const char *what)
{
    unsigned long long at = (unsigned long long)((uint8_t *)target - survey->writer->base);
    pthread_mutex_lock(&survey->mutex);
    publish(survey->writer, number, target, word, NOBODY);
    arena_report_damage(survey->report, "%s, see offset %llu", what, at);
    (*count)++;
    pthread_mutex_unlock(&survey->mutex);
}

static void quarantine(struct survey *survey, uint64_t number, _Atomic uint64_t *slot,
                       const char *what)
{
    mend(survey, number, slot, 0, &survey->report->quarantined, what);
}

/* ---- Looking ---- */

static bool in_heap(const struct arena_geometry *g, uint64_t offset, uint64_t len)
{
    return offset >= g->heap_offset && offset <= g->size && len <= g->size - offset;
}

/* What is wrong with the record that a slot of this chain shows; NULL and *view_r if nothing is. */
static const char *fault_of(const struct arena_writer *writer, uint64_t number, uint64_t word,
                            struct view *view_r)
{
    const struct arena_geometry *g = &writer->geometry;
    uint64_t offset = arena_word_offset(word);
    if (!in_heap(g, offset, sizeof(struct arena_record)))
        return "a slot points outside";
    struct arena_record *record = record_at(writer, offset);
    if (!arena_key_fits(arena_record_table(record), record->key_len) ||
        !in_heap(g, offset, record_size(record)))
        return "a record has an impossible header";
    if (record->checksum != arena_checksum(record, record_body(record)))
        return "a record does not match its checksum";
    uint64_t hash = arena_hash(writer->seed, arena_record_table(record), record_key(record));
    if (arena_bucket_of(hash, g->buckets) != number)
        return "a record is in the wrong bucket";
    *view_r = (struct view){record, offset, hash};
    return NULL;
}

/* Whether an overflow link of this chain leads to a bucket of it: to one with a record of the chain
 * in it or behind it. What is not so is no bucket, or an empty one that nobody misses. */
static bool leads_on(const struct arena_writer *writer, uint64_t number, uint64_t link)
{
    struct view view;
    for (int i = 0; i < FOLLOW_MAX && link != 0; i++) {
        uint64_t offset = link * ARENA_GRAIN;
        if (link > ARENA_WORD_OFFSET_MASK || offset % sizeof(struct arena_bucket) != 0 ||
            !in_heap(&writer->geometry, offset, sizeof(struct arena_bucket)))
            return false;
        const struct arena_bucket *bucket = bucket_at(writer, offset);
        for (int slot = 0; slot < ARENA_BUCKET_SLOTS; slot++) {
            uint64_t word = load(&bucket->slots[slot]);
            if (word != 0 && !fault_of(writer, number, word, &view))
                return true;
        }
        link = load(&bucket->overflow);
    }
    return false;
}

/* An earlier slot of the chain with the same key, or NULL. All slots before this one are sound. */
static _Atomic uint64_t *twin_of(const struct arena_writer *writer, uint64_t number,
                                 const _Atomic uint64_t *slot, const struct view *view)
{
    struct arena_bucket *bucket = &writer->index[number];
    for (;;) {
        for (int i = 0; i < ARENA_BUCKET_SLOTS; i++) {
            uint64_t word = load(&bucket->slots[i]);
            if (&bucket->slots[i] == slot)
                return NULL;
            if (!arena_word_matches(word, view->hash))
                continue;
            struct arena_record *other = record_at(writer, arena_word_offset(word));
            if (arena_record_table(other) == arena_record_table(view->record) &&
                bytes_equal(record_key(other), record_key(view->record)))
                return &bucket->slots[i];
        }
        bucket = bucket_at(writer, load(&bucket->overflow) * ARENA_GRAIN);
    }
}

/* ---- Checking and claiming a chain ---- */

static void check_slot(struct survey *survey, uint64_t number, _Atomic uint64_t *slot)
{
    struct arena_writer *writer = survey->writer;
    struct view view;
    uint64_t word = load(slot);
    if (word == 0)
        return;
    const char *fault = fault_of(writer, number, word, &view);
    if (fault) {
        quarantine(survey, number, slot, fault);
        return;
    }
    if (word != arena_word(view.hash, view.offset))
        mend(survey, number, slot, arena_word(view.hash, view.offset), &survey->report->mended,
             "a slot's tag is wrong");
    _Atomic uint64_t *twin = twin_of(writer, number, slot, &view);
    if (!twin)
        return;
    bool newer = view.record->revision > record_at(writer, arena_word_offset(load(twin)))->revision;
    quarantine(survey, number, newer ? twin : slot, "a key has two records");
}

/* Leaves a chain of sound buckets, claimed, with sound records, not claimed yet. */
static void check_chain(struct survey *survey, uint64_t number)
{
    struct arena_writer *writer = survey->writer;
    struct arena_bucket *bucket = &writer->index[number];
    for (;;) {
        for (int i = 0; i < ARENA_BUCKET_SLOTS; i++)
            check_slot(survey, number, &bucket->slots[i]);
        uint64_t link = load(&bucket->overflow);
        if (link == 0)
            return;
        /* A bucket can be claimed once, which also ends a chain that runs in a circle. */
        if (!leads_on(writer, number, link) ||
            !heap_claim_bucket(&writer->heap, link * ARENA_GRAIN)) {
            mend(survey, number, &bucket->overflow, 0, &survey->report->mended,
                 "an overflow link leads nowhere");
            return;
        }
        bucket = bucket_at(writer, link * ARENA_GRAIN);
    }
}

static void claim_record(struct surveyor *surveyor, uint64_t number, _Atomic uint64_t *slot)
{
    struct arena_writer *writer = surveyor->writer;
    uint64_t offset = arena_word_offset(load(slot));
    struct arena_record *record = record_at(writer, offset);
    if (!heap_claim(&writer->heap, offset, record_size(record))) {
        quarantine(surveyor->survey, number, slot, "a record overlaps another");
        return;
    }
    uint32_t node =
        record->expiry_ms == 0
            ? RECENCY_NONE
            : recency_load(&surveyor->survey->loader, &surveyor->batch, offset, record->expiry_ms,
                           record_may_go(arena_record_table(record)));
    if (record->node != node) /* else its page need not be written */
        atomic_store_explicit((_Atomic uint32_t *)&record->node, node, memory_order_relaxed);
    surveyor->records[record->space][record->service]++;
    if (record->revision > surveyor->newest)
        surveyor->newest = record->revision;
}

static void claim_later(struct surveyor *surveyor, uint64_t number, _Atomic uint64_t *slot)
{
    if (surveyor->large_count == surveyor->large_capacity) {
        size_t capacity = surveyor->large_capacity ? surveyor->large_capacity * 2 : 64;
        surveyor->large = realloc(surveyor->large, capacity * sizeof *surveyor->large);
        if (!surveyor->large)
            panic("out of memory: %zu large records", capacity);
        surveyor->large_capacity = capacity;
    }
    surveyor->large[surveyor->large_count++] = (struct large){number, slot};
}

static void claim_chain(struct surveyor *surveyor, uint64_t number)
{
    struct arena_writer *writer = surveyor->writer;
    struct arena_bucket *bucket = &writer->index[number];
    for (;;) {
        for (int i = 0; i < ARENA_BUCKET_SLOTS; i++) {
            uint64_t word = load(&bucket->slots[i]);
            if (word == 0)
                continue;
            if (record_size(record_at(writer, arena_word_offset(word))) > ARENA_CHUNK)
                claim_later(surveyor, number, &bucket->slots[i]);
            else
                claim_record(surveyor, number, &bucket->slots[i]);
        }
        if (load(&bucket->overflow) == 0)
            return;
        bucket = bucket_at(writer, load(&bucket->overflow) * ARENA_GRAIN);
    }
}

/* ---- The walk ---- */

/* Memory is what a survey waits for: has the records of a bucket on their way before their turn. */
static void fetch_ahead(const struct arena_writer *writer, uint64_t number)
{
    if (number >= writer->geometry.buckets)
        return;
    for (int i = 0; i < ARENA_BUCKET_SLOTS; i++) {
        uint64_t offset = arena_word_offset(load(&writer->index[number].slots[i]));
        if (!in_heap(&writer->geometry, offset, sizeof(struct arena_record)))
            continue;
        __builtin_prefetch(writer->base + offset);
        __builtin_prefetch(writer->base + offset + 64);
        heap_expect(&writer->heap, offset);
    }
}

/* Takes and does the next piece; false when there is none. */
static bool do_piece(struct surveyor *surveyor)
{
    struct survey *survey = surveyor->survey;
    uint64_t buckets = surveyor->writer->geometry.buckets;
    uint64_t first = __atomic_fetch_add(&survey->next, PIECE, __ATOMIC_RELAXED);
    uint64_t end = first + PIECE < buckets ? first + PIECE : buckets;
    for (uint64_t number = first; number < end; number++) {
        fetch_ahead(surveyor->writer, number + AHEAD);
        check_chain(survey, number);
        claim_chain(surveyor, number);
    }
    failpoint_pause();
    return first < buckets;
}

static void *work(void *surveyor)
{
    while (do_piece(surveyor))
        continue;
    return NULL;
}

/* Adds up what one thread has. */
static void finish(struct surveyor *surveyor, uint64_t *newest)
{
    for (size_t i = 0; i < surveyor->large_count; i++)
        claim_record(surveyor, surveyor->large[i].bucket, surveyor->large[i].slot);
    free(surveyor->large);
    for (int space = 0; space < ARENA_SPACES; space++)
        for (int i = 0; i < SERVICE_COUNT; i++)
            surveyor->writer->records[space][i] += surveyor->records[space][i];
    if (surveyor->newest > *newest)
        *newest = surveyor->newest;
}

static unsigned thread_count(const struct arena_writer *writer)
{
    uint64_t pieces = writer->geometry.buckets / PIECE;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t count = processors > 1 ? (uint64_t)processors : 1;
    count = count < THREADS_MAX ? count : THREADS_MAX;
    return (unsigned)(pieces < count ? pieces > 0 ? pieces : 1 : count);
}

uint64_t survey(struct arena_writer *writer, struct arena_report *report)
{
    struct survey all = {.writer = writer, .report = report, .mutex = PTHREAD_MUTEX_INITIALIZER};
    struct surveyor surveyors[THREADS_MAX] = {0};
    pthread_t threads[THREADS_MAX];
    uint64_t newest = 0;
    unsigned count = thread_count(writer), started = 1;

    recency_loader_open(&all.loader, heap_size(&writer->heap) / HEAP_BLOCK_MIN, count);
    for (unsigned i = 0; i < count; i++)
        surveyors[i] = (struct surveyor){.survey = &all, .writer = writer};
    /* A thread that cannot be had is done without. */
    while (started < count &&
           pthread_create(&threads[started], NULL, work, &surveyors[started]) == 0)
        started++;
    while (do_piece(&surveyors[0]))
        arena_beat();
    for (unsigned i = 1; i < started; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < started; i++)
        finish(&surveyors[i], &newest);
    recency_loaded(&writer->recency, &all.loader, arena_beat);
    heap_claimed(&writer->heap);
    return newest;
}
