/*
 * figures - see figures.h. Any process. What is wrong with the memory costs figures only.
 */
#include "proto/figures/figures.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "proto/base/log.h"

_Static_assert(sizeof(struct figures_page) == 8192, "pages lie one after another");

/* How many pages a memory of figures has that cannot be taken away; 0: it is none. */
static unsigned pages_of(int fd)
{
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat info;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & wanted) != wanted || fstat(fd, &info) != 0)
        return 0;
    uint64_t pages = (uint64_t)info.st_size / sizeof(struct figures_page);
    return pages < FIGURES_PAGES ? (unsigned)pages : FIGURES_PAGES;
}

/* ---- Who counts ---- */

/* A page that the kernel cannot give when it is touched would end us: so it is asked for now. */
static struct figures_page *map_page(int fd, unsigned number)
{
    const off_t offset = (off_t)(number * sizeof(struct figures_page));
    if (number >= pages_of(fd) || posix_fallocate(fd, offset, sizeof(struct figures_page)) != 0)
        return NULL;
    void *page =
        mmap(NULL, sizeof(struct figures_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    return page == MAP_FAILED ? NULL : page;
}

static struct figures_page *own_page(void)
{
    log_info("no memory for figures was given: what this process counts nobody else sees");
    void *page = mmap(NULL, sizeof(struct figures_page), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        panic("out of memory: a page of figures");
    return page;
}

static bool is_current(const struct figures_page *page)
{
    return atomic_load_explicit(&page->magic, memory_order_acquire) == FIGURES_MAGIC &&
           page->version == FIGURES_VERSION && page->size == sizeof *page;
}

struct figures_page *figures_begin(int fd, unsigned number)
{
    struct figures_page *page = map_page(fd, number);
    if (!page)
        page = own_page();
    if (is_current(page))
        return page;
    if (page->version != 0)
        log_warn("the figures that were found have version %u and %u bytes, this program needs "
                 "version %d and %zu: they begin anew",
                 page->version, page->size, FIGURES_VERSION, sizeof *page);
    atomic_store(&page->magic, 0);
    for (unsigned i = 0; i < FIGURES_PLACES; i++)
        figures_set(page, i, 0);
    page->version = FIGURES_VERSION;
    page->size = sizeof *page;
    atomic_store_explicit(&page->magic, FIGURES_MAGIC, memory_order_release);
    return page;
}

/* ---- Who shows ---- */

bool figures_open(struct figures *figures_r, int fd)
{
    unsigned count = pages_of(fd);
    *figures_r = (struct figures){.count = count, .mapped = true};
    if (count == 0)
        return false;
    const void *pages =
        mmap(NULL, count * sizeof(struct figures_page), PROT_READ, MAP_SHARED, fd, 0);
    if (pages == MAP_FAILED)
        return false;
    figures_r->pages = pages;
    return true;
}

void figures_open_one(struct figures *figures_r, const struct figures_page *page, unsigned number)
{
    *figures_r = (struct figures){.pages = page, .first = number, .count = 1};
}

void figures_close(struct figures *figures)
{
    if (figures->pages && figures->mapped)
        munmap((void *)(uintptr_t)figures->pages, figures->count * sizeof *figures->pages);
    *figures = (struct figures){0};
}

void figures_show(struct figures *figures, const char *process)
{
    char name[RUN_NAME_MAX];
    for (unsigned i = 0; i < 2 * CONF_WORKERS_MAX; i++) {
        run_name_worker(i, name);
        figures->workers[i] = figures->workers[i] || strcmp(name, process) == 0;
    }
    for (unsigned i = 0; i < BACKEND_COUNT; i++) {
        run_name_store((enum backend)i, name);
        figures->stores[i] = figures->stores[i] || strcmp(name, process) == 0;
    }
}

/* ---- Samples ---- */

enum owner { OWNER_WORKER, OWNER_STORE, OWNER_LINK, OWNER_ARENA, OWNER_DISK, OWNER_REDIS };
enum by { BY_ALL, BY_KIND, BY_OPERATION, BY_STATUS, BY_SERVICE, BY_ERROR, BY_CHANNEL };

static const struct row {
    enum owner owner;
    unsigned place;
    enum by by;
    enum figure_type type;
    double unit;
    const char *name, *label, *help;
} rows[] = {
#define FIGURE(owner, place, symbol, by, type, unit, name, label, help)                            \
    {OWNER_##owner, place, BY_##by, FIGURE_##type, unit, name, label, help},
#include "proto/figures/figures.def"
};

static const char *const errors[] = {
#define ERROR(number, symbol, name) [number] = (name),
#include "proto/figures/figures.def"
};

enum { ERROR_COUNT = sizeof errors / sizeof *errors };

_Static_assert((int)FIGURE_DURATION + 2 * FIGURE_KIND <= (int)FIGURE_ENDED, "places of kinds");
_Static_assert(STATUS_COUNT <= (int)FIGURE_STATUSES, "places of statuses");
_Static_assert((int)FIGURE_ENDED + FIGURE_STATUSES <= (int)FIGURE_REQUESTS, "places of statuses");
_Static_assert(OP_COUNT <= (int)FIGURE_OPERATIONS, "places of operations");
_Static_assert((int)FIGURE_REQUESTS + FIGURE_OPERATIONS <= FIGURES_PLACES, "a worker's page");
_Static_assert(SERVICE_COUNT <= (int)FIGURE_SERVICES, "places of services");
_Static_assert((int)FIGURE_ARENA_RECORDS + FIGURE_SERVICES <= (int)FIGURE_ARENA_PARTS, "services");
_Static_assert((int)FIGURE_ARENA_PARTS + FIGURE_SERVICES <= (int)FIGURE_REDIS_ERRORS, "services");
_Static_assert((int)ERROR_COUNT <= (int)FIGURE_ERRORS, "places of errors");
_Static_assert((int)FIGURE_REDIS_ERRORS + FIGURE_ERRORS <= (int)FIGURE_DEPTH, "places of errors");
_Static_assert((int)FIGURE_DEPTH + FIGURES_CHANNELS <= FIGURES_PLACES, "a store's page");
_Static_assert(BACKEND_COUNT <= (int)FIGURES_STORES, "pages of stores");

/* Whose figures these are: some pages, of which the numbers are summed. */
struct source {
    unsigned page, pages;
    bool worker;
    enum backend backend; /* of a store */
    char name[RUN_NAME_MAX];
};

struct walk {
    const struct figures *figures;
    figures_take *take;
    void *context;
    const struct row *row;
    struct source source;
};

static const struct figures_page *page_of(const struct figures *figures, unsigned number)
{
    if (number < figures->first || number - figures->first >= figures->count)
        return NULL;
    const struct figures_page *page = &figures->pages[number - figures->first];
    return is_current(page) ? page : NULL;
}

static bool has_page(const struct walk *walk)
{
    for (unsigned i = 0; i < walk->source.pages; i++)
        if (page_of(walk->figures, walk->source.page + i))
            return true;
    return false;
}

static double value_at(const struct walk *walk, unsigned place)
{
    double sum = 0;
    for (unsigned i = 0; i < walk->source.pages; i++) {
        const struct figures_page *page = page_of(walk->figures, walk->source.page + i);
        if (page)
            sum += (double)atomic_load_explicit(&page->at[place], memory_order_relaxed);
    }
    return sum;
}

static void give(const struct walk *walk, const char *suffix, const char *labels, double value)
{
    const struct row *row = walk->row;
    char name[96];
    snprintf(name, sizeof name, "%s%s", row->name, suffix);
    const struct figure figure = {row->name, name, labels, row->help, row->type, value};
    walk->take(walk->context, &figure);
}

/* A worker's buckets count what fell into each; Prometheus wants what is at or below its bound. */
static void give_histogram(const struct walk *walk, bool write)
{
    const unsigned place = walk->row->place + (write ? FIGURE_KIND : 0);
    char labels[128], bound[32];
    double sum = 0;
    int len = snprintf(labels, sizeof labels, "process=\"%s\",kind=\"%s\"", walk->source.name,
                       write ? "write" : "read");
    for (unsigned i = 0; i < FIGURE_LATENCY_BUCKETS; i++) {
        snprintf(bound, sizeof bound, "%.9g",
                 1e-6 * (double)(1u << (FIGURE_LATENCY_FIRST_LOG2 + i)));
        sum += value_at(walk, place + i);
        snprintf(labels + len, sizeof labels - (size_t)len, ",le=\"%s\"",
                 i + 1 < FIGURE_LATENCY_BUCKETS ? bound : "+Inf");
        give(walk, "_bucket", labels, sum);
    }
    labels[len] = '\0';
    give(walk, "_sum", labels, value_at(walk, place + FIGURE_LATENCY_BUCKETS) / walk->row->unit);
    give(walk, "_count", labels, sum);
}

static unsigned count_of(enum by by)
{
    static const unsigned counts[] = {
        [BY_ALL] = 1,
        [BY_KIND] = 2,
        [BY_OPERATION] = OP_COUNT,
        [BY_STATUS] = STATUS_COUNT,
        [BY_SERVICE] = SERVICE_COUNT,
        [BY_ERROR] = ERROR_COUNT,
        [BY_CHANNEL] = FIGURES_CHANNELS,
    };
    return counts[by];
}

/* The name of one of them; NULL: this number has none. */
static const char *name_of(enum by by, unsigned number)
{
    switch (by) {
    case BY_OPERATION:
        return op_info((enum op)number) ? op_info((enum op)number)->name : NULL;
    case BY_STATUS:
        return status_info((enum status)number)->name;
    case BY_SERVICE:
        return service_name((enum service)number);
    case BY_ERROR:
        return errors[number];
    default:
        return "";
    }
}

/* False: there is nothing of this number to show. */
static bool write_labels(const struct walk *walk, unsigned number, char *labels, size_t size)
{
    static const char *const words[] = {[BY_OPERATION] = "op",
                                        [BY_STATUS] = "status",
                                        [BY_SERVICE] = "service",
                                        [BY_ERROR] = "error"};
    const struct row *row = walk->row;
    const struct source *source = &walk->source;
    const char *name = name_of(row->by, number);
    char worker[RUN_NAME_MAX];
    if (row->by == BY_CHANNEL) {
        run_name_worker(number / RUN_LANES, worker);
        snprintf(labels, size, "process=\"%s\",store=\"%s\",lane=\"%u\"", worker, source->name,
                 number % RUN_LANES);
        return walk->figures->workers[number / RUN_LANES];
    }
    bool process = row->owner == OWNER_WORKER || row->owner == OWNER_LINK;
    int len = snprintf(labels, size, "%s=\"%s\"%s", process ? "process" : "backend",
                       process ? source->name : backend_name(source->backend), row->label);
    if (name && *name)
        snprintf(labels + len, size - (size_t)len, ",%s=\"%s\"", words[row->by], name);
    return name != NULL;
}

static void give_source(const struct walk *walk)
{
    char labels[160];
    for (unsigned i = 0; i < count_of(walk->row->by); i++) {
        if (walk->row->by == BY_KIND)
            give_histogram(walk, i == 1);
        else if (write_labels(walk, i, labels, sizeof labels))
            give(walk, "", labels, value_at(walk, walk->row->place + i) / walk->row->unit);
    }
}

static bool has_row(const struct source *source, enum owner owner)
{
    if (source->worker)
        return owner == OWNER_WORKER;
    return owner == OWNER_STORE || owner == OWNER_LINK ||
           (owner == OWNER_ARENA && run_has_arena(source->backend)) ||
           (owner == OWNER_DISK && source->backend == BACKEND_DISK) ||
           (owner == OWNER_REDIS && source->backend == BACKEND_REDIS);
}

/* Sources are numbered: workers, then stores. False: it is not shown. */
static bool take_source(const struct figures *figures, unsigned number, struct source *source_r)
{
    const unsigned workers = 2 * CONF_WORKERS_MAX;
    if (number < workers) {
        *source_r = (struct source){FIGURES_STORES + RUN_LANES * number, RUN_LANES, true, 0, ""};
        run_name_worker(number, source_r->name);
        return figures->workers[number];
    }
    *source_r = (struct source){number - workers, 1, false, (enum backend)(number - workers), ""};
    run_name_store(source_r->backend, source_r->name);
    return figures->stores[number - workers];
}

void figures_each(const struct figures *figures, figures_take *take, void *context)
{
    struct walk walk = {.figures = figures, .take = take, .context = context};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        walk.row = &rows[r];
        for (unsigned i = 0; i < 2 * CONF_WORKERS_MAX + BACKEND_COUNT; i++)
            if (take_source(figures, i, &walk.source) && has_row(&walk.source, walk.row->owner) &&
                has_page(&walk))
                give_source(&walk);
    }
}
