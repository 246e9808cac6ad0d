/*
 * stats - collects the figures of every store, and of every process, into Prometheus text.
 *
 * One collection at a time: who asks while one is under way shares it. What a store says is
 * checked and bounded, so that it cannot break the text's format.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "workers/core/internal.h"

enum { SAMPLES_MAX = 20000, TEXT_MAX = 1024 };

/* ---- Samples ---- */

static const char *text_of(const struct core_samples *samples, uint32_t offset)
{
    return (const char *)samples->texts.data + offset;
}

static uint32_t keep_text(struct core_samples *samples, const char *text)
{
    uint32_t offset = (uint32_t)samples->texts.len;
    buffer_append(&samples->texts, text, strlen(text) + 1);
    return offset;
}

static bool good_name(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789";
    size_t len = strlen(name);
    return len > 0 && len <= TEXT_MAX && strspn(name, letters) == len &&
           !(name[0] >= '0' && name[0] <= '9');
}

/* Labels and help must stay on their line; backslashes in help would start an escape. */
static bool good_text(const char *text)
{
    return strlen(text) <= TEXT_MAX && !strpbrk(text, "\r\n");
}

void core_stats_add(struct core *core, const Strato__Control__Sample *from)
{
    struct core_samples *samples = &core->samples;
    if (samples->count >= SAMPLES_MAX || !good_name(from->name) || !good_text(from->labels) ||
        !good_text(from->help))
        return;
    if (samples->count == samples->capacity) {
        uint32_t capacity = samples->capacity ? 2 * samples->capacity : 128;
        struct core_sample *rows = realloc(samples->rows, capacity * sizeof *rows);
        if (!rows)
            panic("out of memory: %u samples", capacity);
        samples->rows = rows;
        samples->capacity = capacity;
    }
    samples->rows[samples->count] = (struct core_sample){
        .name = keep_text(samples, from->name),
        .labels = keep_text(samples, from->labels),
        .help = keep_text(samples, from->help),
        .order = samples->count,
        .value = from->value,
        .counter = from->counter,
    };
    samples->count++;
}

/* ---- The text ---- */

/* By name; of one name, in order of arrival. */
static int compare(const void *left, const void *right, void *context)
{
    const struct core_samples *samples = context;
    const struct core_sample *a = left, *b = right;
    int by_name = strcmp(text_of(samples, a->name), text_of(samples, b->name));
    return by_name ? by_name : (a->order > b->order) - (a->order < b->order);
}

static size_t suffix_at(const char *name, const char *suffix)
{
    size_t len = strlen(name), tail = strlen(suffix);
    return len > tail && strcmp(name + len - tail, suffix) == 0 ? len - tail : 0;
}

/* Length of the family's name: a histogram's series share one, the name before "_bucket". */
static size_t family(const char *name, const char *histogram, size_t histogram_len)
{
    size_t at = suffix_at(name, "_bucket");
    if (at > 0)
        return at;
    if ((at = suffix_at(name, "_count")) == 0)
        at = suffix_at(name, "_sum");
    bool of_it = at > 0 && at == histogram_len && memcmp(name, histogram, at) == 0;
    return of_it ? at : strlen(name);
}

static void append_value(struct buffer *text, double value)
{
    if (value == floor(value) && fabs(value) < 1e15)
        buffer_append_format(text, " %.0f\n", value);
    else
        buffer_append_format(text, " %.15g\n", value);
}

static void append_sample(struct buffer *text, const char *name, const char *labels, double value)
{
    if (labels[0])
        buffer_append_format(text, "%s{%s}", name, labels);
    else
        buffer_append_text(text, name);
    append_value(text, value);
}

static void write_text(const struct core_samples *samples, struct buffer *text)
{
    const char *last = "", *histogram = "";
    size_t last_len = 0, histogram_len = 0;
    for (uint32_t i = 0; i < samples->count; i++) {
        const struct core_sample *row = &samples->rows[i];
        const char *name = text_of(samples, row->name);
        size_t len = family(name, histogram, histogram_len);
        const char *type = row->counter ? "counter" : "gauge";
        if (suffix_at(name, "_bucket")) {
            type = "histogram";
            histogram = name;
            histogram_len = len;
        }
        if (len != last_len || memcmp(name, last, len) != 0)
            buffer_append_format(text, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)len, name,
                                 text_of(samples, row->help), (int)len, name, type);
        last = name;
        last_len = len;
        append_sample(text, name, text_of(samples, row->labels), row->value);
    }
}

void core_stats_close(struct core *core)
{
    free(core->samples.rows);
    buffer_free(&core->samples.texts);
    core->samples = (struct core_samples){0};
}

static void deliver(struct core *core)
{
    struct core_samples *samples = &core->samples;
    struct buffer text = {0};
    struct core_waiter waiter;
    if (samples->count > 0)
        qsort_r(samples->rows, samples->count, sizeof *samples->rows, compare, samples);
    write_text(samples, &text);
    core_stats_close(core);
    while (core_waiter_take(&core->stats_waiters, &waiter))
        waiter.stats(waiter.context, buffer_bytes(&text));
    buffer_free(&text);
}

/* ---- Collecting ---- */

static void store_answered(void *context, enum status status, struct bytes data)
{
    struct core_store *store = context;
    store->stats_job = NULL;
    if (status != STATUS_OK)
        return;
    const Strato__Control__StatsReply *reply = (const void *)data.data;
    for (size_t i = 0; i < reply->n_samples; i++)
        core_stats_add(store->core, reply->samples[i]);
}

static void collect(struct core *core, uint64_t now_ns)
{
    struct core_store *store;
    core->stats_deadline_ns = now_ns + (uint64_t)CORE_INQUIRY_MS * 1000000;
    core_processes_add(core);
    CORE_EACH_STORE(core, store)
    {
        store->stats_job = transfer_stats(store->transfer, store_answered, store);
    }
}

static bool collecting(struct core *core, uint64_t now_ns)
{
    struct core_store *store;
    bool waiting = false;
    CORE_EACH_STORE(core, store)
    {
        if (store->stats_job && now_ns >= core->stats_deadline_ns)
            transfer_cancel(&store->stats_job);
        waiting = waiting || store->stats_job;
    }
    return waiting;
}

void core_stats(struct core *core, void (*done)(void *context, struct bytes text), void *context)
{
    core_waiter_add(&core->stats_waiters, (struct core_waiter){.stats = done, .context = context});
}

void core_stats_cancel(struct core *core, void *context)
{
    core_waiter_remove(&core->stats_waiters, context);
}

void core_stats_poll(struct core *core, uint64_t now_ns)
{
    if (core->stats_deadline_ns == 0) {
        collect(core, now_ns);
        return;
    }
    if (collecting(core, now_ns))
        return;
    core->stats_deadline_ns = 0;
    deliver(core);
}
