/*
 * link: either end killed with -9 in the middle of the conversation, again and again. The other end
 * is another process: this program once more, as
 *     link_kill_test store DIRECTORY
 *     link_kill_test worker DIRECTORY CHANNEL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/unit/link_pair.h"

enum { KILLS = 40, LONG_MS = 15000, VALUE = 1 << 20, JOBS = 6 };

static char *program;

static pid_t start(const char *role, const char *directory, const char *channel)
{
    char *arguments[] = {program, (char *)(uintptr_t)role, (char *)(uintptr_t)directory,
                         (char *)(uintptr_t)channel, NULL};
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, program, NULL, NULL, arguments, environ), 0);
    return pid;
}

static void kill_now(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static unsigned random_below(unsigned limit)
{
    static uint64_t x = 88172645463325252;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return (unsigned)(x % limit);
}

/* ---- The other end ---- */

static _Noreturn void run_store(const char *directory)
{
    struct pair pair;
    struct buffer value = pair_value(VALUE, 2);
    pair_prepare(&pair, directory);
    pair_open_store(&pair);
    for (uint64_t i = 0; i < JOBS; i++)
        bulk_keep(pair.bulk, 0, i, buffer_bytes(&value));
    for (;;)
        pair_round(&pair);
}

static void stage_again(void *context, enum status status, struct bytes data)
{
    static struct buffer value;
    static uint64_t ids[JOBS];
    static unsigned next;
    struct transfer *transfer = context;
    (void)status, (void)data;
    if (!value.data)
        value = pair_value(VALUE, 3);
    transfer_drop(transfer, ids[next % JOBS]);
    transfer_stage(transfer, buffer_bytes(&value), &ids[next++ % JOBS], stage_again, transfer);
}

static _Noreturn void run_worker(const char *directory, unsigned channel)
{
    struct pair pair;
    pair_prepare(&pair, directory);
    struct transfer *transfer = pair_worker(&pair, channel);
    for (unsigned i = 0; i < JOBS; i++)
        stage_again(transfer, STATUS_OK, (struct bytes){0});
    for (;;)
        pair_round(&pair);
}

/* ---- This end ---- */

struct jobs {
    struct outcome staged[JOBS], fetched[JOBS];
};

static unsigned ended(const struct jobs *jobs)
{
    unsigned count = 0;
    for (unsigned i = 0; i < JOBS; i++)
        count += jobs->staged[i].count + jobs->fetched[i].count;
    return count;
}

static void check(struct jobs *jobs, const struct buffer *expected)
{
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(jobs->staged[i].count, 1);
        assert_int_equal(jobs->staged[i].status, STATUS_OK);
        assert_int_equal(jobs->fetched[i].count, 1);
        /* The drop that follows a fetch may have come through before the kill. */
        if (jobs->fetched[i].status == STATUS_OK)
            assert_true(bytes_equal(buffer_bytes(&jobs->fetched[i].data), buffer_bytes(expected)));
        else
            assert_int_equal(jobs->fetched[i].status, STATUS_NOT_FOUND);
        buffer_free(&jobs->fetched[i].data);
    }
}

static void test_store_killed(void **state)
{
    struct buffer staged = pair_value(VALUE, 1), kept = pair_value(VALUE, 2);
    struct pair pair;
    uint64_t id, slowest = 0;
    unsigned fds = 0;
    (void)state;
    pair_prepare(&pair, NULL);
    struct transfer *transfer = pair_worker(&pair, 0);
    pid_t store = start("store", pair.conf.run_dir, NULL);
    for (unsigned round = 0; round < KILLS; round++) {
        struct jobs jobs = {0};
        assert_true(PAIR_UNTIL(&pair, !transfer_busy(transfer), LONG_MS));
        if (fds == 0)
            fds = pair_fd_count();
        for (unsigned i = 0; i < JOBS; i++) {
            transfer_stage(transfer, buffer_bytes(&staged), &id, pair_done, &jobs.staged[i]);
            transfer_fetch(transfer, i, VALUE, pair_done, &jobs.fetched[i]);
        }
        pair_run(&pair, random_below(8));
        kill_now(store);
        uint64_t since = clock_ms();
        store = start("store", pair.conf.run_dir, NULL);
        assert_true(PAIR_UNTIL(&pair, ended(&jobs) == 2 * JOBS, LONG_MS));
        check(&jobs, &kept);
        if (clock_ms() - since > slowest)
            slowest = clock_ms() - since;
    }
    /* A dialer that was made anew too soon (a busy machine) can leave one behind. */
    unsigned trouble = atomic_load(&pair.memories[0]->link_trouble);
    if (!PAIR_UNTIL(&pair, pair_fd_count() <= fds + 1 + trouble, 2000))
        fail_msg("trouble %u, %u descriptors, then %u", trouble, fds, pair_fd_count());
    print_message("slowest recovery %llu ms, trouble %u, descriptors %u, then %u\n",
                  (unsigned long long)slowest, trouble, fds, pair_fd_count());
    kill_now(store);
    unlink(pair.url + strlen("ipc://"));
    buffer_free(&staged);
    buffer_free(&kept);
    pair_close(&pair);
}

static void test_worker_killed(void **state)
{
    struct pair pair;
    struct outcome outcome = {0};
    uint64_t id;
    unsigned fds = 0;
    (void)state;
    pair_open(&pair);
    struct transfer *transfer = pair_worker(&pair, 0);
    assert_true(PAIR_UNTIL(&pair, !transfer_busy(transfer), LONG_MS));
    for (unsigned round = 0; round < KILLS; round++) {
        pid_t worker = start("worker", pair.conf.run_dir, round % 2 ? "2" : "3");
        uint64_t before = bulk_bytes(pair.bulk);
        assert_true(PAIR_UNTIL(&pair, bulk_bytes(pair.bulk) != before, LONG_MS));
        pair_run(&pair, random_below(20));
        kill_now(worker);
        outcome.count = 0;
        transfer_stage(transfer, bytes_of("still here"), &id, pair_done, &outcome);
        assert_true(PAIR_UNTIL(&pair, outcome.count, LONG_MS));
        assert_int_equal(outcome.status, STATUS_OK);
        transfer_drop(transfer, id);
        if (round == 1)
            fds = pair_fd_count();
    }
    /* Each new worker has forgotten its predecessor's. */
    assert_true(bulk_bytes(pair.bulk) <= 2 * (uint64_t)(JOBS + 1) * VALUE);
    if (!PAIR_UNTIL(&pair, pair_fd_count() <= fds + 1, 2000))
        fail_msg("%u descriptors, then %u", fds, pair_fd_count());
    print_message("descriptors %u, then %u\n", fds, pair_fd_count());
    pair_close(&pair);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_killed),
        cmocka_unit_test(test_worker_killed),
    };
    program = argv[0];
    if (argc > 2)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc > 2 && strcmp(argv[1], "store") == 0)
        run_store(argv[2]);
    if (argc > 3 && strcmp(argv[1], "worker") == 0)
        run_worker(argv[2], (unsigned)atoi(argv[3]));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
