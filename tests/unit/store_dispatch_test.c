/* A store whose channels are damaged, and one that requests end: what makes no sense costs itself
 * only. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "tests/unit/dispatch_bench.h"

static const struct bytes NONE = {0};
enum { ROUNDS = 30 }; /* what was under way may be tried again one by one */

/* One increment, with rounds of the store until it is answered. False if it is not, or not well. */
static bool increment(struct dispatch_bench *bench, struct channel_worker *worker, int64_t *sum_r)
{
    bool submitted = bench_submit(worker, OP_COUNTER_INCREMENT, "c", 1, NONE);
    for (int i = 0; i < ROUNDS; i++) {
        const struct channel_completion *completion;
        dispatch_round(bench->dispatch);
        while ((completion = channel_worker_peek(worker))) {
            bool last = worker->consumed + 1 == worker->submitted;
            *sum_r = completion->number;
            bool good = completion->sequence == worker->consumed && completion->status == STATUS_OK;
            channel_worker_release(worker);
            if (last && submitted)
                return good;
        }
        /* Nothing to do: both write their words again before they sleep. */
        channel_worker_sleep(worker);
        dispatch_sleep(bench->dispatch);
    }
    return false;
}

/* Words of a channel that damage may hit, and what it may make of them. */
static const size_t words[] = {
    offsetof(struct channel_memory, submitted),      offsetof(struct channel_memory, consumed),
    offsetof(struct channel_memory, completed),      offsetof(struct channel_memory, sent),
    offsetof(struct channel_memory, doing),          offsetof(struct channel_memory, store_asleep),
    offsetof(struct channel_memory, hits_published),
};
enum { WORDS = sizeof words / sizeof *words, NONSENSE = 10 };

static uint64_t nonsense(unsigned which, uint64_t value)
{
    const uint64_t values[NONSENSE] = {UINT64_MAX,  0,          value + 1,      value - 1,
                                       value + 511, value - 9,  value + 100000, value ^ 0x100,
                                       1ull << 63,  value << 40};
    return values[which];
}

static void damage(struct channel_memory *memory, unsigned word, unsigned which)
{
    _Atomic uint64_t *at = (_Atomic uint64_t *)((uint8_t *)memory + words[word]);
    *at = nonsense(which, *at);
}

/* After any damage to one channel, to one word of it or two: every store starts, the other channel
 * notices nothing, and within a few rounds the damaged one works again, for a worker that lives and
 * for a new one. */
static void damaged_words_heal(bool store_restarts, bool worker_restarts)
{
    for (unsigned variant = 0; variant < WORDS * NONSENSE * WORDS; variant++) {
        struct dispatch_bench *bench = bench_make();
        struct channel_worker workers[BENCH_CHANNELS];
        int64_t sum, other;
        bench_open(bench, &memory_engine);
        for (unsigned i = 0; i < BENCH_CHANNELS; i++)
            channel_worker_open(&workers[i], bench->memories[i], RUN_FD_CHANNEL + 1);
        for (int i = 0; i < 20; i++)
            assert_true(increment(bench, &workers[i % 2], &sum));
        if (store_restarts)
            bench_close(bench);
        damage(bench->memories[0], variant % WORDS, variant / WORDS % NONSENSE);
        damage(bench->memories[0], variant / WORDS / NONSENSE, variant * 7 % NONSENSE);
        if (store_restarts)
            bench_open(bench, &memory_engine);
        if (worker_restarts)
            channel_worker_open(&workers[0], bench->memories[0], RUN_FD_CHANNEL + 1);
        if (!increment(bench, &workers[1], &other))
            fail_msg("variant %u: the other channel, at %llu", variant,
                     (unsigned long long)workers[1].consumed);
        assert_int_equal(other, sum + 1);
        bool works = false;
        for (int i = 0; i < 20 && !works; i++)
            works = increment(bench, &workers[0], &sum);
        if (!works)
            print_error("variant %u\n", variant);
        assert_true(works);
        for (int i = 0; i < 5; i++) {
            assert_true(increment(bench, &workers[0], &sum));
            assert_true(increment(bench, &workers[1], &other));
            assert_int_equal(other, sum + 1);
        }
        bench_close(bench);
        bench_free(bench);
    }
}

