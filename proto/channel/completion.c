/*
 * completion - the store's side of the completion ring: an answer is kept where it will be
 * published, and published in the order of submission. Runs in a store. Fails by panic when the
 * store answers what it was not asked, or twice.
 */
#include "proto/base/log.h"
#include "proto/channel/channel.h"

static struct channel_completion *slot_of(const struct channel_store *store, uint64_t sequence)
{
    return &store->memory->completions[sequence % CHANNEL_SLOTS];
}

struct channel_completion *channel_store_slot(struct channel_store *store, uint64_t sequence)
{
    if (sequence - store->completed >= store->taken - store->completed)
        panic("submission %llu is not to be answered, %llu is next", (unsigned long long)sequence,
              (unsigned long long)store->completed);
    return slot_of(store, sequence);
}

void channel_store_keep(struct channel_store *store, uint64_t sequence)
{
    struct channel_completion *slot = slot_of(store, sequence);
    atomic_thread_fence(memory_order_release);
    slot->flags |= CHANNEL_KEPT;
    slot->sequence = sequence;
    atomic_thread_fence(memory_order_release); /* then comes the change */
}

bool channel_store_kept(const struct channel_store *store, uint64_t sequence)
{
    const struct channel_completion *slot = slot_of(store, sequence);
    return slot->sequence == sequence && slot->flags & CHANNEL_KEPT;
}

/* ---- In order ---- */

static uint64_t *ready_word(struct channel_store *store, uint64_t sequence, uint64_t *bit_r)
{
    *bit_r = (uint64_t)1 << sequence % 64;
    return &store->ready[sequence % CHANNEL_SLOTS / 64];
}

static void wait_for_earlier(struct channel_store *store, uint64_t sequence)
{
    uint64_t bit, *word = ready_word(store, sequence, &bit);
    if (*word & bit)
        panic("submission %llu is answered twice", (unsigned long long)sequence);
    *word |= bit;
    store->early++;
}

/* Whether this one has waited for those before it. */
static bool take_early(struct channel_store *store, uint64_t sequence)
{
    uint64_t bit, *word = ready_word(store, sequence, &bit);
    if (store->early == 0 || !(*word & bit))
        return false;
    *word &= ~bit;
    store->early--;
    return true;
}

void channel_store_commit(struct channel_store *store, uint64_t sequence)
{
    if (sequence != store->completed) {
        wait_for_earlier(store, sequence);
        return;
    }
    do
        slot_of(store, store->completed++)->flags &= (uint16_t)~CHANNEL_KEPT;
    while (take_early(store, store->completed));
    atomic_store_explicit(&store->memory->completed, store->completed, memory_order_release);
}
