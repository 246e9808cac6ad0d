/*
 * core_bench - a worker's core with one store, for tests of core: the store's end of the channel is
 * in the test's hands, and the transfer does what it is told. For one test program's only file.
 */
#ifndef STRATO_TESTS_UNIT_CORE_BENCH_H
#define STRATO_TESTS_UNIT_CORE_BENCH_H

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
static unsigned dropped, declined;

static inline struct transfer_job *new_job(bool fetch, struct bytes value, transfer_done *done,
                                           void *context)
{
    for (int i = 0; i < JOBS_MAX; i++)
        if (!jobs[i].used) {
            jobs[i] = (struct transfer_job){
                .used = true, .fetch = fetch, .done = done, .context = context, .value = value};
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

void transfer_decline(struct transfer *transfer, uint64_t sequence)
{
    (void)transfer;
    (void)sequence;
    declined++;
}

void transfer_cancel(struct transfer_job **job)
{
    assert_true((*job)->used);
    (*job)->used = false;
    *job = NULL;
}

static inline unsigned open_jobs(void)
{
    unsigned n = 0;
    for (int i = 0; i < JOBS_MAX; i++)
        n += jobs[i].used;
    return n;
}

/* Ends the first job. */
static inline void end_job(enum status status, const char *data)
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

/* ---- A core with one store ---- */

static uint64_t raw_arena[(1 << 20) / 8]; /* zeros: a read is always forwarded */

struct bench {
    struct run_child child;
    struct core core;
    struct core_store store;
    struct figures_page page;
    struct channel_memory *memory;
    struct channel_store end;
    int doorbell;
};

static struct core_call *last_done;
static unsigned done_count;
static enum status last_status;
static char last_value[64];

static inline void on_done(struct core_call *call)
{
    last_done = call;
    last_status = call->reply.status;
    assert_true(call->reply.value.len < sizeof last_value);
    if (call->reply.value.len > 0)
        memcpy(last_value, call->reply.value.data, call->reply.value.len);
    last_value[call->reply.value.len] = '\0';
    done_count++;
}

static inline int open_bench(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    bench->child.conf.request_timeout_ms = 5000;
    bench->child.conf.max_value = 1 << 20;
    bench->doorbell = eventfd(0, EFD_NONBLOCK);
    bench->memory = aligned_alloc(4096, channel_memory_size());
    memset(bench->memory, 0, channel_memory_size());
    bench->store.core = &bench->core;
    TAILQ_INIT(&bench->store.for_slot);
    TAILQ_INIT(&bench->store.for_stage);
    TAILQ_INIT(&bench->store.for_fetch);
    TAILQ_INIT(&bench->store.for_turn);
    bench->store.absent_is_final = true;
    arena_reader_attach(&bench->store.reader, raw_arena, sizeof raw_arena);
    channel_worker_open(&bench->store.channel, bench->memory, bench->doorbell);
    channel_store_open(&bench->end, bench->memory, bench->doorbell);
    bench->core.child = &bench->child;
    bench->core.figures = &bench->page;
    bench->core.stores[BACKEND_MEMORY] = &bench->store;
    bench->core.first = &bench->store;
    memset(jobs, 0, sizeof jobs);
    last_done = NULL;
    done_count = dropped = declined = 0;
    bench->core.budget.limit = UINT64_MAX;
    *state = bench;
    return 0;
}

static inline int close_bench(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(core_open_calls(&bench->core), 0);
    assert_int_equal(bench->store.staged, 0);
    assert_int_equal(bench->store.submitted, 0);
    assert_int_equal(open_jobs(), 0);
    assert_true(TAILQ_EMPTY(&bench->store.for_slot));
    assert_true(TAILQ_EMPTY(&bench->store.for_stage));
    assert_true(TAILQ_EMPTY(&bench->store.for_fetch));
    assert_true(TAILQ_EMPTY(&bench->store.for_turn));
    assert_int_equal(bench->core.budget.used, 0);
    deadlines_free(&bench->core.deadlines);
    buffer_free(&bench->core.scratch);
    buffer_free(&bench->core.answer);
    free(bench->memory);
    close(bench->doorbell);
    free(bench);
    return 0;
}

static inline struct core_call make_call(enum op op, const char *key, struct bytes value)
{
    return (struct core_call){
        .request = {.op = op, .key = bytes_of(key), .value = value},
        .done = on_done,
    };
}

/* The store takes a submission, which must be there, and answers. */
static inline struct channel_taken take(struct bench *bench)
{
    struct channel_taken submission;
    uint64_t sequence;
    core_flush(&bench->core);
    assert_true(channel_store_take(&bench->end, &submission, &sequence));
    return submission;
}

static inline void answer(struct bench *bench, enum status status, int64_t number,
                          const char *value, unsigned flags)
{
    struct channel_completion *slot = channel_store_slot(&bench->end, bench->end.completed);
    slot->status = (uint16_t)status;
    slot->number = number;
    slot->revision = 7;
    slot->flags = (uint16_t)flags;
    slot->value_len = (uint32_t)strlen(value);
    memcpy(slot->payload, value, strlen(value));
    channel_store_keep(&bench->end, bench->end.completed);
    channel_store_commit(&bench->end, bench->end.completed);
    channel_store_flush(&bench->end);
}

static inline void poll_at(struct bench *bench, uint64_t now_ns)
{
    core_poll(&bench->core, now_ns);
}

#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

#endif
