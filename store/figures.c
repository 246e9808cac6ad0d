/*
 * figures - see figures.h. Runs in a store.
 */
#include "store/figures.h"

void figures_add_arena(struct stats *stats, const struct arena_writer *writer, enum backend backend)
{
    struct arena_stats arena;
    arena_stats(writer, &arena);
    const struct {
        enum stats_kind kind;
        const char *name, *help;
        uint64_t value;
    } figures[] = {
        {STATS_GAUGE, "strato_arena_size_bytes", "Bytes of the arena that records can use.",
         arena.size},
        {STATS_GAUGE, "strato_arena_used_bytes", "Bytes of the arena in use by records.",
         arena.used},
        {STATS_COUNTER, "strato_arena_evicted_total", "Records evicted to make room.",
         arena.evicted},
        {STATS_COUNTER, "strato_arena_expired_total", "Records reclaimed after their time.",
         arena.expired},
        {STATS_COUNTER, "strato_arena_quarantined_total",
         "Records given up because they were found damaged.", arena.quarantined},
        {STATS_COUNTER, "strato_arena_moved_total", "Records moved to make room.", arena.moved},
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        stats_add(stats, figures[i].kind, figures[i].name, figures[i].help,
                  (double)figures[i].value, "backend=\"%s\"", backend_name(backend));
    for (int i = 0; i < SERVICE_COUNT; i++)
        stats_add(stats, STATS_GAUGE, "strato_arena_records",
                  "Records in the arena, with expired ones that are not yet reclaimed.",
                  (double)arena.records[i], "backend=\"%s\",service=\"%s\"", backend_name(backend),
                  service_name((enum service)i));
}
