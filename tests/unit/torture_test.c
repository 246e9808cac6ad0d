/* Threads at both ends: readers of an arena against its writer, and a channel with both its ends
 * going to sleep. Also under the thread sanitizer. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/arena/reader.h"
#include "proto/base/clock.h"
#include "proto/channel/channel.h"
#include "tests/unit/arena_memory.h"

static const uint64_t NOW = 1700000000000;
enum { SECONDS = 3, KEYS = 64, READERS = 3 };

struct arena_race {
    struct arena_memory memory;
    _Atomic bool stop;
    _Atomic uint64_t reads, retries, wrong;
};

/* A value says whose it is in every byte, and how long it must be. */
static size_t make_value(unsigned key, unsigned version, uint8_t *space)
{
    size_t len = 8 + (version * 13) % 900;
    memset(space, (int)(key ^ version), len);
    memcpy(space, &key, 4);
    memcpy(space + 4, &version, 4);
    return len;
}

static bool is_value(unsigned key, struct bytes value)
{
    unsigned owner, version;
    if (value.len < 8)
        return false;
    memcpy(&owner, value.data, 4);
    memcpy(&version, value.data + 4, 4);
    if (owner != key || value.len != 8 + (version * 13) % 900)
        return false;
    for (size_t i = 8; i < value.len; i++)
        if (value.data[i] != (uint8_t)(key ^ version))
            return false;
    return true;
}

static void *read_forever(void *argument)
{
    struct arena_race *race = argument;
    struct arena_reader reader;
    struct arena_found found;
    struct buffer scratch = {0};
    char text[32];
    unsigned key = 0;
    arena_reader_attach(&reader, race->memory.base, race->memory.size);
    while (!race->stop) {
        key = (key + 1) % KEYS;
        snprintf(text, sizeof text, "key%u", key);
        enum status status = arena_read(&reader, SERVICE_KV, bytes_of(text), NOW, &scratch, &found);
        if (status == STATUS_RETRY)
            race->retries++;
        else if (status != STATUS_OK || !is_value(key, found.value))
            race->wrong++; /* these keys are always there */
        race->reads++;
    }
    buffer_free(&scratch);
    return NULL;
}

/* At least every key once. */
static void write_for(struct arena_writer *writer, uint64_t until_ns, uint64_t *writes_r)
{
    uint8_t space[1000];
    char text[32];
    uint64_t revision;
    for (unsigned n = 0; n < KEYS || n % 256 || clock_ns() < until_ns; n++, ++*writes_r) {
        unsigned key = n % KEYS;
        snprintf(text, sizeof text, "key%u", key);
        struct bytes value = {space, make_value(key, n / KEYS, space)};
        assert_int_equal(
            arena_put(writer, SERVICE_KV, bytes_of(text), value, 0, MINE, NOW, &revision),
            STATUS_OK);
        /* Others come and go, and fill the arena so that records are moved and evicted. */
        snprintf(text, sizeof text, "passing%u", n);
        (void)!arena_put(writer, SERVICE_CACHE, bytes_of(text), value, NOW + 1000, MINE, NOW,
                         &revision);
    }
}

static void readers_see_only_whole_current_records(void **state)
{
    (void)state;
    struct arena_race race = {.memory = arena_memory_new(1 << 20)};
    struct arena_writer *writer = arena_memory_open(&race.memory, NOW, ARENA_WAS_RAW);
    pthread_t readers[READERS];
    uint64_t writes = 0;
    write_for(writer, 0, &writes);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_forever, &race), 0);
    write_for(writer, clock_ns() + SECONDS * (uint64_t)1000000000, &writes);
    race.stop = true;
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    struct arena_stats stats;
    arena_stats(writer, &stats);
    print_message("%llu reads, %llu of them referred to the store, against %llu writes with %llu "
                  "evictions and %llu moves\n",
                  (unsigned long long)race.reads, (unsigned long long)race.retries,
                  (unsigned long long)writes, (unsigned long long)stats.evicted,
                  (unsigned long long)stats.moved);
    assert_int_equal(race.wrong, 0);
    assert_true(race.reads > 1000 && writes > 1000);
    assert_true(race.retries < race.reads / 2);
    arena_writer_close(&writer);
    arena_memory_free(&race.memory);
}

