/*
 * A call's way through the ring and back, and readiness.
 */
#include "tests/unit/core_bench.h"

static void test_inline(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_PUT, "key", bytes_of("value"));
    assert_false(core_start(&bench->core, &call));
    assert_int_equal(core_open_calls(&bench->core), 1);
    struct channel_taken submission = take(bench);
    assert_int_equal(submission.op, OP_KV_PUT);
    assert_int_equal(submission.key_len, 3);
    assert_int_equal(submission.value_len, 5);
    assert_int_equal(submission.flags, 0);
    assert_memory_equal(submission.payload, "keyvalue", 8);
    poll_at(bench, clock_ns());
    assert_int_equal(done_count, 0);
    answer(bench, STATUS_OK, 0, "", 0);
    poll_at(bench, clock_ns());
    assert_ptr_equal(last_done, &call);
    assert_int_equal(last_status, STATUS_OK);
    assert_int_equal(call.reply.revision, 7);
}

/* The room that a long head leaves is 8 bytes less: what then does not fit is staged. */
static void test_namespace(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_PUT, "key", bytes_of("value"));
    call.request.namespace = 7;
    assert_false(core_start(&bench->core, &call));
    struct channel_taken submission = take(bench);
    assert_int_equal(submission.op, OP_KV_PUT);
    assert_int_equal(submission.namespace, 7);
    assert_memory_equal(submission.payload, "keyvalue", 8);
    answer(bench, STATUS_OK, 0, "", 0);
    poll_at(bench, clock_ns());
    assert_int_equal(last_status, STATUS_OK);

    static uint8_t value[CHANNEL_SLOT_SIZE];
    call = make_call(OP_KV_PUT, "key", (struct bytes){value, channel_room(OP_KV_PUT, 0) - 3});
    assert_false(core_start(&bench->core, &call));
    assert_int_equal(take(bench).flags, 0);
    answer(bench, STATUS_OK, 0, "", 0);
    poll_at(bench, clock_ns());
    call.request.namespace = 7;
    assert_false(core_start(&bench->core, &call));
    assert_int_equal(call.state.phase, PHASE_STAGING);
    core_cancel(&bench->core, &call);
}

static void test_forwarded_read(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_GET, "key", (struct bytes){0});
    assert_false(core_start(&bench->core, &call));
    take(bench);
    answer(bench, STATUS_OK, 0, "value", 0);
    poll_at(bench, clock_ns());
    assert_string_equal(last_value, "value");
}

/* More calls than slots: the rest wait and come in as room comes free, in order. */
static void test_full_ring(void **state)
{
    struct bench *bench = *state;
    enum { COUNT = CHANNEL_SLOTS + 40 };
    static struct core_call calls[COUNT];
    for (int i = 0; i < COUNT; i++) {
        calls[i] = make_call(OP_COUNTER_INCREMENT, "n", (struct bytes){0});
        calls[i].request.number = i;
        assert_false(core_start(&bench->core, &calls[i]));
    }
    assert_int_equal(bench->store.submitted, CHANNEL_SLOTS);
    core_cancel(&bench->core, &calls[CHANNEL_SLOTS + 1]);
    for (int i = 0; i < COUNT; i++) {
        if (i == CHANNEL_SLOTS + 1)
            continue;
        struct channel_taken submission = take(bench);
        assert_int_equal(submission.number, i);
        answer(bench, STATUS_OK, i, "", 0);
        poll_at(bench, clock_ns());
        assert_ptr_equal(last_done, &calls[i]);
    }
}

/* The slot of a call whose deadline passed stays taken until its completion, which is ignored. */
static void test_deadline(void **state)
{
    struct bench *bench = *state;
    struct core_call late = make_call(OP_KV_DELETE, "a", (struct bytes){0});
    struct core_call next = make_call(OP_KV_DELETE, "b", (struct bytes){0});
    late.deadline_ns = clock_ns() + 1000000;
    assert_false(core_start(&bench->core, &late));
    assert_false(core_start(&bench->core, &next));
    poll_at(bench, late.deadline_ns);
    assert_ptr_equal(last_done, &late);
    assert_int_equal(last_status, STATUS_DEADLINE);
    assert_int_equal(done_count, 1);
    take(bench);
    take(bench);
    answer(bench, STATUS_OK, 0, "", 0);
    answer(bench, STATUS_NOT_FOUND, 0, "", 0);
    poll_at(bench, clock_ns());
    assert_int_equal(done_count, 2);
    assert_ptr_equal(last_done, &next);
    assert_int_equal(last_status, STATUS_NOT_FOUND);
}

