/*
 * publish - the stores that make a change visible, and the intent that makes it happen exactly
 * once. Runs in a store.
 *
 * Order of stores, each of which may be the last that a killed process makes:
 *     list, intent fields, intent.kind | for each word: stripe odd, THE WORD, stripe even
 *     | applied.count, applied.inverse | intent.kind = 0
 * An intent is carried out again from the top when the arena is opened.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "proto/base/failpoint.h"
#include "store/arena/internal.h"

/* What intent->check must be, if it is of this kind. A list must lie in the arena. */
static uint64_t intent_check(const struct arena_writer *writer, const struct arena_intent *intent,
                             enum arena_intent_kind kind)
{
    uint64_t fields[4] = {intent->channel, intent->sequence, intent->word_offset, intent->word};
    uint64_t check = XXH3_64bits(fields, sizeof fields);
    if (kind == ARENA_INTENT_LIST)
        check = XXH3_64bits_withSeed(writer->base + intent->word_offset,
                                     intent->word * sizeof(struct arena_redo), check);
    return check;
}

static struct arena_stripe *stripe_of(struct arena_writer *writer, uint64_t bucket)
{
    return &writer->stripes[bucket % ARENA_STRIPES];
}

static void store_word(struct arena_stripe *stripe, _Atomic uint64_t *target, uint64_t word)
{
    uint64_t sequence = atomic_load_explicit(&stripe->sequence, memory_order_relaxed) | 1;
    atomic_store_explicit(&stripe->sequence, sequence, memory_order_release);
    failpoint("arena.before_publish");
    atomic_store_explicit(target, word, memory_order_release);
    failpoint("arena.after_publish");
    atomic_store_explicit(&stripe->sequence, sequence + 1, memory_order_release);
}

void publish_applied(struct arena_writer *writer, uint32_t channel, uint64_t count)
{
    struct arena_applied *applied = &writer->header->applied[channel];
    atomic_store_explicit(&applied->count, count, memory_order_release);
    atomic_store_explicit(&applied->inverse, ~count, memory_order_release);
}

/* Writes down what is about to be done for a submission. */
static void begin_intent(struct arena_writer *writer, enum arena_intent_kind kind,
                         uint64_t word_offset, uint64_t word, struct arena_origin origin)
{
    struct arena_intent *intent = &writer->header->intent;
    failpoint("arena.before_intent");
    intent->channel = origin.channel;
    intent->sequence = origin.sequence;
    intent->word_offset = word_offset;
    intent->word = word;
    intent->check = intent_check(writer, intent, kind);
    atomic_store_explicit(&intent->kind, kind, memory_order_release);
    failpoint("arena.after_intent");
}

static void end_intent(struct arena_writer *writer, struct arena_origin origin)
{
    publish_applied(writer, origin.channel, origin.sequence + 1);
    failpoint("arena.after_applied");
    atomic_store_explicit(&writer->header->intent.kind, ARENA_INTENT_NONE, memory_order_release);
}

static uint64_t offset_of(const struct arena_writer *writer, const _Atomic uint64_t *target)
{
    return (uint64_t)((const uint8_t *)target - writer->base);
}

void publish(struct arena_writer *writer, uint64_t bucket, _Atomic uint64_t *target, uint64_t word,
             struct arena_origin origin)
{
    if (origin.channel == ARENA_NOBODY) {
        store_word(stripe_of(writer, bucket), target, word);
        return;
    }
    begin_intent(writer, ARENA_INTENT_WORD, offset_of(writer, target), word, origin);
    store_word(stripe_of(writer, bucket), target, word);
    end_intent(writer, origin);
}

void publish_all(struct arena_writer *writer, const struct publication *words, uint32_t count,
                 uint64_t list, struct arena_origin origin)
{
    struct arena_redo *redo = (struct arena_redo *)(writer->base + list);
    for (uint32_t i = 0; i < count; i++)
        redo[i] = (struct arena_redo){offset_of(writer, words[i].target), words[i].word};
    failpoint("arena.list_written");
    begin_intent(writer, ARENA_INTENT_LIST, list, count, origin);
    for (uint32_t i = 0; i < count; i++)
        store_word(stripe_of(writer, words[i].bucket), words[i].target, words[i].word);
    end_intent(writer, origin);
}

