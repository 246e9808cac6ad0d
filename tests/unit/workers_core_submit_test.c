/*
 * A call's way through the ring and back, with the store's end of the channel in the test's hands
 * and a transfer that does what it is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/clock.h"
#include "workers/core/internal.h"

/* ---- The transfer's stand-in ---- */

enum { JOBS_MAX = 128 };

struct transfer_job {
    bool used, fetch;
    transfer_done *done;
    void *context;
    struct bytes value;
};

static struct transfer_job jobs[JOBS_MAX];
static uint64_t last_bulk_id;
static unsigned dropped;

static struct transfer_job *new_job(bool fetch, struct bytes value, transfer_done *done,
                                    void *context)
{
    for (int i = 0; i < JOBS_MAX; i++)
        if (!jobs[i].used) {
            jobs[i] = (struct transfer_job){true, fetch, done, context, value};
            return &jobs[i];
        }
    fail_msg("too many jobs");
    return NULL;
}

struct transfer_job *transfer_stage(struct transfer *transfer, struct bytes value,
                                    uint64_t *bulk_id_r, transfer_done *done, void *context)
{
    (void)transfer;
    *bulk_id_r = ++last_bulk_id;
    return new_job(false, value, done, context);
}

struct transfer_job *transfer_fetch(struct transfer *transfer, uint64_t sequence, uint64_t total,
                                    transfer_done *done, void *context)
{
    (void)transfer;
    (void)sequence;
    (void)total;
    return new_job(true, (struct bytes){0}, done, context);
}

void transfer_drop(struct transfer *transfer, uint64_t bulk_id)
{
    (void)transfer;
    assert_int_not_equal(bulk_id, 0);
    dropped++;
}

void transfer_cancel(struct transfer_job **job)
{
    assert_true((*job)->used);
    (*job)->used = false;
    *job = NULL;
}

static unsigned open_jobs(void)
{
    unsigned n = 0;
    for (int i = 0; i < JOBS_MAX; i++)
        n += jobs[i].used;
    return n;
}

/* Ends the first job. */
static void end_job(enum status status, const char *data)
{
    for (int i = 0; i < JOBS_MAX; i++)
        if (jobs[i].used) {
            jobs[i].used = false;
            jobs[i].done(jobs[i].context, status, bytes_of(data));
            return;
        }
    fail_msg("no job is open");
}

struct transfer *transfer_open(const char *url, const char *name, unsigned channel_number,
                               struct channel_memory *channel, char *reason, size_t reason_size)
{
    (void)url;
    (void)name;
    (void)channel_number;
    (void)channel;
    (void)reason;
    (void)reason_size;
    return NULL;
}

void transfer_close(struct transfer **transfer)
{
    *transfer = NULL;
}

int transfer_fd(const struct transfer *transfer)
{
    (void)transfer;
    return -1;
}

void transfer_poll(struct transfer *transfer, uint64_t now_ms)
{
    (void)transfer;
    (void)now_ms;
}

bool transfer_busy(const struct transfer *transfer)
{
    (void)transfer;
    return false;
}

bool transfer_accepted(const struct transfer *transfer, const char **why_r)
{
    (void)transfer;
    *why_r = "";
    return true;
}

struct transfer_job *transfer_stats(struct transfer *transfer, transfer_done *done, void *context)
{
    (void)transfer;
    return new_job(true, (struct bytes){0}, done, context);
}

/* ---- A core with one store ---- */

static uint64_t raw_arena[(1 << 20) / 8]; /* zeros: a read is always forwarded */

struct bench {
    struct run_child child;
    struct core core;
    struct core_store store;
    struct channel_memory *memory;
    struct channel_store end;
    int doorbell;
};

static struct core_call *last_done;
static unsigned done_count;
static enum status last_status;
static char last_value[64];

static void on_done(struct core_call *call)
{
    last_done = call;
    last_status = call->reply.status;
    assert_true(call->reply.value.len < sizeof last_value);
    if (call->reply.value.len > 0)
        memcpy(last_value, call->reply.value.data, call->reply.value.len);
    last_value[call->reply.value.len] = '\0';
    done_count++;
}

