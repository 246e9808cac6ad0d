/*
 * stats - see stats.h. Runs in a store's event loop; fails by panic when memory runs out.
 */
#include "store/stats.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "proto/channel/figures.h"
#include "proto/link/link.h"
#include "proto/run/run.h"

enum {
    PAGE_MAX = LINK_CHUNK, /* bytes of a page; the rest of a message is for what goes around it */
    BUCKETS = FIGURE_LATENCY_BUCKETS,
};

void stats_add(struct stats *stats, enum stats_kind kind, const char *name, const char *help,
               double value, const char *labels, ...)
{
    if (stats->count == stats->capacity) {
        stats->capacity = stats->capacity ? stats->capacity * 2 : 64;
        stats->samples = realloc(stats->samples, stats->capacity * sizeof *stats->samples);
    }
    Strato__Control__Sample *sample = malloc(sizeof *sample);
    if (!stats->samples || !sample)
        panic("out of memory");
    strato__control__sample__init(sample);
    va_list args;
    va_start(args, labels);
    if (vasprintf(&sample->labels, labels, args) < 0)
        panic("out of memory");
    va_end(args);
    bool first = stats->count == 0 || strcmp(stats->samples[stats->count - 1]->name, name) != 0;
    sample->name = (char *)(uintptr_t)name;
    sample->help = first ? (char *)(uintptr_t)help : (char *)(uintptr_t)protobuf_c_empty_string;
    sample->value = value;
    sample->counter = kind == STATS_COUNTER;
    stats->samples[stats->count++] = sample;
}

void stats_clear(struct stats *stats)
{
    for (size_t i = 0; i < stats->count; i++) {
        free(stats->samples[i]->labels);
        free(stats->samples[i]);
    }
    free(stats->samples);
    *stats = (struct stats){0};
}

void stats_page(const struct stats *stats, uint32_t first, Strato__Control__StatsReply *reply_r)
{
    strato__control__stats_reply__init(reply_r);
    if (first >= stats->count)
        return;
    size_t last = first, bytes = 0;
    while (last < stats->count) {
        bytes += protobuf_c_message_get_packed_size(&stats->samples[last]->base) + 8;
        if (bytes > PAGE_MAX && last > first)
            break;
        last++;
    }
    reply_r->samples = stats->samples + first;
    reply_r->n_samples = last - first;
    reply_r->next = last < stats->count ? (uint32_t)last : 0;
}

/* ---- The workers' figures ---- */

/* What is known of one worker. */
struct worker {
    char name[RUN_NAME_MAX];
    double figures[FIGURE_END];
};

static void load(struct worker *worker, struct channel_memory *memory)
{
    for (unsigned i = 0; i < FIGURE_END; i++)
        worker->figures[i] +=
            (double)atomic_load_explicit(&memory->counters[i], memory_order_relaxed);
}

/* One row per figure that is a metric of its own. */
static const struct figure_row {
    unsigned figure;
    enum stats_kind kind;
    const char *name;
    const char *label; /* after the process; or "" */
    const char *help;
} figure_rows[] = {
    {FIGURE_CONNECTIONS_OPEN, STATS_GAUGE, "strato_connections_open", "",
     "Client connections open now."},
    {FIGURE_CONNECTIONS_TOTAL, STATS_COUNTER, "strato_connections_total", "",
     "Client connections accepted."},
    {FIGURE_CONNECTIONS_REFUSED, STATS_COUNTER, "strato_connections_refused_total", "",
     "Client connections refused because max_connections were open."},
    {FIGURE_CONNECTIONS_CUT, STATS_COUNTER, "strato_connections_cut_total", "",
     "Client connections closed because they held memory for too long."},
    {FIGURE_BUDGET_USED, STATS_GAUGE, "strato_client_memory_bytes", "",
     "Memory that clients hold: values half received, answers not yet taken."},
    {FIGURE_BUDGET_LIMIT, STATS_GAUGE, "strato_client_memory_limit_bytes", "",
     "What clients of a worker may hold at most (max_memory)."},
    {FIGURE_BUDGET_REFUSED, STATS_COUNTER, "strato_client_memory_refused_total", "",
     "Times that no memory was left for what a client asked for."},
    {FIGURE_BYTES_IN, STATS_COUNTER, "strato_received_bytes_total", "",
     "Bytes received from clients."},
    {FIGURE_BYTES_OUT, STATS_COUNTER, "strato_sent_bytes_total", "", "Bytes sent to clients."},
    {FIGURE_BAD_REQUESTS, STATS_COUNTER, "strato_bad_requests_total", "",
     "Requests that no operation could be made of."},
    {FIGURE_READS_LOCAL, STATS_COUNTER, "strato_reads_total", ",from=\"arena\"",
     "Reads, by where they were answered from."},
    {FIGURE_READS_FORWARDED, STATS_COUNTER, "strato_reads_total", ",from=\"store\"",
     "Reads, by where they were answered from."},
};

