/*
 * figures - see figures.h. Runs in store-redis.
 */
#include "store/redis/figures.h"

void redis_figures_add(const struct redis_figures *figures, const struct redis_links *links,
                       struct stats *stats)
{
    const struct {
        enum stats_kind kind;
        const char *name, *help;
        uint64_t value;
    } rows[] = {
        {STATS_GAUGE, "strato_redis_connections", "Connections to Redis that are wanted.",
         links->count},
        {STATS_GAUGE, "strato_redis_connected", "Connections to Redis that answer.",
         redis_links_ready(links)},
        {STATS_GAUGE, "strato_redis_in_trouble",
         "Connections whose server refuses writes, some commands or us.",
         redis_links_in_trouble(links)},
        {STATS_COUNTER, "strato_redis_connects_total", "Connections to Redis that were made.",
         figures->links.connects},
        {STATS_COUNTER, "strato_redis_losses_total", "Connections to Redis that broke.",
         figures->links.losses},
        {STATS_GAUGE, "strato_redis_in_flight", "Commands that Redis has not answered yet.",
         figures->links.in_flight},
        {STATS_COUNTER, "strato_redis_redirected_total",
         "Commands that a node of the cluster sent on to another.", figures->redirected},
        {STATS_COUNTER, "strato_redis_repeated_total",
         "Commands sent again because their answer was lost.", figures->repeated},
        {STATS_COUNTER, "strato_redis_unknown_total", "Increments whose outcome is unknown.",
         figures->unknown},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        stats_add(stats, rows[i].kind, rows[i].name, rows[i].help, (double)rows[i].value,
                  "backend=\"redis\"");
    for (int i = 0; i < FAULT_COUNT; i++)
        stats_add(stats, STATS_COUNTER, "strato_redis_errors_total", "Errors that Redis answered.",
                  (double)figures->faults[i], "backend=\"redis\",error=\"%s\"",
                  redis_fault_name((enum redis_fault)i));
}
