/* stats: workers' figures as samples, lanes summed; pages that fit a message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "proto/channel/figures.h"
#include "proto/link/link.h"
#include "proto/run/run.h"
#include "store/stats.h"

enum { WORKERS = 2, CHANNELS = WORKERS * RUN_LANES };

static struct channel_memory *memories[CHANNELS];
static struct conf conf;

static const Strato__Control__Sample *find(const struct stats *stats, const char *name,
                                           const char *labels)
{
    for (size_t i = 0; i < stats->count; i++)
        if (strcmp(stats->samples[i]->name, name) == 0 &&
            strcmp(stats->samples[i]->labels, labels) == 0)
            return stats->samples[i];
    return NULL;
}

static double value(const struct stats *stats, const char *name, const char *labels)
{
    const Strato__Control__Sample *sample = find(stats, name, labels);
    assert_non_null(sample);
    return sample->value;
}

static void count(unsigned channel, unsigned figure, uint64_t n)
{
    atomic_fetch_add(&memories[channel]->counters[figure], n);
}

static void test_lanes_are_summed(void **state)
{
    struct stats stats = {0};
    (void)state;
    count(0, FIGURE_REQUESTS + OP_KV_PUT, 5);
    count(1, FIGURE_REQUESTS + OP_KV_PUT, 7);
    count(2, FIGURE_ENDED_STATUS + STATUS_NOT_FOUND, 3);
    count(1, FIGURE_CONNECTIONS_OPEN, 9);
    stats_add_workers(&stats, &conf, memories, CHANNELS);
    assert_int_equal(value(&stats, "strato_requests_total", "process=\"http-0\",op=\"KVPut\""), 12);
    assert_int_equal(
        value(&stats, "strato_responses_total", "process=\"grpc-0\",status=\"not_found\""), 3);
    assert_int_equal(value(&stats, "strato_connections_open", "process=\"http-0\""), 9);
    assert_false(find(&stats, "strato_connections_open", "process=\"http-0\"")->counter);
    assert_true(find(&stats, "strato_reads_total", "process=\"http-0\",from=\"arena\"")->counter);
    stats_clear(&stats);
}

static void test_durations_are_a_histogram_in_seconds(void **state)
{
    struct stats stats = {0};
    const char *bucket = "strato_request_duration_seconds_bucket";
    unsigned writes = FIGURE_LATENCY + FIGURE_LATENCY_BUCKETS + 1;
    (void)state;
    count(0, writes + 0, 1);
    count(0, writes + 2, 2);
    count(1, writes + FIGURE_LATENCY_BUCKETS - 1, 4);
    count(1, writes + FIGURE_LATENCY_BUCKETS, 2500000000);
    stats_add_workers(&stats, &conf, memories, CHANNELS);
    assert_int_equal(value(&stats, bucket, "process=\"http-0\",kind=\"write\",le=\"1.6e-05\""), 1);
    assert_int_equal(value(&stats, bucket, "process=\"http-0\",kind=\"write\",le=\"3.2e-05\""), 1);
    assert_int_equal(value(&stats, bucket, "process=\"http-0\",kind=\"write\",le=\"6.4e-05\""), 3);
    assert_int_equal(value(&stats, bucket, "process=\"http-0\",kind=\"write\",le=\"0.262144\""), 3);
    assert_int_equal(value(&stats, bucket, "process=\"http-0\",kind=\"write\",le=\"+Inf\""), 7);
    assert_int_equal(value(&stats, bucket, "process=\"http-0\",kind=\"read\",le=\"+Inf\""), 0);
    assert_int_equal(
        value(&stats, "strato_request_duration_seconds_count", "process=\"http-0\",kind=\"write\""),
        7);
    assert_float_equal(
        value(&stats, "strato_request_duration_seconds_sum", "process=\"http-0\",kind=\"write\""),
        2.5, 1e-9);
    stats_clear(&stats);
}

static void test_depth_believes_nothing(void **state)
{
    struct stats stats = {0};
    (void)state;
    atomic_store(&memories[0]->submitted, 10);
    atomic_store(&memories[0]->completed, 4);
    atomic_store(&memories[3]->submitted, 4);
    atomic_store(&memories[3]->completed, 10);
    stats_add_channels(&stats, &conf, "store-memory", memories, CHANNELS);
    assert_int_equal(stats.count, CHANNELS);
    assert_int_equal(value(&stats, "strato_channel_depth",
                           "process=\"http-0\",store=\"store-memory\",lane=\"0\""),
                     6);
    assert_int_equal(value(&stats, "strato_channel_depth",
                           "process=\"grpc-0\",store=\"store-memory\",lane=\"1\""),
                     0);
    stats_clear(&stats);
}

static void test_help_goes_with_the_first_of_a_name(void **state)
{
    struct stats stats = {0};
    (void)state;
    stats_add(&stats, STATS_GAUGE, "a", "About a.", 1, "x=\"%d\"", 1);
    stats_add(&stats, STATS_GAUGE, "a", "About a.", 2, "x=\"%d\"", 2);
    stats_add(&stats, STATS_COUNTER, "b", "About b.", 3, "%s", "");
    assert_string_equal(stats.samples[0]->help, "About a.");
    assert_string_equal(stats.samples[1]->help, "");
    assert_string_equal(stats.samples[2]->help, "About b.");
    stats_clear(&stats);
}

static void test_pages_fit_and_miss_nothing(void **state)
{
    struct stats stats = {0};
    uint32_t page = 0;
    size_t seen = 0, pages = 0;
    (void)state;
    for (unsigned i = 0; i < 20000; i++)
        stats_add(&stats, STATS_COUNTER, "strato_something_total", "Something.", i,
                  "process=\"http-%u\"", i);
    do {
        Strato__Control__StatsReply reply;
        stats_page(&stats, page, &reply);
        assert_true(protobuf_c_message_get_packed_size(&reply.base) <= LINK_CHUNK);
        for (size_t i = 0; i < reply.n_samples; i++)
            assert_int_equal(reply.samples[i]->value, seen++);
        page = reply.next;
        pages++;
    } while (page != 0);
    assert_int_equal(seen, 20000);
    assert_true(pages > 1);
    Strato__Control__StatsReply beyond;
    stats_page(&stats, 20000, &beyond);
    assert_int_equal(beyond.n_samples, 0);
    stats_page(&stats, UINT32_MAX, &beyond);
    assert_int_equal(beyond.n_samples, 0);
    assert_int_equal(beyond.next, 0);
    stats_clear(&stats);
}

static int set_up(void **state)
{
    (void)state;
    conf.http.enabled = conf.grpc.enabled = true;
    conf.http.workers = conf.grpc.workers = 1;
    for (unsigned i = 0; i < CHANNELS; i++)
        memories[i] = calloc(1, channel_memory_size());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CHANNELS; i++)
        free(memories[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lanes_are_summed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_durations_are_a_histogram_in_seconds, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_depth_believes_nothing, set_up, tear_down),
        cmocka_unit_test(test_help_goes_with_the_first_of_a_name),
        cmocka_unit_test(test_pages_fit_and_miss_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
