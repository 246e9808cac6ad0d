/* figures: pages that outlive their process, lanes summed, names and labels as Prometheus has them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/os.h"
#include "proto/figures/figures.h"

static int memory; /* of figures */

static struct figures_page *worker_page(bool grpc, unsigned number, unsigned lane)
{
    return figures_begin(memory,
                         FIGURES_STORES + RUN_LANES * run_worker_number(grpc, number) + lane);
}

/* ---- Looking for a sample ---- */

struct search {
    const char *name, *labels;
    unsigned found, families; /* how often; in how many stretches its family came */
    double value;
    bool within;
};

static void look(void *context, const struct figure *figure)
{
    struct search *search = context;
    bool family = strcmp(figure->family, search->name) == 0;
    search->families += family && !search->within;
    search->within = family;
    assert_true(strchr(figure->labels, '\n') == NULL && strlen(figure->help) > 0);
    if (strcmp(figure->name, search->name) != 0 || strcmp(figure->labels, search->labels) != 0)
        return;
    search->found++;
    search->value = figure->value;
}

static unsigned count_of(const char *process, const char *name, const char *labels, double *value_r)
{
    struct search search = {.name = name, .labels = labels};
    struct figures figures;
    assert_true(figures_open(&figures, memory));
    figures_show(&figures, process);
    figures_each(&figures, look, &search);
    figures_close(&figures);
    assert_true(search.families <= 1);
    *value_r = search.value;
    return search.found;
}

static double value(const char *process, const char *name, const char *labels)
{
    double value;
    assert_int_equal(count_of(process, name, labels, &value), 1);
    return value;
}

static unsigned found(const char *process, const char *name, const char *labels)
{
    double value;
    return count_of(process, name, labels, &value);
}

/* ---- Workers ---- */

static void lanes_are_summed(void **state)
{
    (void)state;
    figures_count(worker_page(false, 0, 0), FIGURE_REQUESTS + OP_KV_PUT, 5);
    figures_count(worker_page(false, 0, 1), FIGURE_REQUESTS + OP_KV_PUT, 7);
    figures_count(worker_page(false, 0, 1), FIGURE_REQUESTS + OP_KV_PUT, 1);
    figures_count(worker_page(true, 3, 0), FIGURE_ENDED + STATUS_NOT_FOUND, 3);
    figures_set(worker_page(true, 3, 0), FIGURE_BUDGET_USED, 9);
    assert_int_equal(value("http-0", "strato_requests_total", "process=\"http-0\",op=\"KVPut\""),
                     13);
    assert_int_equal(value("http-0", "strato_requests_total", "process=\"http-0\",op=\"KVGet\""),
                     0);
    assert_int_equal(
        value("grpc-3", "strato_responses_total", "process=\"grpc-3\",status=\"not_found\""), 3);
    assert_int_equal(value("grpc-3", "strato_client_memory_bytes", "process=\"grpc-3\""), 9);
    assert_int_equal(value("grpc-3", "strato_reads_total", "process=\"grpc-3\",from=\"arena\""), 0);
}

static void durations_are_a_histogram_in_seconds(void **state)
{
    static const char name[] = "strato_request_duration_seconds_bucket";
    struct figures_page *page = worker_page(false, 0, 0);
    const unsigned writes = FIGURE_DURATION + FIGURE_KIND;
    (void)state;
    figures_count(page, writes, 1);
    figures_count(page, writes + 3, 2);
    figures_count(page, writes + FIGURE_LATENCY_BUCKETS - 1, 4);
    figures_count(page, writes + FIGURE_LATENCY_BUCKETS, 2500000000);
    assert_int_equal(value("http-0", name, "process=\"http-0\",kind=\"write\",le=\"1.6e-05\""), 1);
    assert_int_equal(value("http-0", name, "process=\"http-0\",kind=\"write\",le=\"0.000128\""), 3);
    assert_int_equal(value("http-0", name, "process=\"http-0\",kind=\"write\",le=\"0.262144\""), 3);
    assert_int_equal(value("http-0", name, "process=\"http-0\",kind=\"write\",le=\"+Inf\""), 7);
    assert_int_equal(value("http-0", name, "process=\"http-0\",kind=\"read\",le=\"+Inf\""), 0);
    assert_true(value("http-0", "strato_request_duration_seconds_sum",
                      "process=\"http-0\",kind=\"write\"") == 2.5);
    assert_int_equal(value("http-0", "strato_request_duration_seconds_count",
                           "process=\"http-0\",kind=\"write\""),
                     7);
}

