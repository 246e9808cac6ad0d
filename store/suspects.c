/*
 * suspects - see suspects.h. Runs in a store when it starts. Pure.
 */
#include "store/suspects.h"

enum { ATTEMPTS_COUNTED = 100 }; /* what a channel has room to count is 127 */

bool suspects_only_one(const struct channel_store *ends, unsigned channels)
{
    uint64_t open = 0;
    for (unsigned i = 0; i < channels; i++)
        open += ends[i].taken - ends[i].completed;
    return open <= 1;
}

bool suspects_find(struct suspects *suspects, const struct channel_store *end)
{
    bool alone;
    *suspects = (struct suspects){0};
    if (!channel_store_begun(end, &suspects->end, &suspects->attempts, &alone)) {
        suspects->end = 0;
        return false;
    }
    if (suspects->attempts > ATTEMPTS_COUNTED)
        suspects->attempts = ATTEMPTS_COUNTED;
    suspects->give_up =
        alone && suspects->attempts >= SUSPECTS_TRIES && suspects->end == end->completed + 1;
    return true;
}
