/*
 * What does not fit a ring slot: staged values and fetched answers.
 */
#include "tests/unit/core_bench.h"

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

/* The answer is lost: the item is not added again, the set is read. */
static void test_lost_answer(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_SET_ADD, "set", bytes_of("item"));
    assert_false(core_start(&bench->core, &call));
    take(bench);
    answer(bench, STATUS_OK, 0, "", CHANNEL_BULK);
    poll_at(bench, clock_ns());
    end_job(STATUS_NOT_FOUND, "");
    struct channel_taken submission = take(bench);
    assert_int_equal(submission.op, OP_SET_GET);
    assert_int_equal(submission.value_len, 0);
    answer(bench, STATUS_OK, 0, "items", 0);
    poll_at(bench, clock_ns());
    assert_string_equal(last_value, "items");
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
        BENCH_TEST(test_inline_limit),  BENCH_TEST(test_staged),
        BENCH_TEST(test_staging_fails), BENCH_TEST(test_staging_is_bounded),
        BENCH_TEST(test_cancel_staged), BENCH_TEST(test_fetched),
        BENCH_TEST(test_lost_answer),   BENCH_TEST(test_cancel_fetching),
        BENCH_TEST(test_budget),        BENCH_TEST(test_fetches_wait_for_memory),
        BENCH_TEST(test_status_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
