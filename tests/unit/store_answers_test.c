/* Answers that have a value and are true once only: a store that is killed between any two steps
 * gives each exactly once, whatever the order in which its engine answers. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "proto/base/log.h"
#include "tests/unit/dispatch_bench.h"
#include "tests/unit/failpoints.h"

enum { REQUESTS = 40, LONG = 60000 };

/* What is given under a number: every third does not fit a slot. */
static struct bytes thing(int64_t number)
{
    static char text[LONG];
    int len = snprintf(text, sizeof text, "thing %lld", (long long)number);
    return (struct bytes){(const uint8_t *)text, number % 3 ? (size_t)len : LONG};
}

/* ---- An engine that gives things away ---- */

/* What outlives the store. */
static struct pot {
    uint64_t applied[BENCH_CHANNELS];
    int64_t next; /* what the next write is given */
} * pot;

struct engine {
    struct engine_callbacks to;
    struct engine_call held[BENCH_CHANNELS * CHANNEL_SLOTS];
    unsigned count;
};

static struct engine the_engine;

static struct engine *pot_open(const struct run_child *child, const struct engine_callbacks *to)
{
    (void)child;
    the_engine = (struct engine){.to = *to};
    return &the_engine;
}

static void pot_close(struct engine **engine)
{
    *engine = NULL;
}

static uint64_t pot_applied(const struct engine *engine, uint32_t channel)
{
    (void)engine;
    return pot->applied[channel];
}

static void pot_forget(struct engine *engine, uint32_t channel)
{
    (void)engine;
    pot->applied[channel] = 0;
}

static bool keep(struct engine *engine, const struct engine_call *call, int64_t number)
{
    const struct reply reply = {.number = number, .value = thing(number)};
    return engine->to.keep(engine->to.context, call->channel, call->sequence, &reply);
}

static void complete(struct engine *engine, const struct engine_call *call)
{
    engine->to.complete(engine->to.context, call->channel, call->sequence, NULL);
}

static void give_at_once(struct engine *engine, const struct engine_call *call)
{
    if (keep(engine, call, pot->next)) {
        pot->next++;
        pot->applied[call->channel] = call->sequence + 1;
    }
    complete(engine, call);
}

static void hold(struct engine *engine, const struct engine_call *call)
{
    engine->held[engine->count++] = *call;
}

/* All in one commit, then answered from the last to the first. */
static void give_together(struct engine *engine)
{
    unsigned count = engine->count;
    engine->count = 0;
    for (unsigned i = 0; i < count; i++)
        assert_true(keep(engine, &engine->held[i], pot->next + i));
    pot->next += count;
    for (unsigned i = 0; i < count; i++)
        pot->applied[engine->held[i].channel] = engine->held[i].sequence + 1;
    while (count-- > 0)
        complete(engine, &engine->held[count]);
}

static void nothing(struct engine *engine)
{
    (void)engine;
}

static void no_hit(struct engine *engine, uint64_t word)
{
    (void)engine;
    (void)word;
}

static bool no_tending(struct engine *engine, uint64_t now_ms)
{
    (void)engine;
    (void)now_ms;
    return false;
}

static const struct engine_ops at_once = {
    .batch = 64,
    .at_once = true,
    .open = pot_open,
    .close = pot_close,
    .applied = pot_applied,
    .forget = pot_forget,
    .submit = give_at_once,
    .settle = nothing,
    .hit = no_hit,
    .tend = no_tending,
};

static const struct engine_ops together = {
    .batch = 16,
    .open = pot_open,
    .close = pot_close,
    .applied = pot_applied,
    .forget = pot_forget,
    .submit = hold,
    .settle = give_together,
    .hit = no_hit,
    .tend = no_tending,
};

/* ---- Kills ---- */

