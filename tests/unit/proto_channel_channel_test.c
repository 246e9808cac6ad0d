/* The rings: order, fullness, resumption of either end, doorbells, and a worker that lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "proto/channel/channel.h"

struct pair {
    int fd;
    int store_bell, worker_bell;
    struct channel_memory *memory;
    struct channel_worker worker;
    struct channel_store store;
};

static struct pair pair_new(void)
{
    struct pair pair = {.fd = memfd_create("channel", MFD_CLOEXEC),
                        .store_bell = eventfd(0, EFD_NONBLOCK),
                        .worker_bell = eventfd(0, EFD_NONBLOCK)};
    char reason[200];
    assert_int_equal(ftruncate(pair.fd, (off_t)channel_memory_size()), 0);
    assert_null(channel_map(pair.fd, false, reason, sizeof reason));
    pair.memory = channel_map(pair.fd, true, reason, sizeof reason);
    assert_non_null(pair.memory);
    assert_true(channel_is_raw(pair.memory));
    channel_lay_out(pair.memory);
    assert_false(channel_is_raw(pair.memory));
    channel_store_open(&pair.store, pair.memory, pair.worker_bell);
    channel_worker_open(&pair.worker, pair.memory, pair.store_bell);
    return pair;
}

static void pair_free(struct pair *pair)
{
    channel_unmap(&pair->memory);
    close(pair->fd);
    close(pair->store_bell);
    close(pair->worker_bell);
}

static bool rung(int bell)
{
    uint64_t n;
    return read(bell, &n, sizeof n) == sizeof n;
}

static bool submit(struct channel_worker *worker, int64_t number)
{
    uint64_t sequence;
    struct channel_submission *slot = channel_worker_slot(worker, &sequence);
    if (!slot)
        return false;
    *slot = (struct channel_submission){.number = number, .key_len = 3, .op = OP_KV_GET};
    memcpy(slot->payload, "key", 3);
    channel_worker_commit(worker);
    return true;
}

/* Takes one, answers it with its number doubled. */
static bool answer(struct channel_store *store)
{
    struct channel_taken submission;
    uint64_t sequence;
    if (!channel_store_take(store, &submission, &sequence))
        return false;
    assert_memory_equal(submission.payload, "key", 3);
    struct channel_completion *slot = channel_store_slot(store, store->completed);
    slot->number = submission.number * 2;
    slot->value_len = 0;
    slot->flags = 0;
    channel_store_keep(store, store->completed);
    channel_store_commit(store, store->completed);
    return true;
}

static void answers_come_in_order(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    for (int round = 0; round < 5; round++) {
        int n = 0;
        while (submit(&pair.worker, n))
            n++;
        assert_int_equal(n, CHANNEL_SLOTS);
        assert_false(answer(&pair.store)); /* not flushed yet */
        channel_worker_flush(&pair.worker);
        while (answer(&pair.store))
            ;
        channel_store_flush(&pair.store);
        for (int i = 0; i < n; i++) {
            const struct channel_completion *done = channel_worker_peek(&pair.worker);
            assert_non_null(done);
            assert_int_equal(done->sequence, round * CHANNEL_SLOTS + i);
            assert_int_equal(done->number, 2 * i);
            channel_worker_release(&pair.worker);
        }
        assert_null(channel_worker_peek(&pair.worker));
    }
    pair_free(&pair);
}

static void doorbells_ring_only_for_sleepers(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    rung(pair.store_bell); /* opening rings, in case a predecessor died before it did */
    rung(pair.worker_bell);

    assert_true(submit(&pair.worker, 1));
    channel_worker_flush(&pair.worker);
    assert_false(rung(pair.store_bell));
    assert_false(channel_store_sleep(&pair.store)); /* there is work */
    assert_true(answer(&pair.store));
    assert_true(channel_store_sleep(&pair.store));
    assert_true(submit(&pair.worker, 2));
    channel_worker_flush(&pair.worker);
    assert_true(rung(pair.store_bell));
    assert_true(submit(&pair.worker, 3));
    channel_worker_flush(&pair.worker);
    assert_false(rung(pair.store_bell)); /* once per sleep */
    channel_store_awake(&pair.store);

    assert_false(channel_worker_sleep(&pair.worker)); /* one answer waits */
    channel_worker_release(&pair.worker);
    assert_true(channel_worker_sleep(&pair.worker));
    assert_true(answer(&pair.store));
    assert_false(rung(pair.worker_bell));
    channel_store_flush(&pair.store);
    assert_true(rung(pair.worker_bell));
    pair_free(&pair);
}

