/*
 * figures - see figures.h. Runs in a store.
 */
#include "store/figures.h"

void figures_set_arena(struct figures_page *page, const struct arena_writer *writer)
{
    struct arena_stats arena;
    arena_stats(writer, &arena);
    figures_set(page, FIGURE_ARENA_SIZE, arena.size);
    figures_set(page, FIGURE_ARENA_USED, arena.used);
    figures_set(page, FIGURE_ARENA_EVICTED, arena.evicted);
    figures_set(page, FIGURE_ARENA_EXPIRED, arena.expired);
    figures_set(page, FIGURE_ARENA_QUARANTINED, arena.quarantined);
    figures_set(page, FIGURE_ARENA_MOVED, arena.moved);
    for (unsigned i = 0; i < SERVICE_COUNT; i++)
        figures_set(page, FIGURE_ARENA_RECORDS + i, arena.records[i]);
    for (unsigned i = 0; i < SERVICE_COUNT; i++)
        figures_set(page, FIGURE_ARENA_PARTS + i, arena.parts[i]);
}