static void add_rows(struct stats *stats, const struct worker *workers, unsigned count)
{
    for (size_t r = 0; r < sizeof figure_rows / sizeof figure_rows[0]; r++) {
        const struct figure_row *row = &figure_rows[r];
        for (unsigned w = 0; w < count; w++)
            stats_add(stats, row->kind, row->name, row->help, workers[w].figures[row->figure],
                      "process=\"%s\"%s", workers[w].name, row->label);
    }
}

static void add_operations(struct stats *stats, const struct worker *workers, unsigned count)
{
    for (unsigned w = 0; w < count; w++)
        for (unsigned op = OP_NONE + 1; op < OP_COUNT; op++)
            stats_add(stats, STATS_COUNTER, "strato_requests_total", "Operations asked for.",
                      workers[w].figures[FIGURE_REQUESTS + op], "process=\"%s\",op=\"%s\"",
                      workers[w].name, op_info(op)->name);
    for (unsigned w = 0; w < count; w++)
        for (unsigned status = 0; status < STATUS_COUNT; status++)
            stats_add(stats, STATS_COUNTER, "strato_responses_total",
                      "Operations answered, by outcome.", workers[w].figures[figure_ended(status)],
                      "process=\"%s\",status=\"%s\"", workers[w].name, status_info(status)->name);
}

static const char duration_help[] = "Time from a request's arrival to its answer.";

/* A worker's buckets count what fell into each; Prometheus wants what is at or below its bound. */
static void add_buckets(struct stats *stats, const struct worker *worker, unsigned write)
{
    const double *buckets = worker->figures + FIGURE_LATENCY + (BUCKETS + 1) * write;
    double sum = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        char bound[32] = "+Inf";
        if (i + 1 < BUCKETS)
            snprintf(bound, sizeof bound, "%.9g", ldexp(1e-6, FIGURE_LATENCY_FIRST_LOG2 + (int)i));
        sum += buckets[i];
        stats_add(stats, STATS_COUNTER, "strato_request_duration_seconds_bucket", duration_help,
                  sum, "process=\"%s\",kind=\"%s\",le=\"%s\"", worker->name,
                  write ? "write" : "read", bound);
    }
}

static double buckets_total(const struct worker *worker, unsigned write)
{
    double sum = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        sum += worker->figures[FIGURE_LATENCY + (BUCKETS + 1) * write + i];
    return sum;
}

static void add_durations(struct stats *stats, const struct worker *workers, unsigned count)
{
    for (unsigned i = 0; i < 2 * count; i++)
        add_buckets(stats, &workers[i / 2], i % 2);
    for (unsigned i = 0; i < 2 * count; i++)
        stats_add(stats, STATS_COUNTER, "strato_request_duration_seconds_sum", duration_help,
                  workers[i / 2].figures[FIGURE_LATENCY + (BUCKETS + 1) * (i % 2) + BUCKETS] / 1e9,
                  "process=\"%s\",kind=\"%s\"", workers[i / 2].name, i % 2 ? "write" : "read");
    for (unsigned i = 0; i < 2 * count; i++)
        stats_add(stats, STATS_COUNTER, "strato_request_duration_seconds_count", duration_help,
                  buckets_total(&workers[i / 2], i % 2), "process=\"%s\",kind=\"%s\"",
                  workers[i / 2].name, i % 2 ? "write" : "read");
}

void stats_add_workers(struct stats *stats, const struct conf *conf,
                       struct channel_memory *const *memories, unsigned channels)
{
    unsigned count = 0, most = channels / RUN_LANES;
    struct worker *workers = calloc(most + 1, sizeof *workers);
    if (!workers)
        panic("out of memory");
    for (unsigned w = 0; w < most; w++) {
        if (!run_worker_name(conf, w, workers[count].name))
            continue;
        for (unsigned lane = 0; lane < RUN_LANES; lane++)
            load(&workers[count], memories[w * RUN_LANES + lane]);
        count++;
    }
    add_rows(stats, workers, count);
    add_operations(stats, workers, count);
    add_durations(stats, workers, count);
    free(workers);
}

void stats_add_channels(struct stats *stats, const struct conf *conf, const char *store,
                        struct channel_memory *const *memories, unsigned channels)
{
    for (unsigned i = 0; i < channels; i++) {
        uint64_t completed = atomic_load_explicit(&memories[i]->completed, memory_order_relaxed);
        uint64_t submitted = atomic_load_explicit(&memories[i]->submitted, memory_order_relaxed);
        char worker[RUN_NAME_MAX];
        if (!run_worker_name(conf, i / RUN_LANES, worker))
            continue;
        stats_add(stats, STATS_GAUGE, "strato_channel_depth", "Requests submitted, not completed.",
                  submitted > completed ? (double)(submitted - completed) : 0,
                  "process=\"%s\",store=\"%s\",lane=\"%u\"", worker, store, i % RUN_LANES);
    }
}