static void damage_while_the_store_runs(void **state)
{
    (void)state;
    damaged_words_heal(false, false);
}

static void damage_while_the_store_is_down(void **state)
{
    (void)state;
    damaged_words_heal(true, false);
}

static void damage_while_both_are_down(void **state)
{
    (void)state;
    damaged_words_heal(true, true);
}

/* Each byte of the header's line: put right, and what waits in the ring is answered. */
static void a_damaged_header_costs_nothing(void **state)
{
    (void)state;
    struct dispatch_bench *bench = bench_make();
    struct channel_worker worker;
    int64_t sum = 0, expected = 0;
    bench_open(bench, &memory_engine);
    channel_worker_open(&worker, bench->memories[0], RUN_FD_CHANNEL + 1);
    assert_true(increment(bench, &worker, &sum));
    expected = sum;
    for (size_t at = 0; at < 32; at++) {
        bench_close(bench);
        ((uint8_t *)bench->memories[0])[at] ^= 0x11;
        bench_open(bench, &memory_engine);
        assert_true(increment(bench, &worker, &sum));
        assert_int_equal(sum, ++expected);
    }
    /* Of another version that proves it, nothing is touched. */
    bench_close(bench);
    memset(bench->memories[0], 0, 32);
    bench_open(bench, &memory_engine);
    assert_true(increment(bench, &worker, &sum));
    assert_int_equal(sum, ++expected);
    bench_close(bench);
    bench_free(bench);
}

/* As release 0.2.0 left it: no check, nothing in the padding. */
static void a_channel_of_0_2_0_is_taken_over(void **state)
{
    (void)state;
    struct dispatch_bench *bench = bench_make();
    struct channel_worker worker;
    int64_t sum;
    bench_open(bench, &memory_engine);
    channel_worker_open(&worker, bench->memories[0], RUN_FD_CHANNEL + 1);
    assert_true(increment(bench, &worker, &sum));
    bench_close(bench);
    assert_true(bench_submit(&worker, OP_COUNTER_INCREMENT, "c", 1, NONE));
    bench->memories[0]->check = 0;
    bench->memories[0]->doing = 0;
    bench_open(bench, &memory_engine);
    dispatch_round(bench->dispatch);
    const struct channel_completion *completion = channel_worker_peek(&worker);
    assert_non_null(completion);
    assert_int_equal(completion->number, 2);
    assert_int_not_equal(bench->memories[0]->check, 0);
    bench_close(bench);
    bench_free(bench);
}

/* ---- A hostile worker ---- */

static atomic_bool scribbling;

/* Writes nonsense into a channel that is in use, all over it and as fast as it can. */
static void *scribble(void *memory)
{
    _Atomic uint64_t *words_of = memory;
    uint64_t state = 88172645463325252u, count = channel_memory_size() / 8;
    while (atomic_load(&scribbling)) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bool heads = state % 2; /* the positions, mostly: else it would be stopped by them */
        uint64_t at = heads ? words[state / 2 % WORDS] / 8 : state / 8 % count;
        atomic_store(&words_of[at], state % 3 ? state % 1024 : state);
    }
    return NULL;
}

/* Whatever it does, the store goes on and the other channel is served well. */
static void a_hostile_worker_harms_only_itself(void **state)
{
    (void)state;
    struct dispatch_bench *bench = bench_make();
    struct channel_worker worker;
    pthread_t thread;
    int64_t sum, expected = 0;
    bench_open(bench, &memory_engine);
    channel_worker_open(&worker, bench->memories[1], RUN_FD_CHANNEL + 1);
    for (int restart = 0; restart < 20; restart++) {
        atomic_store(&scribbling, true);
        assert_int_equal(pthread_create(&thread, NULL, scribble, bench->memories[0]), 0);
        for (int i = 0; i < 2000; i++) {
            assert_true(increment(bench, &worker, &sum));
            assert_int_equal(sum, ++expected);
        }
        atomic_store(&scribbling, false);
        pthread_join(thread, NULL);
        bench_close(bench);
        bench_open(bench, &memory_engine);
    }
    bench_close(bench);
    bench_free(bench);
}