/* Whether a word of the index or of an overflow bucket can be there. */
static bool word_sound(const struct arena_geometry *g, uint64_t offset)
{
    return offset % 8 == 0 && offset >= g->index_offset && offset <= g->size - 8;
}

static bool list_sound(const struct arena_writer *writer, const struct arena_intent *intent)
{
    const struct arena_geometry *g = &writer->geometry;
    uint64_t len = intent->word * sizeof(struct arena_redo);
    if (intent->word_offset == offsetof(struct arena_header, redo))
        return intent->word <= ARENA_REDO_INLINE;
    return intent->word <= ARENA_REDO_MAX && intent->word_offset % ARENA_GRAIN == 0 &&
           intent->word_offset >= g->heap_offset && intent->word_offset <= g->size - len;
}

/* Whether it was written in full and can be carried out. */
static bool intent_sound(const struct arena_writer *writer, const struct arena_intent *intent,
                         uint32_t kind)
{
    bool fits = kind == ARENA_INTENT_WORD ? word_sound(&writer->geometry, intent->word_offset)
                                          : kind == ARENA_INTENT_LIST && list_sound(writer, intent);
    if (!fits || intent->channel >= ARENA_CHANNELS_MAX || intent->sequence == UINT64_MAX ||
        intent->check != intent_check(writer, intent, kind))
        return false;
    const struct arena_redo *redo = (const struct arena_redo *)(writer->base + intent->word_offset);
    for (uint64_t i = 0; kind == ARENA_INTENT_LIST && i < intent->word; i++)
        if (!word_sound(&writer->geometry, redo[i].word_offset))
            return false;
    return true;
}

static void redo_word(struct arena_writer *writer, uint64_t offset, uint64_t word)
{
    atomic_store_explicit((_Atomic uint64_t *)(writer->base + offset), word, memory_order_release);
    failpoint("arena.redo");
}

static void redo_words(struct arena_writer *writer, const struct arena_intent *intent,
                       uint32_t kind)
{
    const struct arena_redo *redo = (const struct arena_redo *)(writer->base + intent->word_offset);
    if (kind == ARENA_INTENT_WORD)
        redo_word(writer, intent->word_offset, intent->word);
    for (uint64_t i = 0; kind == ARENA_INTENT_LIST && i < intent->word; i++)
        redo_word(writer, redo[i].word_offset, redo[i].word);
}

bool publish_redo(struct arena_writer *writer)
{
    struct arena_intent *intent = &writer->header->intent;
    uint32_t kind = atomic_load_explicit(&intent->kind, memory_order_acquire);
    if (kind == ARENA_INTENT_NONE)
        return true;
    bool sound = intent_sound(writer, intent, kind);
    uint64_t count = sound ? intent->sequence + 1 : 0;
    /* Once it counts as applied its words were stored, and may have changed again since. */
    if (sound && writer->header->applied[intent->channel].count < count) {
        /* Readers of any stripe may be in the chain: let them all wait for these few stores. */
        publish_close_stripes(writer, true);
        redo_words(writer, intent, kind);
        publish_close_stripes(writer, false);
    }
    if (sound && writer->header->applied[intent->channel].count <= count)
        publish_applied(writer, intent->channel, count);
    atomic_store_explicit(&intent->kind, ARENA_INTENT_NONE, memory_order_release);
    return sound;
}

void publish_close_stripes(struct arena_writer *writer, bool closed)
{
    for (int i = 0; i < ARENA_STRIPES; i++) {
        _Atomic uint64_t *sequence = &writer->stripes[i].sequence;
        uint64_t now = atomic_load_explicit(sequence, memory_order_relaxed);
        if ((now & 1) != closed)
            atomic_store_explicit(sequence, now + 1, memory_order_release);
    }
}
