/*
 * hold - slots that a worker passes over, because their long answer is not read yet. Runs in a
 * worker; cannot fail.
 */
#include <stddef.h>
#include <string.h>

#include "proto/channel/channel.h"

static uint64_t *hold_word(struct channel_worker *worker, uint64_t sequence, uint64_t *bit_r)
{
    *bit_r = (uint64_t)1 << sequence % 64;
    return &worker->holds[sequence % CHANNEL_SLOTS / 64];
}

static bool is_held(struct channel_worker *worker, uint64_t sequence)
{
    uint64_t bit, *word = hold_word(worker, sequence, &bit);
    return *word & bit;
}

void channel_worker_hold(struct channel_worker *worker, uint64_t sequence)
{
    uint64_t bit, *word = hold_word(worker, sequence, &bit);
    *word |= bit;
    worker->held++;
}

void channel_worker_let_go(struct channel_worker *worker, uint64_t sequence)
{
    uint64_t bit, *word = hold_word(worker, sequence, &bit);
    *word &= ~bit;
    worker->held--;
}

bool channel_worker_pass_over(struct channel_worker *worker)
{
    if (worker->held == CHANNEL_SLOTS)
        return false;
    for (;
         worker->submitted - worker->consumed < CHANNEL_SLOTS && is_held(worker, worker->submitted);
         worker->submitted++)
        memset(&worker->memory->submissions[worker->submitted % CHANNEL_SLOTS], 0,
               offsetof(struct channel_submission, payload));
    return true;
}