static void either_end_takes_up_where_its_predecessor_stopped(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    for (int i = 0; i < 10; i++)
        assert_true(submit(&pair.worker, i));
    channel_worker_flush(&pair.worker);
    for (int i = 0; i < 4; i++)
        assert_true(answer(&pair.store));
    struct channel_taken taken_and_lost;
    uint64_t sequence;
    assert_true(channel_store_take(&pair.store, &taken_and_lost, &sequence));

    struct channel_store successor;
    channel_store_open(&successor, pair.memory, pair.worker_bell);
    assert_true(channel_store_take(&successor, &taken_and_lost, &sequence));
    assert_int_equal(sequence, 4);
    channel_store_open(&successor, pair.memory, pair.worker_bell);
    while (answer(&successor))
        ;

    /* A new worker sees its predecessor's answers and can tell them from its own. */
    struct channel_worker next;
    channel_worker_open(&next, pair.memory, pair.store_bell);
    uint64_t first = next.submitted;
    assert_true(submit(&next, 77));
    channel_worker_flush(&next);
    assert_true(answer(&successor));
    for (uint64_t i = 0; i < first; i++) {
        assert_true(channel_worker_peek(&next)->sequence < first);
        channel_worker_release(&next);
    }
    assert_int_equal(channel_worker_peek(&next)->sequence, first);
    assert_int_equal(channel_worker_peek(&next)->number, 154);
    pair_free(&pair);
}

/* Takes one and keeps an answer to it. */
static uint64_t take_and_keep(struct channel_store *store, int64_t number)
{
    struct channel_taken submission;
    uint64_t sequence = 0;
    assert_true(channel_store_take(store, &submission, &sequence));
    struct channel_completion *slot = channel_store_slot(store, sequence);
    slot->number = number;
    slot->flags = 0;
    channel_store_keep(store, sequence);
    return sequence;
}

static void answers_wait_in_their_slots_for_earlier_ones(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    for (int round = 0; round < 3 * CHANNEL_SLOTS / 8; round++) {
        for (int i = 0; i < 8; i++)
            assert_true(submit(&pair.worker, i));
        channel_worker_flush(&pair.worker);
        uint64_t first = take_and_keep(&pair.store, 0);
        for (int i = 1; i < 8; i++)
            take_and_keep(&pair.store, i);
        for (uint64_t i = 7; i > 0; i--) {
            channel_store_commit(&pair.store, first + i);
            assert_null(channel_worker_peek(&pair.worker));
        }
        channel_store_commit(&pair.store, first);
        for (int i = 0; i < 8; i++) {
            const struct channel_completion *done = channel_worker_peek(&pair.worker);
            assert_int_equal(done->number, i);
            assert_int_equal(done->flags, 0);
            channel_worker_release(&pair.worker);
        }
    }
    pair_free(&pair);
}

static void a_successor_finds_what_was_kept_and_not_published(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    struct channel_store successor;
    for (int i = 0; i < 5; i++)
        assert_true(submit(&pair.worker, i));
    channel_worker_flush(&pair.worker);
    for (int i = 0; i < 4; i++)
        take_and_keep(&pair.store, 10 + i);
    channel_store_commit(&pair.store, 0);
    channel_store_commit(&pair.store, 2);
    channel_store_open(&successor, pair.memory, pair.worker_bell);
    assert_int_equal(successor.completed, 1);
    assert_false(channel_store_kept(&successor, 0));
    for (uint64_t i = 1; i < 4; i++)
        assert_true(channel_store_kept(&successor, i));
    assert_false(channel_store_kept(&successor, 4));
    pair_free(&pair);
}

static void a_lying_worker_gets_nothing(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    struct channel_taken submission;
    uint64_t sequence;
    pair.memory->submitted = 1u << 30;
    assert_false(channel_store_take(&pair.store, &submission, &sequence));
    assert_true(channel_store_sleep(&pair.store)); /* and does not keep the store awake */
    pair.memory->submitted = 1;
    pair.memory->consumed = 5;
    assert_false(channel_store_take(&pair.store, &submission, &sequence));
    pair.memory->consumed = 0;
    pair.memory->submissions[0].key_len = 65535;
    pair.memory->submissions[0].value_len = UINT32_MAX;
    assert_true(channel_store_take(&pair.store, &submission, &sequence)); /* lengths: dispatch's */
    pair_free(&pair);
}

static struct channel_submission *fill_long(struct pair *pair, uint16_t op, uint16_t namespace)
{
    uint64_t sequence;
    struct channel_submission *slot = channel_worker_slot(&pair->worker, &sequence);
    assert_non_null(slot);
    *slot = (struct channel_submission){.number = 5, .key_len = 3, .value_len = 2};
    memcpy(channel_worker_lengthen(&pair->worker, slot, op, namespace), "keyva", 5);
    channel_worker_commit(&pair->worker);
    channel_worker_flush(&pair->worker);
    return slot;
}

