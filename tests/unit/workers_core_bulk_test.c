/*
 * What does not fit a ring slot: staged values and fetched answers.
 */
#include "tests/unit/core_bench.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

static uint8_t large[4096];

/* key and value fill a slot to the last byte, or are one byte too long for it. */
static void test_inline_limit(void **state)
{
    struct bench *bench = *state;
    size_t room = sizeof(((struct channel_submission *)0)->payload);
    struct core_call fits = make_call(OP_KV_PUT, "key", (struct bytes){large, room - 3});
    struct core_call larger = make_call(OP_KV_PUT, "key", (struct bytes){large, room - 2});
    assert_false(core_start(&bench->core, &fits));
    assert_int_equal(open_jobs(), 0);
    assert_false(core_start(&bench->core, &larger));
    assert_int_equal(open_jobs(), 1);
    core_cancel(&bench->core, &fits);
    core_cancel(&bench->core, &larger);
    assert_int_equal(open_jobs(), 0);
    assert_int_equal(dropped, 1);
    take(bench);
    answer(bench, STATUS_OK, 0, "", 0);
    poll_at(bench, clock_ns());
}

static void test_staged(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_PUT, "key", (struct bytes){large, sizeof large});
    assert_false(core_start(&bench->core, &call));
    assert_int_equal(bench->store.submitted, 0);
    end_job(STATUS_OK, "");
    struct channel_taken submission = take(bench);
    assert_int_equal(submission.flags, CHANNEL_BULK);
    assert_int_equal(submission.bulk_id, last_bulk_id);
    assert_int_equal(submission.value_len, sizeof large);
    /* The store was restarted: once more. */
    answer(bench, STATUS_RESTAGE, 0, "", 0);
    poll_at(bench, clock_ns());
    assert_int_equal(done_count, 0);
    assert_int_equal(open_jobs(), 1);
    end_job(STATUS_OK, "");
    assert_int_equal(take(bench).bulk_id, last_bulk_id);
    answer(bench, STATUS_OK, 0, "", 0);
    poll_at(bench, clock_ns());
    assert_int_equal(last_status, STATUS_OK);
    assert_int_equal(dropped, 2);
}

static void test_staging_fails(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_PUT, "key", (struct bytes){large, sizeof large});
    assert_false(core_start(&bench->core, &call));
    end_job(STATUS_UNAVAILABLE, "");
    assert_int_equal(last_status, STATUS_UNAVAILABLE);
    assert_non_null(call.error);
}

static void test_staging_is_bounded(void **state)
{
    struct bench *bench = *state;
    enum { COUNT = CORE_STAGED_MAX + 3 };
    static struct core_call calls[COUNT];
    for (int i = 0; i < COUNT; i++) {
        calls[i] = make_call(OP_KV_PUT, "key", (struct bytes){large, sizeof large});
        assert_false(core_start(&bench->core, &calls[i]));
    }
    assert_int_equal(open_jobs(), CORE_STAGED_MAX);
    core_cancel(&bench->core, &calls[COUNT - 1]); /* waiting */
    core_cancel(&bench->core, &calls[0]);         /* staging */
    poll_at(bench, clock_ns());
    assert_int_equal(open_jobs(), CORE_STAGED_MAX);
    for (int i = 1; i < COUNT - 1; i++) {
        end_job(STATUS_OK, "");
        take(bench);
        answer(bench, STATUS_OK, 0, "", 0);
        poll_at(bench, clock_ns());
    }
    assert_int_equal(done_count, COUNT - 2);
}

/* Nobody waits any more, but what was staged may go only when the store is done with it. */
static void test_cancel_staged(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_PUT, "key", (struct bytes){large, sizeof large});
    assert_false(core_start(&bench->core, &call));
    end_job(STATUS_OK, "");
    core_cancel(&bench->core, &call);
    assert_int_equal(dropped, 0);
    take(bench);
    answer(bench, STATUS_OK, 0, "", 0);
    poll_at(bench, clock_ns());
    assert_int_equal(dropped, 1);
    assert_int_equal(done_count, 0);
}

