/*
 * figures - what every process counts for /metrics, in memory that outlives it.
 *
 * One memfd of the supervisor's, a page for each store and for each channel (a worker counts in
 * that of its lane; its lanes are summed). In a page each figure has a fixed place: rows of
 * figures.def, operations and statuses by their numbers. A page has one writer, the process it
 * belongs to; a successor goes on where it stopped. Readers map all of it for reading and take
 * numbers from it, whatever they are; names and labels are their own.
 *
 * Each number is written and read whole, without an order between them: a look at many of them is
 * not of one moment.
 */
#ifndef STRATO_PROTO_FIGURES_FIGURES_H
#define STRATO_PROTO_FIGURES_FIGURES_H

#include <stdatomic.h>

#include "proto/run/run.h"

#define FIGURES_MAGIC 0x5347494652545300u /* "\0STRFIGS" */

enum {
    FIGURES_VERSION = 1,
    FIGURES_PLACES = 1016,
    FIGURES_STORES = 16, /* pages of stores, by their backend's number; then those of channels */
    FIGURES_CHANNELS = RUN_LANES * 2 * CONF_WORKERS_MAX,
    FIGURES_PAGES = FIGURES_STORES + FIGURES_CHANNELS,

    FIGURE_LATENCY_BUCKETS = 16, /* upper bounds 2^k microseconds, k = 4..18, then +Inf */
    FIGURE_LATENCY_FIRST_LOG2 = 4,
    FIGURE_KIND = 32, /* places of each kind of request: reads, writes */
    FIGURE_STATUSES = 128,
    FIGURE_OPERATIONS = 512,
    FIGURE_SERVICES = 64,
    FIGURE_ERRORS = 128,
};

/* Places in a worker's page, and in a store's. */
enum figure_place {
#define FIGURE(owner, place, symbol, by, type, unit, name, label, help) FIGURE_##symbol = (place),
#include "proto/figures/figures.def"
};

struct figures_page {
    _Atomic uint64_t magic; /* of another process's page: look at nothing else when it is wrong */
    uint32_t version;
    uint32_t size; /* of the page */
    uint64_t unused[6];
    _Atomic uint64_t at[FIGURES_PLACES];
};

enum { FIGURES_SIZE = FIGURES_PAGES * sizeof(struct figures_page) };

/* ---- Who counts ---- */

/* The page of this number, to be counted in; for the process's life. One of another version begins
 * anew, and so does the log say. Without such memory (an older supervisor gives none) it is this
 * process's own and nobody else sees it. Panics when there is no memory at all. */
struct figures_page *figures_begin(int fd, unsigned number);

/* This process is the only writer, so a plain load and store will do. */
static inline void figures_count(struct figures_page *page, unsigned place, uint64_t add)
{
    uint64_t value = atomic_load_explicit(&page->at[place], memory_order_relaxed);
    atomic_store_explicit(&page->at[place], value + add, memory_order_relaxed);
}

static inline void figures_set(struct figures_page *page, unsigned place, uint64_t value)
{
    atomic_store_explicit(&page->at[place], value, memory_order_relaxed);
}

/* ---- Who shows ---- */

struct figures { /* all zero shows nothing */
    const struct figures_page *pages;
    unsigned first, count; /* which pages there are */
    bool mapped;
    bool workers[2 * CONF_WORKERS_MAX]; /* whether each is shown */
    bool stores[BACKEND_COUNT];
};

/* False when fd is no memory of figures. Nothing is shown yet. */
bool figures_open(struct figures *figures_r, int fd) MUST_CHECK;
/* Of a page of one's own. */
void figures_open_one(struct figures *figures_r, const struct figures_page *page, unsigned number);
void figures_close(struct figures *figures);
/* Shows the figures of the process with this name; one that is none has none. */
void figures_show(struct figures *figures, const char *process);

enum figure_type { FIGURE_GAUGE, FIGURE_COUNTER, FIGURE_HISTOGRAM };

/* One sample; valid during the call. */
struct figure {
    const char *family; /* "strato_request_duration_seconds" */
    const char *name;   /* the same, or with _bucket, _sum or _count */
    const char *labels; /* process="http-0",op="KVGet" */
    const char *help;
    enum figure_type type; /* of the family */
    double value;
};

/* Takes every sample of the processes that are shown; those of a family follow one another. */
typedef void figures_take(void *context, const struct figure *figure);
void figures_each(const struct figures *figures, figures_take *take, void *context);

#endif