/* ---- Channel ---- */

struct channel_race {
    struct channel_memory memory;
    int store_bell, worker_bell;
    _Atomic bool stop;
    _Atomic uint64_t answered;
};

static void wait_for(int bell)
{
    struct timeval patience = {.tv_sec = 20};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(bell, &set);
    if (select(bell + 1, &set, NULL, NULL, &patience) != 1) {
        fprintf(stderr, "a doorbell was not rung\n");
        abort();
    }
    doorbell_clear(bell);
}

static void *serve(void *argument)
{
    struct channel_race *race = argument;
    struct channel_store store;
    struct channel_taken submission;
    uint64_t sequence;
    channel_store_open(&store, &race->memory, race->worker_bell);
    for (;;) {
        int taken = 0;
        for (; taken < 16 && channel_store_take(&store, &submission, &sequence); taken++) {
            struct channel_completion *slot = channel_store_slot(&store, store.completed);
            slot->number = submission.number + 1;
            memcpy(slot->payload, submission.payload, submission.key_len);
            slot->value_len = submission.key_len;
            slot->flags = 0;
            channel_store_keep(&store, store.completed);
            channel_store_commit(&store, store.completed);
            race->answered++;
        }
        channel_store_flush(&store);
        if (taken == 0) {
            if (race->stop)
                return NULL;
            if (channel_store_sleep(&store))
                wait_for(race->store_bell);
            channel_store_awake(&store);
        }
    }
}

static void fill_slot(struct channel_submission *slot, uint64_t sequence)
{
    slot->number = (int64_t)sequence;
    slot->op = OP_KV_GET;
    slot->flags = 0;
    slot->value_len = 0;
    slot->key_len = (uint16_t)(1 + sequence % 400);
    memset(slot->payload, (int)sequence, slot->key_len);
}

static void check_answers(struct channel_worker *worker, uint64_t *expected)
{
    const struct channel_completion *done;
    while ((done = channel_worker_peek(worker)) != NULL) {
        assert_int_equal(done->sequence, *expected);
        assert_int_equal(done->number, *expected + 1);
        assert_int_equal(done->value_len, 1 + *expected % 400);
        assert_int_equal(done->payload[done->value_len - 1], (uint8_t)*expected);
        channel_worker_release(worker);
        ++*expected;
    }
}

static void no_wakeup_is_lost(void **state)
{
    (void)state;
    static struct channel_race race;
    race.store_bell = eventfd(0, EFD_NONBLOCK);
    race.worker_bell = eventfd(0, EFD_NONBLOCK);
    channel_lay_out(&race.memory);
    pthread_t server;
    struct channel_worker worker;
    uint64_t expected = 0, sequence = 0, until = clock_ns() + SECONDS * (uint64_t)1000000000;
    channel_worker_open(&worker, &race.memory, race.store_bell);
    assert_int_equal(pthread_create(&server, NULL, serve, &race), 0);
    unsigned burst = 0;
    while (clock_ns() < until || expected < worker.submitted) {
        /* Bursts from one to more than fit. */
        burst = (burst * 5 + 1) % 700;
        struct channel_submission *slot;
        for (unsigned i = 0; clock_ns() < until && i <= burst; i++) {
            if (!(slot = channel_worker_slot(&worker, &sequence)))
                break;
            fill_slot(slot, sequence);
            channel_worker_commit(&worker);
        }
        channel_worker_flush(&worker);
        check_answers(&worker, &expected);
        if (expected < worker.submitted && channel_worker_sleep(&worker))
            wait_for(race.worker_bell);
        channel_worker_awake(&worker);
    }
    race.stop = true;
    doorbell_ring(race.store_bell);
    pthread_join(server, NULL);
    print_message("%llu requests answered\n", (unsigned long long)expected);
    assert_int_equal(race.answered, expected);
    assert_true(expected > 1000);
    close(race.store_bell);
    close(race.worker_bell);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_only_whole_current_records),
        cmocka_unit_test(no_wakeup_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