/* Runs a store until it has nothing to do. False: it was killed before. */
static bool run_store(struct dispatch_bench *bench, const struct engine_ops *ops, const char *point,
                      int count)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (point)
            failpoints_arm("store-memory", point, count);
        bench_open(bench, ops);
        for (int i = 0; i < 200; i++)
            dispatch_round(bench->dispatch);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status);
}

static void submit_all(struct dispatch_bench *bench, struct channel_worker *workers)
{
    for (unsigned i = 0; i < BENCH_CHANNELS; i++)
        channel_worker_open(&workers[i], bench->memories[i], RUN_FD_CHANNEL + 1);
    for (unsigned i = 0; i < REQUESTS; i++) /* every seventh is refused by the dispatcher */
        assert_true(bench_submit(&workers[i % 2], i % 7 == 3 ? OP_FLAG_SET : OP_KV_DELETE, "key",
                                 i % 7 == 3 ? 9 : 0, (struct bytes){0}));
}

static struct bytes value_of(unsigned channel, const struct channel_completion *completion)
{
    static uint8_t value[LONG];
    int fd = RUN_FD_CHANNEL + (int)channel * RUN_CHANNEL_FDS + RUN_CHANNEL_MEMORY;
    const struct channel_places places = channel_places_open(fd);
    if (!(completion->flags & CHANNEL_PLACED))
        return (struct bytes){completion->payload, completion->value_len};
    assert_int_equal(completion->value_len, LONG);
    assert_true(channel_place_read(&places, channel_place_out(completion->sequence), value, LONG));
    return (struct bytes){value, LONG};
}

/* Every thing was given to one request, and each request got one. */
static void check_answers(struct channel_worker *workers)
{
    bool given[REQUESTS] = {0};
    int64_t last[BENCH_CHANNELS] = {-1, -1};
    for (unsigned i = 0; i < REQUESTS; i++) {
        const struct channel_completion *completion = channel_worker_peek(&workers[i % 2]);
        assert_non_null(completion);
        assert_int_equal(completion->sequence, workers[i % 2].consumed);
        assert_int_equal(completion->status, i % 7 == 3 ? STATUS_INVALID : STATUS_OK);
        if (completion->status == STATUS_OK) {
            int64_t number = completion->number;
            assert_in_range(number, last[i % 2] + 1, pot->next - 1);
            assert_true(bytes_equal(value_of(i % 2, completion), thing(number)));
            assert_false(given[number]);
            given[number] = true;
            last[i % 2] = number;
        }
        channel_worker_release(&workers[i % 2]);
    }
    for (int64_t i = 0; i < pot->next; i++)
        assert_true(given[i]);
}

static void kill_everywhere(const struct engine_ops *ops, const char *point)
{
    bool killed = true;
    for (int count = 1; killed; count++) {
        struct dispatch_bench *bench = bench_make();
        struct channel_worker workers[BENCH_CHANNELS];
        memset(pot, 0, sizeof *pot);
        bench_open(bench, ops);
        bench_close(bench);
        submit_all(bench, workers);
        killed = !run_store(bench, ops, point, count);
        if (killed && count % 3 == 0)
            run_store(bench, ops, point, 4); /* its successor as well, but not by the same */
        while (!run_store(bench, ops, NULL, 0))
            continue;
        check_answers(workers);
        assert_true(killed || count > 3);
        bench_free(bench);
    }
}

static void each_thing_is_given_once(void **state)
{
    static const char *const points[] = {"store.after_take", "store.before_apply",
                                         "store.after_keep", "store.before_completion"};
    (void)state;
    pot = mmap(NULL, sizeof *pot, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        kill_everywhere(&at_once, points[i]);
        kill_everywhere(&together, points[i]);
    }
    munmap(pot, sizeof *pot);
}