/* A worker that says what cannot be true must not keep the store awake. */
static void a_ring_that_makes_no_sense_lets_the_store_sleep(void **state)
{
    (void)state;
    struct dispatch_bench *bench = bench_make();
    bench_open(bench, &memory_engine);
    for (unsigned which = 0; which < NONSENSE; which++) {
        bench->memories[0]->submitted = nonsense(which, 10);
        for (unsigned other = 0; other < NONSENSE; other++) {
            bench->memories[0]->consumed = nonsense(other, 10);
            for (int i = 0; i < 2 * CHANNEL_SLOTS && dispatch_round(bench->dispatch); i++)
                continue;
            dispatch_sleep(bench->dispatch);
            dispatch_round(bench->dispatch);
            bool sleeps = dispatch_sleep(bench->dispatch);
            for (int i = 0; i < 2 * CHANNEL_SLOTS && !sleeps; i++) {
                dispatch_round(bench->dispatch);
                sleeps = dispatch_sleep(bench->dispatch);
            }
            assert_true(sleeps);
        }
    }
    bench_close(bench);
    bench_free(bench);
}

/* ---- Requests that end the store ---- */

/* The memory engine, but a value of "poison" ends the process: at once, or when it settles. */
static struct engine_ops deadly;
static bool deadly_settle, poisoned;

static bool is_poison(const struct engine_call *call)
{
    return bytes_equal(call->request.value, bytes_of("poison"));
}

static void deadly_submit(struct engine *engine, const struct engine_call *call)
{
    if (is_poison(call) && !deadly_settle)
        kill(getpid(), SIGKILL);
    memory_engine.submit(engine, call);
}

/* An engine that answers when it settles. */
static struct engine_call held[CHANNEL_SLOTS];
static char held_key[CHANNEL_SLOTS][32];
static unsigned held_count;

static void holding_submit(struct engine *engine, const struct engine_call *call)
{
    (void)engine;
    poisoned = poisoned || is_poison(call);
    held[held_count] = *call;
    snprintf(held_key[held_count], sizeof held_key[0], "%.*s", (int)call->request.key.len,
             call->request.key.data);
    held[held_count].request.key = bytes_of(held_key[held_count]);
    held[held_count].request.value = bytes_of("x");
    held_count++;
}

static void holding_settle(struct engine *engine)
{
    if (poisoned)
        kill(getpid(), SIGKILL);
    for (unsigned i = 0; i < held_count; i++)
        memory_engine.submit(engine, &held[i]);
    held_count = 0;
}

/* Runs a store in a process of its own until all is answered or it is its end. False: it ended. */
static bool run_store(struct dispatch_bench *bench)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bench_open(bench, &deadly);
        for (int i = 0; i < 200; i++)
            dispatch_round(bench->dispatch);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status);
}

static unsigned stores_until_all_is_answered(struct dispatch_bench *bench)
{
    unsigned stores = 1;
    while (!run_store(bench) && stores < 20)
        stores++;
    return stores;
}

/* Reads the answers: all is well but for what was the store's end. */
static unsigned count_given_up(struct channel_worker *worker, unsigned expected)
{
    const struct channel_completion *completion;
    unsigned given_up = 0, all = 0;
    while ((completion = channel_worker_peek(worker))) {
        bool one = completion->flags & CHANNEL_GIVEN_UP;
        assert_int_equal(completion->status, one ? STATUS_INTERNAL : STATUS_OK);
        given_up += one;
        all++;
        channel_worker_release(worker);
    }
    assert_int_equal(all, expected);
    return given_up;
}

