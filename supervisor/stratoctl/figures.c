/*
 * figures - the figures as tables: operations, latency, workers; then whatever else there is.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/figures/figures.h"
#include "supervisor/stratoctl/ask.h"
#include "supervisor/stratoctl/samples.h"
#include "supervisor/stratoctl/table.h"
#include "supervisor/stratoctl/views.h"

static const char requests[] = "strato_requests_total";
static const char responses[] = "strato_responses_total";
static const char buckets[] = "strato_request_duration_seconds_bucket";
static const char duration_sum[] = "strato_request_duration_seconds_sum";
static const char duration_count[] = "strato_request_duration_seconds_count";

/* ---- Tables ---- */

static void print_operations(const struct samples *samples)
{
    struct table *table = table_new();
    table_row(table, "OPERATION", ">COUNT", NULL);
    for (unsigned op = OP_NONE + 1; op < OP_COUNT; op++)
        table_row(table, op_info((enum op)op)->name,
                  table_number(samples_sum(samples, requests, "op", op_info((enum op)op)->name)),
                  NULL);
    table_print(&table);
    printf("\n");
    table = table_new();
    table_row(table, "OUTCOME", ">COUNT", NULL);
    for (unsigned status = 0; status < STATUS_COUNT; status++) {
        const char *name = status_info((enum status)status)->name;
        double count = samples_sum(samples, responses, "status", name);
        if (count > 0)
            table_row(table, name, table_number(count), NULL);
    }
    table_print(&table);
}

/* How many of a kind took at most this long. */
static double at_most(const struct samples *samples, const char *kind, double bound)
{
    double sum = 0;
    for (size_t i = 0; i < samples->count; i++) {
        const struct sample *sample = &samples->rows[i];
        if (samples_is(sample, buckets, "kind", kind) &&
            fabs(strtod(samples_label(sample, "le"), NULL) - bound) < bound / 100)
            sum += sample->value;
    }
    return sum;
}

/* The upper bound of the bucket in which a quantile lies, in seconds. */
static double quantile(const struct samples *samples, const char *kind, double share)
{
    double all = samples_sum(samples, duration_count, "kind", kind);
    for (unsigned k = FIGURE_LATENCY_FIRST_LOG2;
         k + 1 < FIGURE_LATENCY_FIRST_LOG2 + FIGURE_LATENCY_BUCKETS; k++)
        if (at_most(samples, kind, ldexp(1e-6, (int)k)) >= share * all)
            return ldexp(1e-6, (int)k);
    return INFINITY;
}

static const char *bound_text(double seconds)
{
    return isinf(seconds) ? ">over 262ms" : table_time(seconds);
}

static void print_latency(const struct samples *samples)
{
    static const char *const kinds[] = {"read", "write"};
    struct table *table = table_new();
    table_row(table, "LATENCY", ">COUNT", ">MEAN", ">P50 <=", ">P95 <=", ">P99 <=", NULL);
    for (unsigned i = 0; i < 2; i++) {
        double count = samples_sum(samples, duration_count, "kind", kinds[i]);
        double sum = samples_sum(samples, duration_sum, "kind", kinds[i]);
        if (count > 0)
            table_row(table, kinds[i], table_number(count), table_time(sum / count),
                      bound_text(quantile(samples, kinds[i], 0.5)),
                      bound_text(quantile(samples, kinds[i], 0.95)),
                      bound_text(quantile(samples, kinds[i], 0.99)), NULL);
    }
    table_print(&table);
}

static void print_rest(const struct samples *samples)
{
    struct table *table = table_new();
    table_row(table, "FIGURE", "OF", ">VALUE", NULL);
    for (size_t i = 0; i < samples->count; i++) {
        const struct sample *sample = &samples->rows[i];
        if (samples_is(sample, requests, NULL, NULL) || samples_is(sample, responses, NULL, NULL) ||
            strncmp(sample->name, buckets, strlen("strato_request_duration_seconds")) == 0)
            continue;
        const char *bytes = strstr(sample->name, "_bytes");
        table_row(table, sample->name, sample->labels,
                  bytes ? table_bytes(sample->value) : table_number(sample->value), NULL);
    }
    table_print(&table);
}

static void print_json(const struct samples *samples)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < samples->count; i++) {
        const struct sample *sample = &samples->rows[i];
        json_array_append_new(rows, json_pack("{s:s, s:s, s:f}", "name", sample->name, "labels",
                                              sample->labels, "value", sample->value));
    }
    json_dumpf(rows, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
    printf("\n");
    json_decref(rows);
}

/* ---- Asking ---- */

int view_figures(const struct options *options)
{
    struct samples samples;
    json_t *rows = NULL;
    int fd;
    if (!ask_status(options->socket, options->json, &rows, &fd))
        return 1;
    bool good = samples_take(&samples, fd, rows);
    json_decref(rows);
    if (fd >= 0)
        close(fd);
    if (!good) {
        fprintf(stderr, "stratoctl: this stratod has no memory for figures, as it is of an older "
                        "release: restart the whole service\n");
    } else if (options->json) {
        print_json(&samples);
    } else {
        print_operations(&samples);
        printf("\n");
        print_latency(&samples);
        printf("\n");
        print_rest(&samples);
    }
    samples_free(&samples);
    return good ? 0 : 1;
}