static void long_and_short_heads_stand_side_by_side(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    struct channel_taken taken = {0};
    uint64_t sequence;
    assert_true(channel_is_long(256, 0) && channel_is_long(1, 1) && !channel_is_long(255, 0));
    assert_int_equal(channel_room(255, 0), channel_room(256, 0) + 8);
    fill_long(&pair, 0x1234, 0xfedc);
    assert_true(submit(&pair.worker, 6));
    channel_worker_flush(&pair.worker);
    assert_true(channel_store_take(&pair.store, &taken, &sequence));
    assert_int_equal(taken.op, 0x1234);
    assert_int_equal(taken.namespace, 0xfedc);
    assert_int_equal(taken.number, 5);
    assert_int_equal(taken.room, channel_room(0x1234, 0));
    assert_memory_equal(taken.payload, "keyva", 5);
    assert_true(channel_store_take(&pair.store, &taken, &sequence));
    assert_int_equal(taken.op, OP_KV_GET);
    assert_int_equal(taken.namespace, 0);
    assert_int_equal(taken.room, channel_room(OP_KV_GET, 0));
    assert_memory_equal(taken.payload, "key", 3);
    pair_free(&pair);
}

/* A store of 0.2.0 reads the short head alone: it must find no operation there. */
static void an_older_store_refuses_a_long_head(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    const struct channel_submission *slot = fill_long(&pair, OP_KV_PUT, 1);
    assert_int_equal(slot->op, OP_NONE);
    pair_free(&pair);
}

static void a_long_head_that_makes_no_sense_is_no_operation(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    struct channel_taken taken = {0};
    uint64_t sequence;
    fill_long(&pair, OP_KV_PUT, 0)->op = OP_KV_PUT; /* both heads name one */
    fill_long(&pair, OP_KV_PUT, 0)->payload[7] = 1; /* reserved */
    struct channel_submission *slot = fill_long(&pair, OP_KV_PUT, 0);
    slot->key_len = 400;
    slot->value_len = 984 - 400; /* as a short head would have room for */
    for (int i = 0; i < 2; i++) {
        assert_true(channel_store_take(&pair.store, &taken, &sequence));
        assert_int_equal(taken.op, OP_NONE);
    }
    assert_true(channel_store_take(&pair.store, &taken, &sequence));
    assert_true(taken.key_len + taken.value_len > taken.room);
    pair_free(&pair);
}

/* Only what has been written decides who may open it: going back is possible until then. */
static void the_first_long_head_raises_the_version(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    char reason[200];
    assert_true(submit(&pair.worker, 1));
    assert_int_equal(pair.memory->version, CHANNEL_VERSION_SHORT);
    fill_long(&pair, 300, 0);
    assert_int_equal(pair.memory->version, CHANNEL_VERSION);
    assert_int_equal(pair.memory->check, channel_check(pair.memory));
    struct channel_memory *again = channel_map(pair.fd, true, reason, sizeof reason);
    assert_non_null(again);
    assert_int_equal(again->version, CHANNEL_VERSION);
    channel_unmap(&again);
    pair_free(&pair);
}

static void an_unknown_version_is_refused(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    char reason[200];
    pair.memory->version = 99;
    pair.memory->check = channel_check(pair.memory);
    assert_null(channel_map(pair.fd, true, reason, sizeof reason));
    assert_non_null(strstr(reason, "version 99"));
    assert_null(channel_map(pair.fd, false, reason, sizeof reason));
    pair_free(&pair);
}

/* Bytes with memory behind them. */
static long reserved(int fd)
{
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    return (long)info.st_blocks * 512;
}

static void what_is_mapped_is_reserved(void **state)
{
    (void)state;
    char reason[200];
    int fd = memfd_create("channel", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)channel_memory_size()), 0);
    struct channel_memory *store = channel_map(fd, true, reason, sizeof reason);
    assert_in_range(reserved(fd), offsetof(struct channel_memory, submissions), 65536);
    channel_lay_out(store);
    struct channel_memory *worker = channel_map(fd, false, reason, sizeof reason);
    assert_true(reserved(fd) >= (long)channel_memory_size());
    channel_unmap(&worker);
    channel_unmap(&store);
    close(fd);
}

static void hits_are_lossy_but_harmless(void **state)
{
    (void)state;
    struct pair pair = pair_new();
    uint64_t word, n = 0;
    for (uint64_t i = 0; i < 3 * CHANNEL_HITS; i++)
        channel_worker_hit(&pair.worker, i);
    while (channel_store_hit(&pair.store, &word)) {
        assert_int_equal(word, 2 * CHANNEL_HITS + n);
        n++;
    }
    assert_int_equal(n, CHANNEL_HITS);
    pair_free(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_in_order),
        cmocka_unit_test(doorbells_ring_only_for_sleepers),
        cmocka_unit_test(either_end_takes_up_where_its_predecessor_stopped),
        cmocka_unit_test(answers_wait_in_their_slots_for_earlier_ones),
        cmocka_unit_test(a_successor_finds_what_was_kept_and_not_published),
        cmocka_unit_test(a_lying_worker_gets_nothing),
        cmocka_unit_test(long_and_short_heads_stand_side_by_side),
        cmocka_unit_test(an_older_store_refuses_a_long_head),
        cmocka_unit_test(a_long_head_that_makes_no_sense_is_no_operation),
        cmocka_unit_test(the_first_long_head_raises_the_version),
        cmocka_unit_test(an_unknown_version_is_refused),
        cmocka_unit_test(what_is_mapped_is_reserved),
        cmocka_unit_test(hits_are_lossy_but_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