/* A store of 0.2.0 kept no answers: what it had applied and not answered nobody knows. */
static void without_an_answer_it_is_unknown(void **state)
{
    (void)state;
    struct dispatch_bench *bench = bench_make();
    struct channel_worker worker;
    pot = mmap(NULL, sizeof *pot, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bench_open(bench, &at_once);
    bench_close(bench);
    channel_worker_open(&worker, bench->memories[0], RUN_FD_CHANNEL + 1);
    assert_true(bench_submit(&worker, OP_KV_DELETE, "key", 0, (struct bytes){0}));
    assert_true(bench_submit(&worker, OP_KV_GET, "key", 0, (struct bytes){0}));
    pot->applied[0] = 2;
    bench_open(bench, &at_once);
    dispatch_round(bench->dispatch);
    assert_int_equal(channel_worker_peek(&worker)->status, STATUS_UNKNOWN);
    channel_worker_release(&worker);
    assert_int_equal(channel_worker_peek(&worker)->status, STATUS_OK); /* read again */
    assert_int_equal(pot->next, 1);
    bench_close(bench);
    bench_free(bench);
    munmap(pot, sizeof *pot);
}

/* A large value lies where it outlives the store, and so does the answer with it. */
static void a_value_in_its_place_outlives_the_store(void **state)
{
    (void)state;
    struct dispatch_bench *bench = bench_make();
    struct channel_worker worker;
    bench_open(bench, &memory_engine);
    bench_close(bench);
    channel_worker_open(&worker, bench->memories[0], RUN_FD_CHANNEL + 1);
    const struct channel_places places = channel_places_open(RUN_FD_CHANNEL);
    assert_true(channel_place_write(&places, channel_place_in(0), thing(3)));
    uint64_t sequence;
    struct channel_submission *slot = channel_worker_slot(&worker, &sequence);
    *slot = (struct channel_submission){
        .op = OP_KV_PUT, .key_len = 3, .value_len = LONG, .flags = CHANNEL_BULK | CHANNEL_PLACED};
    memcpy(slot->payload, "key", 3);
    channel_worker_commit(&worker);
    channel_worker_flush(&worker);
    assert_true(bench_submit(&worker, OP_KV_GET, "key", 0, (struct bytes){0}));
    assert_false(run_store(bench, &memory_engine, "store.before_apply", 1));
    assert_true(run_store(bench, &memory_engine, NULL, 0));
    assert_int_equal(channel_worker_peek(&worker)->status, STATUS_OK);
    channel_worker_release(&worker);
    assert_true(bytes_equal(value_of(0, channel_worker_peek(&worker)), thing(3)));
    bench_free(bench);
}

/* Without memory for the answer nothing is given. */
static void what_cannot_be_answered_is_not_done(void **state)
{
    (void)state;
    struct dispatch_bench *bench = bench_make();
    struct channel_worker worker;
    struct rlimit old, small;
    pot = mmap(NULL, sizeof *pot, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bench_open(bench, &at_once);
    channel_worker_open(&worker, bench->memories[0], RUN_FD_CHANNEL + 1);
    assert_true(bench_submit(&worker, OP_KV_DELETE, "key", 0, (struct bytes){0}));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = channel_memory_size();
    setrlimit(RLIMIT_FSIZE, &small);
    dispatch_round(bench->dispatch);
    setrlimit(RLIMIT_FSIZE, &old);
    const struct channel_completion *completion = channel_worker_peek(&worker);
    assert_int_equal(completion->status, STATUS_UNAVAILABLE);
    assert_non_null(strstr((const char *)completion->payload, "nothing was changed"));
    assert_int_equal(pot->next, 0);
    bench_close(bench);
    bench_free(bench);
    munmap(pot, sizeof *pot);
}

static int be_quiet(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR + 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_thing_is_given_once),
        cmocka_unit_test(without_an_answer_it_is_unknown),
        cmocka_unit_test(a_value_in_its_place_outlives_the_store),
        cmocka_unit_test(what_cannot_be_answered_is_not_done),
    };
    return cmocka_run_group_tests(tests, be_quiet, NULL);
}