static void submit_some(struct dispatch_bench *bench, struct channel_worker *workers)
{
    char key[16];
    for (unsigned i = 0; i < BENCH_CHANNELS; i++)
        channel_worker_open(&workers[i], bench->memories[i], RUN_FD_CHANNEL + 1);
    for (unsigned i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "k%u", i);
        assert_true(bench_submit(&workers[i % 2], OP_KV_PUT, key, 0,
                                 bytes_of(i == 10 ? "poison" : "value")));
    }
}

/* Of 40 requests, one of which ends the deadly engine, only that one is given up. */
static void assert_poison_given_up(unsigned stores)
{
    struct dispatch_bench *bench = bench_make();
    struct channel_worker workers[BENCH_CHANNELS];
    bench_open(bench, &memory_engine);
    bench_close(bench);
    submit_some(bench, workers);
    assert_int_equal(stores_until_all_is_answered(bench), stores);
    assert_int_equal(count_given_up(&workers[0], 20), 1);
    assert_int_equal(count_given_up(&workers[1], 20), 0);
    bench_free(bench);
}

static void a_request_that_ends_the_store_twice_is_given_up(void **state)
{
    (void)state;
    deadly = memory_engine;
    deadly.submit = deadly_submit;
    assert_poison_given_up(3);
}

/* It is not known at first which of a batch it was. */
static void one_of_a_batch_is_found_and_given_up(void **state)
{
    (void)state;
    deadly = memory_engine;
    deadly.at_once = false;
    deadly.submit = holding_submit;
    deadly.settle = holding_settle;
    deadly.batch = 512;
    deadly_settle = true;
    assert_poison_given_up(4);
}

/* A store that is killed for other reasons costs no request. */
static void kills_between_requests_give_nothing_up(void **state)
{
    (void)state;
    struct dispatch_bench *bench = bench_make();
    struct channel_worker worker;
    int64_t sum;
    bench_open(bench, &memory_engine);
    channel_worker_open(&worker, bench->memories[0], RUN_FD_CHANNEL + 1);
    for (int64_t i = 1; i <= 20; i++) {
        assert_true(increment(bench, &worker, &sum));
        assert_int_equal(sum, i);
        bench_close(bench);
        bench_open(bench, &memory_engine);
    }
    bench_close(bench);
    bench_free(bench);
}

/* ---- Turns ---- */

/* 512 large requests of one channel do not keep those of another waiting for all of them. */
static void a_channel_of_large_requests_leaves_room_for_others(void **state)
{
    (void)state;
    struct dispatch_bench *bench = bench_make();
    struct channel_worker workers[BENCH_CHANNELS];
    static uint8_t item[KEY_MAX];
    int64_t sum;
    bench_open(bench, &memory_engine);
    for (unsigned i = 0; i < BENCH_CHANNELS; i++)
        channel_worker_open(&workers[i], bench->memories[i], RUN_FD_CHANNEL + 1);
    for (unsigned i = 0; i < 130; i++) { /* a set whose answer is 62 KiB */
        memcpy(item, &i, sizeof i);
        assert_true(
            bench_submit(&workers[0], OP_SET_ADD, "s", 0, (struct bytes){item, sizeof item}));
    }
    while (dispatch_round(bench->dispatch))
        continue;
    while (channel_worker_peek(&workers[0]))
        channel_worker_release(&workers[0]);
    for (unsigned i = 0; i < CHANNEL_SLOTS; i++)
        assert_true(bench_submit(&workers[0], OP_SET_GET, "s", 0, NONE));
    uint64_t before = bench->memories[0]->completed;
    assert_true(increment(bench, &workers[1], &sum));
    /* A turn is a batch of 64: here each costs four. */
    assert_in_range(bench->memories[0]->completed - before, 1, 64 / 4 + 1);
    while (dispatch_round(bench->dispatch))
        continue;
    bench_close(bench);
    bench_free(bench);
}

static int be_quiet(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR + 1);
    return 0;
}

