/*
 * samples - see samples.h. stratoctl. What is in the memory are numbers, and whatever they are,
 * they are only copied and printed.
 */
#include "supervisor/stratoctl/samples.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/figures/figures.h"

static char *copy(const char *text)
{
    char *own = strdup(text);
    if (!own)
        err(1, "out of memory");
    return own;
}

static void add(void *context, const struct figure *figure)
{
    struct samples *samples = context;
    if ((samples->count & (samples->count - 1)) == 0) { /* at powers of two */
        size_t capacity = samples->count ? 2 * samples->count : 1;
        samples->rows = realloc(samples->rows, capacity * sizeof *samples->rows);
        if (!samples->rows)
            err(1, "out of memory");
    }
    samples->rows[samples->count++] = (struct sample){copy(figure->name), copy(figure->labels),
                                                      copy(figure->help), figure->value};
}

bool samples_take(struct samples *samples_r, int fd, const json_t *processes)
{
    struct figures figures;
    size_t i;
    json_t *row;
    *samples_r = (struct samples){0};
    if (!figures_open(&figures, fd))
        return false;
    json_array_foreach(processes, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        figures_show(&figures, name ? name : "");
    }
    figures_each(&figures, add, samples_r);
    figures_close(&figures);
    return true;
}

void samples_free(struct samples *samples)
{
    for (size_t i = 0; i < samples->count; i++) {
        free(samples->rows[i].name);
        free(samples->rows[i].labels);
        free(samples->rows[i].help);
    }
    free(samples->rows);
    *samples = (struct samples){0};
}

const char *samples_label(const struct sample *sample, const char *label)
{
    static char value[128];
    size_t len = strlen(label);
    for (const char *at = sample->labels; at && *at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, label, len) == 0 && at[len] == '=' && at[len + 1] == '"') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(at + len + 2, "\""), at + len + 2);
            return value;
        }
    }
    return "";
}

bool samples_is(const struct sample *sample, const char *name, const char *label, const char *value)
{
    return strcmp(sample->name, name) == 0 &&
           (!label || strcmp(samples_label(sample, label), value) == 0);
}

double samples_sum(const struct samples *samples, const char *name, const char *label,
                   const char *value)
{
    double sum = 0;
    for (size_t i = 0; i < samples->count; i++)
        if (samples_is(&samples->rows[i], name, label, value))
            sum += samples->rows[i].value;
    return sum;
}
