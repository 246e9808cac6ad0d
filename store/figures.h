/* figures - what every engine with an arena shows of it. */
#ifndef STRATO_STORE_FIGURES_H
#define STRATO_STORE_FIGURES_H

#include "proto/figures/figures.h"
#include "store/arena/writer.h"

void figures_set_arena(struct figures_page *page, const struct arena_writer *writer);

#endif
