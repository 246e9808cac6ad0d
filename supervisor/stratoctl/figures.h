/*
 * figures - every process's figures, asked from the stores over their links.
 */
#ifndef STRATO_SUPERVISOR_STRATOCTL_FIGURES_H
#define STRATO_SUPERVISOR_STRATOCTL_FIGURES_H

#include <stdbool.h>
#include <stddef.h>

struct figure_sample {
    char *name, *labels, *help; /* labels: process="http-0",op="kv_get" */
    double value;
    bool shown; /* for whoever prints them */
};

struct figures { /* all zero is none */
    struct figure_sample *samples;
    size_t count;
};

/* Adds what the store at run_dir's link for this backend says; blocks for at most 2 s. False when
 * it did not answer; then nothing was added. */
bool figures_fetch(struct figures *figures, const char *run_dir, const char *backend);
void figures_free(struct figures *figures);

/* The value of a label in a sample, or "". In a static buffer, overwritten by the next call. */
const char *figures_label(const struct figure_sample *sample, const char *label);
/* Whether the sample has this name and, unless NULL, this value of a label. */
bool figures_is(const struct figure_sample *sample, const char *name, const char *label,
                const char *value);
/* Sum over all samples for which figures_is(). */
double figures_sum(const struct figures *figures, const char *name, const char *label,
                   const char *value);

#endif
