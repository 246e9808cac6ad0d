/*
 * budget - how much memory a worker's clients may hold at once: values on their way in or out. Runs
 * in every worker; touches nothing but the core and its gauges.
 */
#include "workers/core/internal.h"

enum { LARGEST_VALUES = 16 }; /* so many of the largest values always fit */

const char core_budget_error[] =
    "this worker's memory for clients is used up (max_memory); try again";

void core_budget_open(struct core *core, uint64_t max_memory)
{
    uint64_t least = LARGEST_VALUES * core->child->conf.max_value;
    core->budget.limit = max_memory > least ? max_memory : least;
    core_gauge(core, FIGURE_BUDGET_LIMIT, core->budget.limit);
    core_gauge(core, FIGURE_BUDGET_USED, 0);
}

uint64_t core_budget_limit(const struct core *core)
{
    return core->budget.limit;
}

void core_budget_close(struct core *core)
{
    core_gauge(core, FIGURE_BUDGET_LIMIT, 0);
    core_gauge(core, FIGURE_BUDGET_USED, 0);
}

void core_budget_relief(struct core *core, bool (*relieve)(void *context), void *context)
{
    core->budget.relieve = relieve;
    core->budget.context = context;
}

static bool fits(const struct core_budget *budget, uint64_t bytes)
{
    return bytes <= budget->limit && budget->used <= budget->limit - bytes;
}

bool core_budget_try(struct core *core, uint64_t bytes)
{
    struct core_budget *budget = &core->budget;
    while (!fits(budget, bytes))
        if (bytes > budget->limit || !budget->relieve || !budget->relieve(budget->context))
            return false;
    budget->used += bytes;
    core_gauge(core, FIGURE_BUDGET_USED, budget->used);
    return true;
}

bool core_budget_take(struct core *core, uint64_t bytes)
{
    bool taken = core_budget_try(core, bytes);
    if (!taken)
        core_count(core, FIGURE_BUDGET_REFUSED, 1);
    return taken;
}

void core_budget_give(struct core *core, uint64_t bytes)
{
    if (bytes > core->budget.used)
        panic("more memory is given back than was taken");
    core->budget.used -= bytes;
    core_gauge(core, FIGURE_BUDGET_USED, core->budget.used);
}