static int open_bench(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    bench->child.conf.request_timeout_ms = 5000;
    bench->child.conf.max_value = 1 << 20;
    bench->doorbell = eventfd(0, EFD_NONBLOCK);
    bench->memory = aligned_alloc(4096, channel_memory_size());
    memset(bench->memory, 0, channel_memory_size());
    bench->store.core = &bench->core;
    bench->store.absent_is_final = true;
    arena_reader_attach(&bench->store.reader, raw_arena, sizeof raw_arena);
    channel_worker_open(&bench->store.channel, bench->memory, bench->doorbell);
    channel_store_open(&bench->end, bench->memory, bench->doorbell);
    bench->core.child = &bench->child;
    bench->core.stores[BACKEND_MEMORY] = &bench->store;
    bench->core.first = &bench->store;
    memset(jobs, 0, sizeof jobs);
    last_done = NULL;
    done_count = dropped = 0;
    *state = bench;
    return 0;
}

static int close_bench(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(core_open_calls(&bench->core), 0);
    assert_int_equal(bench->store.staged, 0);
    assert_int_equal(bench->store.submitted, 0);
    assert_int_equal(open_jobs(), 0);
    assert_null(bench->store.for_slot.head);
    assert_null(bench->store.for_stage.head);
    deadlines_free(&bench->core.deadlines);
    buffer_free(&bench->core.scratch);
    free(bench->memory);
    close(bench->doorbell);
    free(bench);
    return 0;
}

static struct core_call make_call(enum op op, const char *key, struct bytes value)
{
    return (struct core_call){
        .request = {.op = op, .key = bytes_of(key), .value = value},
        .done = on_done,
    };
}

/* The store takes a submission, which must be there, and answers. */
static struct channel_submission take(struct bench *bench)
{
    struct channel_submission submission;
    uint64_t sequence;
    core_flush(&bench->core);
    assert_true(channel_store_take(&bench->end, &submission, &sequence));
    return submission;
}

static void answer(struct bench *bench, enum status status, int64_t number, const char *value,
                   unsigned flags)
{
    struct channel_completion *slot = channel_store_slot(&bench->end);
    slot->status = (uint16_t)status;
    slot->number = number;
    slot->revision = 7;
    slot->flags = (uint16_t)flags;
    slot->value_len = (uint32_t)strlen(value);
    memcpy(slot->payload, value, strlen(value));
    channel_store_commit(&bench->end);
    channel_store_flush(&bench->end);
}

static void poll_at(struct bench *bench, uint64_t now_ns)
{
    core_poll(&bench->core, now_ns);
}

/* ---- Tests ---- */

static void test_inline(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_PUT, "key", bytes_of("value"));
    assert_false(core_start(&bench->core, &call));
    assert_int_equal(core_open_calls(&bench->core), 1);
    struct channel_submission submission = take(bench);
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
        struct channel_submission submission = take(bench);
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
    struct channel_submission submission = take(bench);
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
    struct channel_submission submission = take(bench);
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

/* A completion that cannot be is our store's bug, not ours to crash on. */
static void test_impossible_completion(void **state)
{
    struct bench *bench = *state;
    struct core_call call = make_call(OP_KV_DELETE, "a", (struct bytes){0});
    assert_false(core_start(&bench->core, &call));
    take(bench);
    struct channel_completion *slot = channel_store_slot(&bench->end);
    slot->status = 999;
    slot->flags = 0;
    slot->value_len = UINT32_MAX;
    channel_store_commit(&bench->end);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_inline),
        TEST(test_forwarded_read),
        TEST(test_full_ring),
        TEST(test_deadline),
        TEST(test_deadline_already_past),
        TEST(test_request_timeout_bounds_the_deadline),
        TEST(test_cancel),
        TEST(test_inline_limit),
        TEST(test_staged),
        TEST(test_staging_fails),
        TEST(test_staging_is_bounded),
        TEST(test_cancel_staged),
        TEST(test_fetched),
        TEST(test_lost_answer),
        TEST(test_cancel_fetching),
        TEST(test_impossible_completion),
        TEST(test_ready),
        TEST(test_not_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