static void test_fetched(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_SET_ADD, "set", bytes_of("item"));
    assert_false(core_start(&bench->core, &call));
    take(bench);
    answer(bench, STATUS_OK, 0, "", CHANNEL_BULK);
    poll_at(bench, clock_ns());
    assert_int_equal(done_count, 0);
    end_job(STATUS_OK, "many items");
    assert_int_equal(last_status, STATUS_OK);
    assert_string_equal(last_value, "many items");
}

static void lose_answer(struct bench *bench, struct core_call *call)
{
    assert_false(core_start(&bench->core, call));
    take(bench);
    answer(bench, STATUS_OK, 0, "", CHANNEL_BULK);
    poll_at(bench, clock_ns());
    end_job(STATUS_NOT_FOUND, "");
}

/* The answer is lost, for the channel has no places: what only reads is asked again, a set is read
 * after its change, and of another change nobody knows. */
static void test_lost_answer(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < 2; i++) {
        enum op op = i ? OP_SET_ADD : OP_SET_GET;
        struct core_call call = make_call(op, "set", i ? bytes_of("item") : (struct bytes){0});
        lose_answer(bench, &call);
        struct channel_taken taken = take(bench);
        assert_int_equal(taken.op, OP_SET_GET);
        assert_int_equal(taken.value_len, 0);
        answer(bench, STATUS_OK, 0, "items", 0);
        poll_at(bench, clock_ns());
        assert_int_equal(last_status, STATUS_OK);
        assert_string_equal(last_value, "items");
    }
    struct core_call call = make_call(OP_KV_PUT, "key", bytes_of("value"));
    lose_answer(bench, &call);
    assert_int_equal(last_status, STATUS_UNKNOWN);
}

/* ---- Places ---- */

static void give_places(struct bench *bench)
{
    int fd = memfd_create("channel", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)channel_file_size(UINT64_MAX)), 0);
    bench->store.places = bench->end.places = channel_places_open(fd);
    assert_int_equal(bench->store.places.size, 64 << 20);
}

static void take_places(struct bench *bench)
{
    close(bench->store.places.fd);
}

/* Bytes with memory behind them. */
static long held(const struct bench *bench)
{
    struct stat info;
    assert_int_equal(fstat(bench->store.places.fd, &info), 0);
    return (long)info.st_blocks * 512;
}

static void start_get(struct bench *bench, struct core_call *call)
{
    *call = make_call(OP_SET_GET, "set", (struct bytes){0});
    assert_false(core_start(&bench->core, call));
}

/* Answers the oldest submission with a value in its place. */
static void answer_placed(struct bench *bench, struct bytes value)
{
    take(bench);
    assert_true(
        channel_place_write(&bench->end.places, channel_place_out(bench->end.completed), value));
    struct channel_completion *slot = channel_store_slot(&bench->end, bench->end.completed);
    slot->value_len = (uint32_t)value.len;
    slot->status = STATUS_OK;
    slot->flags = CHANNEL_BULK | CHANNEL_PLACED;
    channel_store_keep(&bench->end, bench->end.completed);
    channel_store_commit(&bench->end, bench->end.completed);
}

static void test_placed(void **state)
{
    struct bench *bench = *state;
    struct core_call call;
    give_places(bench);
    start_get(bench, &call);
    answer_placed(bench, bytes_of("many items"));
    poll_at(bench, clock_ns());
    assert_int_equal(last_status, STATUS_OK);
    assert_string_equal(last_value, "many items");
    take_places(bench);
}

/* A large value goes to its slot's place, which is free again with the answer. */
static void test_large_value_in_its_place(void **state)
{
    struct bench *bench = *state;
    static uint8_t value[1 << 20], found[sizeof value];
    struct core_call call = make_call(OP_KV_PUT, "key", (struct bytes){value, sizeof value});
    give_places(bench);
    memset(value, 'v', sizeof value);
    assert_false(core_start(&bench->core, &call));
    uint64_t sequence = bench->end.taken;
    struct channel_taken submission = take(bench);
    assert_int_equal(submission.flags, CHANNEL_BULK | CHANNEL_PLACED);
    assert_true(channel_place_read(&bench->end.places, channel_place_in(sequence), found,
                                   submission.value_len));
    assert_memory_equal(found, value, sizeof value);
    answer(bench, STATUS_OK, 0, "", 0);
    poll_at(bench, clock_ns());
    assert_int_equal(last_status, STATUS_OK);
    assert_int_equal(held(bench), 0);
    take_places(bench);
}