static void test_deadline_already_past(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_DELETE, "a", (struct bytes){0});
    call.deadline_ns = 1;
    assert_true(core_start(&bench->core, &call));
    assert_int_equal(call.reply.status, STATUS_DEADLINE);
    assert_non_null(call.error);
}

static void test_request_timeout_bounds_the_deadline(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_DELETE, "a", (struct bytes){0});
    call.deadline_ns = UINT64_MAX;
    assert_false(core_start(&bench->core, &call));
    poll_at(bench, clock_ns() + 5000000000u);
    assert_int_equal(last_status, STATUS_DEADLINE);
}

static void test_cancel(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_DELETE, "a", (struct bytes){0});
    assert_false(core_start(&bench->core, &call));
    core_cancel(&bench->core, &call);
    take(bench);
    answer(bench, STATUS_OK, 0, "", 0);
    poll_at(bench, clock_ns());
    assert_int_equal(done_count, 0);
}

/* A completion that cannot be is our store's bug, not ours to crash on. */
static void test_impossible_completion(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_DELETE, "a", (struct bytes){0});
    assert_false(core_start(&bench->core, &call));
    take(bench);
    struct channel_completion *slot = channel_store_slot(&bench->end, bench->end.completed);
    slot->status = 999;
    slot->flags = 0;
    slot->value_len = UINT32_MAX;
    channel_store_keep(&bench->end, bench->end.completed);
    channel_store_commit(&bench->end, bench->end.completed);
    channel_store_flush(&bench->end);
    poll_at(bench, clock_ns());
    assert_int_equal(last_status, STATUS_INTERNAL);
}

/* ---- Readiness ---- */

static unsigned ready_count;
static enum status ready_status;
static const char *ready_backend;

static void on_ready(void *context, enum status status, const char *backend)
{
    (void)context;
    ready_count++;
    ready_status = status;
    ready_backend = backend;
}

static void test_ready(void **state)
{
    struct bench *bench = *state;
    uint64_t now = clock_ns();
    ready_count = 0;
    core_ready(&bench->core, on_ready, bench);
    core_ready(&bench->core, on_ready, &ready_count);
    core_ready_cancel(&bench->core, &ready_count);
    poll_at(bench, now);
    assert_int_equal(ready_count, 0);
    assert_int_equal(core_open_calls(&bench->core), 0); /* a probe is no call */
    take(bench);
    answer(bench, STATUS_NOT_FOUND, 0, "", 0);
    poll_at(bench, now);
    assert_int_equal(ready_count, 1);
    assert_int_equal(ready_status, STATUS_OK);
    core_ready(&bench->core, on_ready, bench);
    poll_at(bench, now); /* the answer is still good */
    assert_int_equal(ready_count, 2);
}

static void test_not_ready(void **state)
{
    struct bench *bench = *state;
    uint64_t now = clock_ns();
    ready_count = 0;
    core_ready(&bench->core, on_ready, bench);
    poll_at(bench, now);
    poll_at(bench, now + 1000000000u);
    assert_int_equal(ready_count, 1);
    assert_int_equal(ready_status, STATUS_UNAVAILABLE);
    assert_string_equal(ready_backend, "memory");
    take(bench);
    answer(bench, STATUS_OK, 0, "", 0);
    poll_at(bench, now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_inline),
        BENCH_TEST(test_namespace),
        BENCH_TEST(test_forwarded_read),
        BENCH_TEST(test_full_ring),
        BENCH_TEST(test_deadline),
        BENCH_TEST(test_deadline_already_past),
        BENCH_TEST(test_request_timeout_bounds_the_deadline),
        BENCH_TEST(test_cancel),
        BENCH_TEST(test_impossible_completion),
        BENCH_TEST(test_ready),
        BENCH_TEST(test_not_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
