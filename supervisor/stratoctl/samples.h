/*
 * samples - one look at the figures of every process.
 */
#ifndef STRATO_SUPERVISOR_STRATOCTL_SAMPLES_H
#define STRATO_SUPERVISOR_STRATOCTL_SAMPLES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct sample {
    char *name, *labels, *help; /* labels: process="http-0",op="KVGet" */
    double value;
};

struct samples { /* all zero is none */
    struct sample *rows;
    size_t count;
};

/* Takes the figures in the memory that came with stratod's rows (ask_status()), of the processes in
 * them. False when there is none: an older stratod's. */
bool samples_take(struct samples *samples_r, int fd, const json_t *processes);
void samples_free(struct samples *samples);

/* The value of a label in a sample, or "". In a static buffer, overwritten by the next call. */
const char *samples_label(const struct sample *sample, const char *label);
/* Whether the sample has this name and, unless NULL, this value of a label. */
bool samples_is(const struct sample *sample, const char *name, const char *label,
                const char *value);
/* Sum over all samples for which samples_is(). */
double samples_sum(const struct samples *samples, const char *name, const char *label,
                   const char *value);

#endif
