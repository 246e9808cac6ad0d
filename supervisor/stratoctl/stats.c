/*
 * stats - the figures as tables: operations, latency, workers; then whatever else there is.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/op.h"
#include "proto/base/status.h"
#include "proto/base/text.h"
#include "supervisor/stratoctl/ask.h"
#include "supervisor/stratoctl/figures.h"
#include "supervisor/stratoctl/table.h"
#include "supervisor/stratoctl/views.h"

static const char requests[] = "strato_requests_total";
static const char responses[] = "strato_responses_total";
static const char buckets[] = "strato_request_duration_seconds_bucket";
static const char duration_sum[] = "strato_request_duration_seconds_sum";
static const char duration_count[] = "strato_request_duration_seconds_count";

/* ---- Tables ---- */

static void print_operations(const struct figures *figures)
{
    struct table *table = table_new();
    table_row(table, "OPERATION", ">COUNT", NULL);
    for (unsigned op = OP_NONE + 1; op < OP_COUNT; op++)
        table_row(table, op_info((enum op)op)->name,
                  table_number(figures_sum(figures, requests, "op", op_info((enum op)op)->name)),
                  NULL);
    table_print(&table);
    printf("\n");
    table = table_new();
    table_row(table, "OUTCOME", ">COUNT", NULL);
    for (unsigned status = 0; status < STATUS_COUNT; status++) {
        const char *name = status_info((enum status)status)->name;
        double count = figures_sum(figures, responses, "status", name);
        if (count > 0)
            table_row(table, name, table_number(count), NULL);
    }
    table_print(&table);
}

/* How many of a kind took at most this long. */
static double at_most(const struct figures *figures, const char *kind, double bound)
{
    double sum = 0;
    for (size_t i = 0; i < figures->count; i++) {
        const struct figure_sample *sample = &figures->samples[i];
        if (figures_is(sample, buckets, "kind", kind) &&
            fabs(strtod(figures_label(sample, "le"), NULL) - bound) < bound / 100)
            sum += sample->value;
    }
    return sum;
}

/* The upper bound of the bucket in which a quantile lies, in seconds. */
static double quantile(const struct figures *figures, const char *kind, double share)
{
    double all = figures_sum(figures, duration_count, "kind", kind);
    for (unsigned k = 4; k < 19; k++) /* as in proto/channel/figures.h */
        if (at_most(figures, kind, ldexp(1e-6, (int)k)) >= share * all)
            return ldexp(1e-6, (int)k);
    return INFINITY;
}

static const char *bound_text(double seconds)
{
    return isinf(seconds) ? ">over 262ms" : table_time(seconds);
}

static void print_latency(const struct figures *figures)
{
    static const char *const kinds[] = {"read", "write"};
    struct table *table = table_new();
    table_row(table, "LATENCY", ">COUNT", ">MEAN", ">P50 <=", ">P95 <=", ">P99 <=", NULL);
    for (unsigned i = 0; i < 2; i++) {
        double count = figures_sum(figures, duration_count, "kind", kinds[i]);
        double sum = figures_sum(figures, duration_sum, "kind", kinds[i]);
        if (count > 0)
            table_row(table, kinds[i], table_number(count), table_time(sum / count),
                      bound_text(quantile(figures, kinds[i], 0.5)),
                      bound_text(quantile(figures, kinds[i], 0.95)),
                      bound_text(quantile(figures, kinds[i], 0.99)), NULL);
    }
    table_print(&table);
}

static void print_rest(struct figures *figures)
{
    struct table *table = table_new();
    table_row(table, "FIGURE", "OF", ">VALUE", NULL);
    for (size_t i = 0; i < figures->count; i++) {
        const struct figure_sample *sample = &figures->samples[i];
        if (figures_is(sample, requests, NULL, NULL) || figures_is(sample, responses, NULL, NULL) ||
            strncmp(sample->name, buckets, strlen("strato_request_duration_seconds")) == 0)
            continue;
        const char *bytes = strstr(sample->name, "_bytes");
        table_row(table, sample->name, sample->labels,
                  bytes ? table_bytes(sample->value) : table_number(sample->value), NULL);
    }
    table_print(&table);
}

static void print_json(const struct figures *figures)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < figures->count; i++) {
        const struct figure_sample *sample = &figures->samples[i];
        json_array_append_new(rows, json_pack("{s:s, s:s, s:f}", "name", sample->name, "labels",
                                              sample->labels, "value", sample->value));
    }
    json_dumpf(rows, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
    printf("\n");
    json_decref(rows);
}

/* ---- Asking ---- */

/* From every store in use; false after saying which one did not answer. */
static bool fetch(const char *socket, const json_t *supervisor, struct figures *figures)
{
    char run_dir[128];
    ask_directory(socket, run_dir, sizeof run_dir);
    bool good = true;
    size_t i;
    json_t *backend;
    json_array_foreach(json_object_get(supervisor, "backends"), i, backend)
    {
        const char *name = json_string_value(backend);
        if (name && figures_fetch(figures, run_dir, name))
            continue;
        char text[128]; /* a name of whoever answered */
        snprintf(text, sizeof text, "%s", name ? name : "?");
        text_flatten(text);
        fprintf(stderr, "stratoctl: store-%s does not answer\n", text);
        good = false;
    }
    return good;
}

int view_stats(const struct options *options)
{
    struct figures figures = {0};
    json_t *rows = NULL;
    if (!ask(options->socket, "status", options->json, &rows))
        return 1;
    bool good = fetch(options->socket, json_array_get(rows, 0), &figures);
    json_decref(rows);
    if (options->json) {
        print_json(&figures);
    } else {
        print_operations(&figures);
        printf("\n");
        print_latency(&figures);
        printf("\n");
        print_rest(&figures);
    }
    figures_free(&figures);
    return good ? 0 : 1;
}
