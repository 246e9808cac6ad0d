/*
 * publish - the one store that makes a change visible, and the intent that makes it happen exactly
 * once. Runs in a store.
 *
 * Order of stores, each of which may be the last that a killed process makes:
 *     intent fields, intent.valid = 1 | stripe odd | THE WORD | stripe even
 *     | applied.count, applied.inverse | intent.valid = 0
 * A valid intent is carried out again from the top when the arena is opened.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "proto/base/failpoint.h"
#include "store/arena/internal.h"

static uint64_t intent_check(const struct arena_intent *intent)
{
    uint64_t fields[4] = {intent->channel, intent->sequence, intent->word_offset, intent->word};
    return XXH3_64bits(fields, sizeof fields);
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

void publish(struct arena_writer *writer, uint64_t bucket, _Atomic uint64_t *target, uint64_t word,
             struct arena_origin origin)
{
    if (origin.channel == ARENA_NOBODY) {
        store_word(stripe_of(writer, bucket), target, word);
        return;
    }
    struct arena_intent *intent = &writer->header->intent;
    failpoint("arena.before_intent");
    intent->channel = origin.channel;
    intent->sequence = origin.sequence;
    intent->word_offset = (uint64_t)((uint8_t *)target - writer->base);
    intent->word = word;
    intent->check = intent_check(intent);
    atomic_store_explicit(&intent->valid, 1, memory_order_release);
    failpoint("arena.after_intent");
    store_word(stripe_of(writer, bucket), target, word);
    publish_applied(writer, origin.channel, origin.sequence + 1);
    failpoint("arena.after_applied");
    atomic_store_explicit(&intent->valid, 0, memory_order_release);
}

static bool intent_sound(const struct arena_writer *writer, const struct arena_intent *intent)
{
    const struct arena_geometry *g = &writer->geometry;
    return atomic_load_explicit(&intent->valid, memory_order_acquire) == 1 &&
           intent->check == intent_check(intent) && intent->channel < ARENA_CHANNELS_MAX &&
           intent->sequence < UINT64_MAX && intent->word_offset % 8 == 0 &&
           intent->word_offset >= g->index_offset && intent->word_offset <= g->size - 8;
}

bool publish_redo(struct arena_writer *writer)
{
    struct arena_intent *intent = &writer->header->intent;
    if (atomic_load_explicit(&intent->valid, memory_order_acquire) == 0)
        return true;
    bool sound = intent_sound(writer, intent);
    uint64_t count = sound ? intent->sequence + 1 : 0;
    /* Once it counts as applied the word was stored, and may have changed again since. */
    if (sound && writer->header->applied[intent->channel].count < count) {
        /* Readers of any stripe may be in the chain: let them all wait for this one store. */
        publish_close_stripes(writer, true);
        atomic_store_explicit((_Atomic uint64_t *)(writer->base + intent->word_offset),
                              intent->word, memory_order_release);
        publish_close_stripes(writer, false);
    }
    if (sound && writer->header->applied[intent->channel].count <= count)
        publish_applied(writer, intent->channel, count);
    atomic_store_explicit(&intent->valid, 0, memory_order_release);
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