/* Without memory for it there, it is staged. */
static void test_large_value_without_a_place(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_PUT, "key", (struct bytes){large, sizeof large});
    struct rlimit old, small;
    give_places(bench);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = channel_memory_size();
    setrlimit(RLIMIT_FSIZE, &small);
    assert_false(core_start(&bench->core, &call));
    setrlimit(RLIMIT_FSIZE, &old);
    struct channel_taken submission = take(bench);
    assert_int_equal(submission.flags, CHANNEL_BULK);
    assert_int_equal(submission.bulk_id, 0);
    answer(bench, STATUS_RESTAGE, 0, "", 0);
    poll_at(bench, clock_ns());
    end_job(STATUS_OK, "");
    assert_int_equal(take(bench).bulk_id, last_bulk_id);
    answer(bench, STATUS_OK, 0, "", 0);
    poll_at(bench, clock_ns());
    assert_int_equal(last_status, STATUS_OK);
    take_places(bench);
}

/* What nobody waits for gives its memory back. */
static void test_placed_and_cancelled(void **state)
{
    struct bench *bench = *state;
    struct core_call call;
    static uint8_t mega[1 << 20];
    give_places(bench);
    for (int waiting = 0; waiting < 2; waiting++) {
        bench->core.budget.limit = 0;
        start_get(bench, &call);
        if (!waiting)
            core_cancel(&bench->core, &call);
        answer_placed(bench, (struct bytes){mega, sizeof mega});
        assert_true(held(bench) >= (long)sizeof mega);
        poll_at(bench, clock_ns());
        if (waiting)
            core_cancel(&bench->core, &call);
        assert_int_equal(held(bench), 0);
        assert_int_equal(bench->store.channel.held, 0);
    }
    assert_int_equal(done_count, 0);
    take_places(bench);
}

/* Answers that wait for memory stay where they are, however far the ring goes on, and what may be
 * answered with another one waits for them. */
static void test_places_are_passed_over(void **state)
{
    struct bench *bench = *state;
    struct core_call waiting[3], call, late;
    const char *texts[] = {"first", "second", "third"};
    give_places(bench);
    bench->core.budget.limit = 0;
    for (int i = 0; i < 3; i++)
        start_get(bench, &waiting[i]);
    for (int i = 0; i < 3; i++)
        answer_placed(bench, bytes_of(texts[i]));
    poll_at(bench, clock_ns());
    start_get(bench, &late);
    for (unsigned i = 0; i < 3 * CHANNEL_SLOTS; i++) {
        call = make_call(OP_COUNTER_INCREMENT, "c", (struct bytes){0});
        assert_false(core_start(&bench->core, &call));
        struct channel_taken submission = take(bench);
        while (submission.op == OP_NONE) { /* a slot that is passed over */
            answer(bench, STATUS_INVALID, 0, "", 0);
            submission = take(bench);
        }
        answer(bench, STATUS_OK, 1, "", 0);
        poll_at(bench, clock_ns());
        assert_ptr_equal(last_done, &call);
    }
    bench->core.budget.limit = 100;
    done_count = 0;
    poll_at(bench, clock_ns());
    assert_int_equal(done_count, 3);
    assert_string_equal(last_value, "third");
    assert_int_equal(take(bench).op, OP_SET_GET); /* the late one */
    answer(bench, STATUS_OK, 0, "late", 0);
    poll_at(bench, clock_ns());
    assert_string_equal(last_value, "late");
    assert_int_equal(bench->store.channel.held, 0);
    take_places(bench);
}

/* When all slots are held nothing is submitted, and all goes on when one is let go. */
static void test_all_places_are_held(void **state)
{
    struct bench *bench = *state;
    static struct core_call calls[CHANNEL_SLOTS];
    struct core_call call = make_call(OP_COUNTER_INCREMENT, "c", (struct bytes){0});
    give_places(bench);
    bench->core.budget.limit = 0;
    for (unsigned i = 0; i < CHANNEL_SLOTS; i++)
        start_get(bench, &calls[i]);
    for (unsigned i = 0; i < CHANNEL_SLOTS; i++)
        answer_placed(bench, bytes_of("value"));
    poll_at(bench, clock_ns());
    assert_int_equal(bench->store.channel.held, CHANNEL_SLOTS);
    assert_false(core_start(&bench->core, &call));
    assert_false(TAILQ_EMPTY(&bench->store.for_slot));
    bench->core.budget.limit = 5;
    poll_at(bench, clock_ns());
    assert_int_equal(done_count, CHANNEL_SLOTS);
    assert_int_equal(take(bench).op, OP_COUNTER_INCREMENT);
    answer(bench, STATUS_OK, 1, "", 0);
    poll_at(bench, clock_ns());
    assert_ptr_equal(last_done, &call);
    take_places(bench);
}