static void who_is_not_shown_has_none(void **state)
{
    static const char name[] = "strato_connections_total";
    (void)state;
    worker_page(false, 1, 0);
    assert_int_equal(found("http-1", name, "process=\"http-1\""), 1);
    assert_int_equal(found("http-0", name, "process=\"http-1\""), 0);
    assert_int_equal(found("stratod", name, "process=\"http-1\""), 0);
    assert_int_equal(found("http-2", name, "process=\"http-2\""), 0); /* it never began */
}

/* ---- Stores ---- */

static void stores_have_rows_of_their_kind(void **state)
{
    struct figures_page *disk = figures_begin(memory, BACKEND_DISK);
    (void)state;
    figures_begin(memory, BACKEND_REDIS);
    figures_set(disk, FIGURE_TAKEN, 11);
    figures_set(disk, FIGURE_DISK_COMMIT, 1500000000);
    figures_set(disk, FIGURE_ARENA_RECORDS + SERVICE_SET, 4);
    figures_set(disk, FIGURE_UNHEARD, 6);
    assert_int_equal(value("store-disk", "strato_store_submissions_total", "backend=\"disk\""), 11);
    assert_true(value("store-disk", "strato_disk_commit_seconds_total", "backend=\"disk\"") == 1.5);
    assert_int_equal(
        value("store-disk", "strato_arena_records", "backend=\"disk\",service=\"set\""), 4);
    assert_int_equal(value("store-disk", "strato_link_unheard_total", "process=\"store-disk\""), 6);
    assert_int_equal(found("store-disk", "strato_redis_connections", "backend=\"disk\""), 0);
    assert_int_equal(found("store-redis", "strato_arena_size_bytes", "backend=\"redis\""), 0);
    assert_int_equal(
        found("store-redis", "strato_redis_errors_total", "backend=\"redis\",error=\"moved\""), 1);
}

static void take_depth(void *context, const struct figure *figure)
{
    if (strcmp(figure->name, "strato_channel_depth") == 0) {
        assert_string_equal(figure->labels,
                            figure->value == 2
                                ? "process=\"grpc-0\",store=\"store-memory\",lane=\"1\""
                                : "process=\"grpc-0\",store=\"store-memory\",lane=\"0\"");
        (*(unsigned *)context)++;
    }
}

static void depth_is_of_the_workers_that_are_shown(void **state)
{
    struct figures figures;
    unsigned seen = 0;
    (void)state;
    figures_set(figures_begin(memory, BACKEND_MEMORY), FIGURE_DEPTH + 3, 2);
    assert_true(figures_open(&figures, memory));
    figures_show(&figures, "grpc-0");
    figures_show(&figures, "store-memory");
    figures_each(&figures, take_depth, &seen);
    figures_close(&figures);
    assert_int_equal(seen, RUN_LANES);
}

/* ---- What a process meets ---- */

static void a_successor_goes_on(void **state)
{
    struct figures_page *page = worker_page(false, 0, 0);
    (void)state;
    figures_count(page, FIGURE_BYTES_IN, 100);
    munmap(page, sizeof *page);
    figures_count(worker_page(false, 0, 0), FIGURE_BYTES_IN, 1);
    assert_int_equal(value("http-0", "strato_received_bytes_total", "process=\"http-0\""), 101);
}

