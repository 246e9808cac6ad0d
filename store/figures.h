/* figures - what every engine with an arena shows of it in /metrics. */
#ifndef STRATO_STORE_FIGURES_H
#define STRATO_STORE_FIGURES_H

#include "store/arena/writer.h"
#include "store/stats.h"

/* Appends the arena's figures, labelled with the backend's name. */
void figures_add_arena(struct stats *stats, const struct arena_writer *writer,
                       enum backend backend);

#endif