static void test_cancel_fetching(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_SET_GET, "set", (struct bytes){0});
    assert_false(core_start(&bench->core, &call));
    take(bench);
    answer(bench, STATUS_OK, 0, "", CHANNEL_BULK);
    poll_at(bench, clock_ns());
    core_cancel(&bench->core, &call);
    assert_int_equal(done_count, 0);
}

static bool free_some(void *context)
{
    struct bench *bench = context;
    if (bench->core.budget.used < 8)
        return false;
    core_budget_give(&bench->core, 8);
    return true;
}

/* What is taken is bounded, and whoever has held for long makes room first. */
static void test_budget(void **state)
{
    struct bench *bench = *state;
    struct core *core = &bench->core;
    core_budget_open(core, 1);
    assert_int_equal(core->budget.limit, 16 << 20);
    core->budget.limit = 20;
    assert_true(core_budget_take(core, 8));
    assert_true(core_budget_take(core, 12));
    assert_false(core_budget_take(core, 1));
    assert_false(core_budget_take(core, UINT64_MAX));
    assert_int_equal(core->budget.used, 20);
    assert_int_equal(bench->page.at[FIGURE_BUDGET_USED], 20);
    assert_int_equal(bench->page.at[FIGURE_BUDGET_REFUSED], 2);
    core_budget_relief(core, free_some, bench);
    assert_false(core_budget_take(core, 21));
    assert_int_equal(core->budget.used, 20);
    assert_true(core_budget_take(core, 16));
    assert_int_equal(core->budget.used, 20);
    core_budget_give(core, 20);
}

/* Long answers wait for memory, in order. */
static void test_fetches_wait_for_memory(void **state)
{
    struct bench *bench = *state;
    struct core_call calls[3];
    bench->core.budget.limit = 20;
    for (int i = 0; i < 3; i++) {
        calls[i] = make_call(OP_SET_GET, "set", (struct bytes){0});
        assert_false(core_start(&bench->core, &calls[i]));
        take(bench);
        answer(bench, STATUS_OK, 0, "ten bytes.", CHANNEL_BULK);
        poll_at(bench, clock_ns());
    }
    assert_int_equal(open_jobs(), 2);
    core_cancel(&bench->core, &calls[1]);
    poll_at(bench, clock_ns());
    assert_int_equal(open_jobs(), 2);
    end_job(STATUS_OK, "first");
    end_job(STATUS_OK, "third");
    assert_int_equal(done_count, 2);
}

/* A call that only asks whether it went well does not fetch what it would be answered. */
static void test_status_only(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_SET_ADD, "set", bytes_of("item"));
    call.status_only = true;
    assert_false(core_start(&bench->core, &call));
    take(bench);
    answer(bench, STATUS_OK, 0, "long", CHANNEL_BULK);
    poll_at(bench, clock_ns());
    assert_int_equal(done_count, 1);
    assert_int_equal(last_status, STATUS_OK);
    assert_int_equal(declined, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_inline_limit),
        BENCH_TEST(test_staged),
        BENCH_TEST(test_staging_fails),
        BENCH_TEST(test_staging_is_bounded),
        BENCH_TEST(test_cancel_staged),
        BENCH_TEST(test_fetched),
        BENCH_TEST(test_lost_answer),
        BENCH_TEST(test_cancel_fetching),
        BENCH_TEST(test_budget),
        BENCH_TEST(test_fetches_wait_for_memory),
        BENCH_TEST(test_status_only),
        BENCH_TEST(test_placed),
        BENCH_TEST(test_placed_and_cancelled),
        BENCH_TEST(test_places_are_passed_over),
        BENCH_TEST(test_all_places_are_held),
        BENCH_TEST(test_large_value_in_its_place),
        BENCH_TEST(test_large_value_without_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