static void another_version_is_not_read_and_begins_anew(void **state)
{
    struct figures_page *page = worker_page(false, 0, 0);
    (void)state;
    figures_count(page, FIGURE_BYTES_IN, 100);
    page->version = FIGURES_VERSION + 1;
    assert_int_equal(found("http-0", "strato_received_bytes_total", "process=\"http-0\""), 0);
    page = worker_page(false, 0, 0);
    assert_int_equal(value("http-0", "strato_received_bytes_total", "process=\"http-0\""), 0);
    figures_count(page, FIGURE_BYTES_IN, 100);
    page->size /= 2;
    assert_int_equal(found("http-0", "strato_received_bytes_total", "process=\"http-0\""), 0);
    atomic_store(&page->magic, 7);
    worker_page(false, 0, 0);
    assert_int_equal(value("http-0", "strato_received_bytes_total", "process=\"http-0\""), 0);
}

static void any_numbers_are_shown(void **state)
{
    struct figures_page *page = worker_page(false, 0, 0);
    (void)state;
    for (unsigned i = 0; i < FIGURES_PLACES; i++)
        figures_set(page, i, UINT64_MAX - i);
    assert_true(value("http-0", "strato_requests_total", "process=\"http-0\",op=\"KVPut\"") > 1e19);
    assert_true(value("http-0", "strato_request_duration_seconds_count",
                      "process=\"http-0\",kind=\"read\"") > 1e20);
}

static void what_is_no_memory_of_figures_is_not_taken(void **state)
{
    struct figures figures;
    (void)state;
    int unsealed = os_memfd("unsealed");
    assert_int_equal(ftruncate(unsealed, FIGURES_SIZE), 0);
    assert_false(figures_open(&figures, unsealed));
    assert_false(figures_open(&figures, -1));
    int null = open("/dev/null", O_RDONLY);
    assert_false(figures_open(&figures, null));
    close(unsealed);
    close(null);
}

/* An older supervisor gives none: a worker shows what it counts itself. */
static void without_memory_it_has_its_own(void **state)
{
    struct search search = {.name = "strato_bad_requests_total", .labels = "process=\"grpc-0\""};
    struct figures figures;
    (void)state;
    struct figures_page *page = figures_begin(-1, FIGURES_STORES + 2);
    figures_count(page, FIGURE_BAD_REQUESTS, 8);
    figures_open_one(&figures, page, FIGURES_STORES + 2);
    figures_show(&figures, "grpc-0");
    figures_show(&figures, "http-0");
    figures_show(&figures, "store-memory");
    figures_each(&figures, look, &search);
    figures_close(&figures);
    assert_int_equal(search.found, 1);
    assert_int_equal(search.value, 8);
}

/* As of a supervisor that knew fewer workers. */
static void what_is_smaller_has_fewer_pages(void **state)
{
    struct figures figures;
    (void)state;
    int fd = os_memfd("small");
    assert_int_equal(ftruncate(fd, (FIGURES_STORES + 2) * sizeof(struct figures_page)), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    int kept = memory;
    memory = fd;
    worker_page(false, 0, 1);
    struct figures_page *beyond = worker_page(true, 0, 0);
    figures_count(beyond, FIGURE_BYTES_IN, 1);
    assert_int_equal(value("http-0", "strato_received_bytes_total", "process=\"http-0\""), 0);
    assert_int_equal(found("grpc-0", "strato_received_bytes_total", "process=\"grpc-0\""), 0);
    assert_true(figures_open(&figures, fd));
    figures_close(&figures);
    memory = kept;
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    memory = os_memfd("figures");
    if (memory < 0 || ftruncate(memory, FIGURES_SIZE) != 0)
        return -1;
    return fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
}

static int tear_down(void **state)
{
    (void)state;
    return close(memory);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(lanes_are_summed),
        CASE(durations_are_a_histogram_in_seconds),
        CASE(who_is_not_shown_has_none),
        CASE(stores_have_rows_of_their_kind),
        CASE(depth_is_of_the_workers_that_are_shown),
        CASE(a_successor_goes_on),
        CASE(another_version_is_not_read_and_begins_anew),
        CASE(any_numbers_are_shown),
        CASE(what_is_no_memory_of_figures_is_not_taken),
        CASE(without_memory_it_has_its_own),
        CASE(what_is_smaller_has_fewer_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
