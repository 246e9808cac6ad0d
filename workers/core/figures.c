/*
 * figures - this worker's figures, and those of all processes as Prometheus text.
 *
 * Runs in a worker's event loop; asks nobody and waits for nothing: what is shown of a process that
 * is dead is what it counted last. Fails by panic when memory runs out.
 */
#include <math.h>

#include "proto/base/clock.h"
#include "workers/core/internal.h"

/* ---- Counting ---- */

void core_figures_open(struct core *core)
{
    core->figures = figures_begin(RUN_FD_FIGURES, FIGURES_STORES + core->child->channel);
    core_gauge(core, FIGURE_CONNECTIONS_OPEN, 0);
}

void core_count(struct core *core, unsigned figure, uint64_t add)
{
    figures_count(core->figures, figure, add);
}

void core_gauge(struct core *core, unsigned figure, uint64_t value)
{
    figures_set(core->figures, figure, value);
}

/* The first bucket whose bound, 2^(FIGURE_LATENCY_FIRST_LOG2 + bucket) us, is not exceeded. */
static unsigned latency_bucket(uint64_t ns)
{
    uint64_t us = (ns + 999) / 1000;
    if (us <= 1u << FIGURE_LATENCY_FIRST_LOG2)
        return 0;
    unsigned log2_up = 64 - (unsigned)__builtin_clzll(us - 1);
    unsigned bucket = log2_up - FIGURE_LATENCY_FIRST_LOG2;
    return bucket < FIGURE_LATENCY_BUCKETS ? bucket : FIGURE_LATENCY_BUCKETS - 1;
}

void core_count_ended(struct core *core, const struct core_call *call)
{
    enum op op = call->request.op;
    struct figures_page *page = core->figures;
    unsigned duration = FIGURE_DURATION + (op_info(op)->write ? FIGURE_KIND : 0);
    uint64_t ns = clock_ns() - call->state.started_ns;
    figures_count(page, FIGURE_REQUESTS + (unsigned)op, 1);
    figures_count(page, FIGURE_ENDED + (unsigned)call->reply.status, 1);
    figures_count(page, duration + latency_bucket(ns), 1);
    figures_count(page, duration + FIGURE_LATENCY_BUCKETS, ns);
}

/* ---- Showing ---- */

struct core_text {
    struct buffer *text;
    const char *family; /* the last one */
};

static void append_value(struct buffer *text, double value)
{
    if (value == floor(value) && fabs(value) < 1e15)
        buffer_append_format(text, " %.0f\n", value);
    else
        buffer_append_format(text, " %.15g\n", value);
}

static void append(void *context, const struct figure *figure)
{
    static const char *const types[] = {"gauge", "counter", "histogram"};
    struct core_text *to = context;
    if (strcmp(to->family, figure->family) != 0)
        buffer_append_format(to->text, "# HELP %s %s\n# TYPE %s %s\n", figure->family, figure->help,
                             figure->family, types[figure->type]);
    to->family = figure->family;
    buffer_append_format(to->text, "%s{%s}", figure->name, figure->labels);
    append_value(to->text, figure->value);
}

void core_figures(struct core *core, struct buffer *text)
{
    struct figures figures;
    struct core_text to = {text, ""};
    if (!figures_open(&figures, RUN_FD_FIGURES))
        figures_open_one(&figures, core->figures, FIGURES_STORES + core->child->channel);
    core_processes(core, &figures, append, &to);
    figures_each(&figures, append, &to);
    figures_close(&figures);
}