/* Submits with a long head, whatever the operation; answers the status. */
static int ask_long(struct dispatch_bench *bench, struct channel_worker *worker, uint16_t op,
                    uint16_t namespace, uint32_t value_len)
{
    uint64_t sequence;
    struct channel_submission *slot = channel_worker_slot(worker, &sequence);
    *slot = (struct channel_submission){.key_len = 4, .value_len = value_len, .number = 1};
    memcpy(channel_worker_lengthen(worker, slot, op, namespace), "long", 4);
    channel_worker_commit(worker);
    channel_worker_flush(worker);
    dispatch_round(bench->dispatch);
    int status = channel_worker_peek(worker)->status;
    channel_worker_release(worker);
    return status;
}

static void a_long_head_is_carried_out_and_bounded(void **state)
{
    (void)state;
    struct dispatch_bench *bench = bench_make();
    struct channel_worker worker;
    uint32_t room = (uint32_t)channel_room(256, 0) - 4;
    bench_open(bench, &memory_engine);
    channel_worker_open(&worker, bench->memories[0], RUN_FD_CHANNEL + 1);
    assert_int_equal(ask_long(bench, &worker, OP_KV_GET, 0, 0), STATUS_NOT_FOUND);
    assert_int_equal(ask_long(bench, &worker, OP_KV_PUT, 0, room), STATUS_OK);
    assert_int_equal(ask_long(bench, &worker, OP_KV_GET, 0, 0), STATUS_OK);
    assert_int_equal(ask_long(bench, &worker, OP_KV_PUT, 0, room + 1), STATUS_INVALID);
    assert_int_equal(ask_long(bench, &worker, OP_KV_PUT + 256, 0, 0), STATUS_INVALID);
    assert_int_equal(ask_long(bench, &worker, OP_KV_GET, 1, 0), STATUS_NOT_FOUND);
    assert_int_equal(ask_long(bench, &worker, OP_KV_PUT, 1, 0), STATUS_OK);
    assert_int_equal(ask_long(bench, &worker, OP_KV_DELETE, 0, 0), STATUS_OK);
    assert_int_equal(ask_long(bench, &worker, OP_KV_GET, 1, 0), STATUS_OK);
    bench_close(bench);
    bench_free(bench);
}

/* A worker checks what it sends; of a broken one the store believes nothing. */
static void a_message_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x0a\x09k", "\x0a\x01l\x12\x01v", "\x0b"};
    struct dispatch_bench *bench = bench_make();
    struct channel_worker worker;
    bench_open(bench, &memory_engine);
    channel_worker_open(&worker, bench->memories[0], RUN_FD_CHANNEL + 1);
    for (int i = 0; i < 4; i++) {
        const char *packed = i < 3 ? bad[i] : "\x0a\x01k\x12\x03val";
        assert_true(bench_submit(&worker, OP_KV_APPEND, "k", 0, bytes_of(packed)));
        dispatch_round(bench->dispatch);
        const struct channel_completion *completion = channel_worker_peek(&worker);
        assert_int_equal(completion->status, i < 3 ? STATUS_INVALID : STATUS_OK);
        assert_memory_equal(completion->payload, i < 3 ? "the message" : "\x08\x03",
                            i < 3 ? 11 : 2);
        channel_worker_release(&worker);
    }
    bench_close(bench);
    bench_free(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage_while_the_store_runs),
        cmocka_unit_test(damage_while_the_store_is_down),
        cmocka_unit_test(damage_while_both_are_down),
        cmocka_unit_test(a_damaged_header_costs_nothing),
        cmocka_unit_test(a_channel_of_0_2_0_is_taken_over),
        cmocka_unit_test(a_message_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_long_head_is_carried_out_and_bounded),
        cmocka_unit_test(a_ring_that_makes_no_sense_lets_the_store_sleep),
        cmocka_unit_test(a_hostile_worker_harms_only_itself),
        cmocka_unit_test(a_request_that_ends_the_store_twice_is_given_up),
        cmocka_unit_test(one_of_a_batch_is_found_and_given_up),
        cmocka_unit_test(kills_between_requests_give_nothing_up),
        cmocka_unit_test(a_channel_of_large_requests_leaves_room_for_others),
    };
    return cmocka_run_group_tests(tests, be_quiet, NULL);
}
