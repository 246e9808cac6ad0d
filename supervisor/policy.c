/*
 * policy - see policy.h. The supervisor. Pure; cannot fail.
 */
#include "supervisor/policy.h"

#include "proto/run/run.h"

/* first, doubled n times, at most cap; less up to half of it by chance. */
static uint64_t spread(uint64_t first, unsigned n, uint64_t cap, uint32_t random)
{
    uint64_t delay = n < 16 ? first << n : cap;
    if (delay > cap)
        delay = cap;
    return delay - random % (delay / 2 + 1);
}

uint64_t policy_restart(struct policy *policy, bool was_ready, uint64_t ready_for_ms,
                        uint32_t random)
{
    if (was_ready && ready_for_ms >= POLICY_LONG_RUN_MS)
        *policy = (struct policy){0};
    if (!was_ready)
        return spread(POLICY_START_FIRST_MS, policy->start_failures++, POLICY_START_CAP_MS, random);
    if (policy->short_runs++ == 0)
        return 0;
    return spread(POLICY_CRASH_FIRST_MS, policy->short_runs - 2, POLICY_CRASH_CAP_MS, random);
}

bool policy_gives_up(unsigned deaths, int exit_code)
{
    return deaths >= POLICY_START_TRIES || exit_code == RUN_EXIT_CONFIG;
}

uint64_t policy_stuck_at(bool ready, uint64_t heard_ms)
{
    return heard_ms + (ready ? RUN_SILENCE_MS : run_start_ms());
}

bool policy_allows(struct policy_rate *rate, uint64_t cost, uint64_t per_s, uint64_t burst,
                   uint64_t now_ms)
{
    uint64_t passed_ms = now_ms - rate->at_ms;
    uint64_t regained = passed_ms < 1000000 ? passed_ms * per_s / 1000 : burst;
    if (regained > 0) { /* else the time passed counts on */
        rate->used -= regained < rate->used ? regained : rate->used;
        rate->at_ms = now_ms;
    }
    if (rate->used + cost > burst) {
        rate->dropped++;
        return false;
    }
    rate->used += cost;
    return true;
}
