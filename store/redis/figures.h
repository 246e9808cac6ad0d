/*
 * figures - what store-redis counts, for /metrics.
 */
#ifndef STRATO_STORE_REDIS_FIGURES_H
#define STRATO_STORE_REDIS_FIGURES_H

#include "proto/figures/figures.h"
#include "store/redis/fault.h"
#include "store/redis/links.h"

struct redis_figures {
    struct redis_link_figures links;
    uint64_t faults[FAULT_COUNT]; /* errors that Redis answered */
    uint64_t redirected;          /* commands that a node sent on to another */
    uint64_t repeated;            /* commands sent again because their answer was lost */
    uint64_t unknown;             /* increments whose outcome is unknown */
};

void redis_figures_set(struct figures_page *page, const struct redis_figures *figures,
                       const struct redis_links *links);

#endif
