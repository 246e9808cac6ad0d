/*
 * figures - see figures.h. Runs in store-redis.
 */
#include "store/redis/figures.h"

void redis_figures_set(struct figures_page *page, const struct redis_figures *figures,
                       const struct redis_links *links)
{
    figures_set(page, FIGURE_REDIS_CONNECTIONS, links->count);
    figures_set(page, FIGURE_REDIS_CONNECTED, redis_links_ready(links));
    figures_set(page, FIGURE_REDIS_IN_TROUBLE, redis_links_in_trouble(links));
    figures_set(page, FIGURE_REDIS_CONNECTS, figures->links.connects);
    figures_set(page, FIGURE_REDIS_LOSSES, figures->links.losses);
    figures_set(page, FIGURE_REDIS_IN_FLIGHT, figures->links.in_flight);
    figures_set(page, FIGURE_REDIS_REDIRECTED, figures->redirected);
    figures_set(page, FIGURE_REDIS_REPEATED, figures->repeated);
    figures_set(page, FIGURE_REDIS_UNKNOWN, figures->unknown);
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        figures_set(page, FIGURE_REDIS_ERRORS + i, figures->faults[i]);
}
