/*
 * Torture of transactions: eight clients change 2 to 16 counters in one transaction each, through
 * channels, the dispatcher and an engine, which is killed again and again: at random, and at every
 * instant that has a failpoint. Every reader sees all of a transaction or nothing of it, so the sum
 * of all counters stays 0; and each transaction is carried out once, so that in the end every
 * counter has what a plain model has.
 *
 * The operation is one of tests alone: the store's process gives KVPut, KVGet and KVDelete another
 * meaning. More kills with STRATO_LONG=1.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BENCH_CHANNELS 8

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include "store/services/call.h"
#include "tests/unit/disk_engine.h"
#include "tests/unit/dispatch_bench.h"
#include "tests/unit/failpoints.h"

#ifdef STRATO_FAILPOINTS

enum {
    ACCOUNTS = 64,
    PARTS_MAX = 16,
    OUTSTANDING = 16,                        /* of each client */
    LIFE = 2 * BENCH_CHANNELS * OUTSTANDING, /* answers that a store gives before it is killed */
};

struct transfer {
    uint8_t count;
    uint8_t accounts[PARTS_MAX];
    int64_t amounts[PARTS_MAX]; /* their sum is 0 */
};

static uint64_t seed = 1;

static uint64_t chance(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

/* ---- The store's process: what the operations mean there ---- */

static struct tx_key account_key(unsigned account, char name[8])
{
    snprintf(name, 8, "a%02u", account);
    return (struct tx_key){.service = SERVICE_COUNTER, .name = bytes_of(name)};
}

static enum status read_account(struct call *call, struct tx_key key, int64_t *balance_r)
{
    struct tx_item item;
    enum status status = tx_get(call->tx, key, &item);
    *balance_r = 0;
    if (status == STATUS_OK)
        memcpy(balance_r, item.value.data, sizeof *balance_r);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* Moves amounts from and to accounts. What it puts must stay until the request is over. */
static enum status transfer(struct call *call, struct reply *reply)
{
    static char names[PARTS_MAX][8];
    static int64_t balances[PARTS_MAX];
    static struct transfer asked;
    enum status status = STATUS_OK;
    uint64_t revision;
    assert_int_equal(call->request->value.len, sizeof asked);
    memcpy(&asked, call->request->value.data, sizeof asked);
    for (unsigned i = 0; status == STATUS_OK && i < asked.count; i++) {
        struct tx_key key = account_key(asked.accounts[i], names[i]);
        status = read_account(call, key, &balances[i]);
        balances[i] += asked.amounts[i];
        const struct bytes value = {(const uint8_t *)&balances[i], sizeof balances[i]};
        if (status == STATUS_OK)
            status = tx_put(call->tx, key, value, 0, &revision);
    }
    reply->number = asked.count;
    return status;
}

/* Reads all accounts one by one, in the order of what is written; answers with their sum. */
static enum status audit(struct call *call, struct reply *reply)
{
    enum status status = STATUS_OK;
    for (unsigned i = 0; status == STATUS_OK && i < ACCOUNTS; i++) {
        char name[8];
        int64_t balance;
        status = read_account(call, account_key(i, name), &balance);
        reply->number += balance;
    }
    return status;
}

static bool note_balance(void *context, struct bytes name, const struct tx_item *item)
{
    int64_t *balances = context;
    unsigned account = (unsigned)((name.data[1] - '0') * 10 + (name.data[2] - '0'));
    assert_true(name.len == 3 && account < ACCOUNTS);
    memcpy(&balances[account], item->value.data, sizeof *balances);
    return true;
}

/* Walks over all accounts, and answers with what each has. */
static enum status statement(struct call *call, struct reply *reply)
{
    static int64_t balances[ACCOUNTS];
    const struct tx_range all = {.from = {.service = SERVICE_COUNTER},
                                 .reverse = call->request->number != 0};
    memset(balances, 0, sizeof balances);
    enum status status = tx_walk(call->tx, &all, note_balance, balances);
    reply->value = (struct bytes){(const uint8_t *)balances, sizeof balances};
    return status;
}

/* Lives until it is killed. point NULL: by others. */
static void be_store(struct dispatch_bench *bench, const struct engine_ops *ops, const char *point,
                     int hits)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_set_level(LOG_ERROR);
    call_means(OP_KV_PUT, transfer);
    call_means(OP_KV_DELETE, audit);
    call_means(OP_KV_GET, statement);
    if (point)
        failpoints_arm("store", point, hits);
    bench_open(bench, ops);
    for (;;)
        if (dispatch_round(bench->dispatch) == 0)
            sched_yield();
}

/* ---- The clients ---- */

struct client {
    struct channel_worker worker;
    struct transfer asked[CHANNEL_SLOTS]; /* by sequence; count 0: it only reads */
};

struct torture {
    struct dispatch_bench *bench;
    const struct engine_ops *ops;
    const char *const *points;
    unsigned point_count;
    struct client clients[BENCH_CHANNELS];
    int64_t model[ACCOUNTS]; /* of what was answered */
    uint64_t transfers, reads, given_up, killed_at[16], killed;
    bool more; /* clients go on asking */
};

static struct transfer random_transfer(void)
{
    struct transfer made = {.count = (uint8_t)(2 + chance(PARTS_MAX - 1))};
    unsigned first = (unsigned)chance(ACCOUNTS);
    int64_t sum = 0;
    for (unsigned i = 0; i < made.count; i++) {
        made.accounts[i] = (uint8_t)((first + i * 3) % ACCOUNTS); /* all different */
        made.amounts[i] = i + 1U < made.count ? (int64_t)chance(2000000) - 1000000 : -sum;
        sum += made.amounts[i];
    }
    return made;
}

static void ask_one(struct client *client)
{
    struct transfer *asked = &client->asked[client->worker.submitted % CHANNEL_SLOTS];
    *asked = (struct transfer){0};
    uint64_t kind = chance(10);
    if (kind < 7) {
        *asked = random_transfer();
        assert_true(bench_submit(&client->worker, OP_KV_PUT, "transfer", 0,
                                 (struct bytes){(const uint8_t *)asked, sizeof *asked}));
    } else if (kind < 8) {
        assert_true(bench_submit(&client->worker, OP_KV_DELETE, "audit", 0, (struct bytes){0}));
    } else {
        assert_true(bench_submit(&client->worker, OP_KV_GET, "statement", (int64_t)kind - 8,
                                 (struct bytes){0}));
    }
}

static void take_answer(struct torture *torture, struct client *client,
                        const struct channel_completion *answer)
{
    uint64_t sequence = client->worker.consumed;
    const struct transfer *asked = &client->asked[sequence % CHANNEL_SLOTS];
    int64_t balances[ACCOUNTS], sum = 0;
    assert_int_equal(answer->sequence, sequence);
    if (answer->flags & CHANNEL_GIVEN_UP && answer->status == STATUS_INTERNAL) {
        torture->given_up++; /* three kills met this one by chance; it has no effect */
        return;
    }
    assert_int_equal(answer->status, STATUS_OK);
    for (unsigned i = 0; i < asked->count; i++)
        torture->model[asked->accounts[i]] += asked->amounts[i];
    torture->transfers += asked->count > 0;
    torture->reads += asked->count == 0;
    if (asked->count > 0)
        return;
    if (answer->value_len == sizeof balances)
        memcpy(balances, answer->payload, sizeof balances);
    for (unsigned i = 0; answer->value_len == sizeof balances && i < ACCOUNTS; i++)
        sum += balances[i];
    assert_int_equal(sum, 0);
    assert_int_equal(answer->number, 0);
}

/* Takes all answers that there are and asks for more. Returns how many were taken. */
static unsigned serve_clients(struct torture *torture)
{
    unsigned taken = 0;
    for (int i = 0; i < BENCH_CHANNELS; i++) {
        struct client *client = &torture->clients[i];
        const struct channel_completion *answer;
        while ((answer = channel_worker_peek(&client->worker))) {
            take_answer(torture, client, answer);
            channel_worker_release(&client->worker);
            taken++;
        }
        while (torture->more && client->worker.submitted - client->worker.consumed < OUTSTANDING)
            ask_one(client);
    }
    return taken;
}

static bool is_idle(const struct torture *torture)
{
    for (int i = 0; i < BENCH_CHANNELS; i++)
        if (torture->clients[i].worker.submitted != torture->clients[i].worker.consumed)
            return false;
    return true;
}

/* ---- Lives of the store ---- */

static pid_t start_store(struct torture *torture, const char *point, int hits)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        be_store(torture->bench, torture->ops, point, hits);
    return pid;
}

static bool has_died(pid_t pid)
{
    int status;
    pid_t found = waitpid(pid, &status, WNOHANG);
    assert_true(found == 0 || (found == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
    return found == pid;
}

/* Until it has died, by the failpoint or after so many answers. True: by the failpoint. */
static bool live(struct torture *torture, const char *point, int hits, unsigned answers)
{
    pid_t pid = start_store(torture, point, hits);
    unsigned taken = 0;
    while (taken < answers && !(is_idle(torture) && !torture->more)) {
        unsigned now = serve_clients(torture);
        taken += now;
        if (now == 0 && has_died(pid))
            return point;
        if (now == 0)
            sched_yield();
    }
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return false;
}

static void open_clients(struct torture *torture)
{
    bench_open(torture->bench, torture->ops); /* which lays the channels out */
    bench_close(torture->bench);
    for (int i = 0; i < BENCH_CHANNELS; i++)
        channel_worker_open(&torture->clients[i].worker, torture->bench->memories[i],
                            RUN_FD_CHANNEL + i * RUN_CHANNEL_FDS + RUN_CHANNEL_DOORBELL);
}

/* One life in two ends at a failpoint, which comes sooner or later; the other at random. */
static void kill_often(struct torture *torture, unsigned kills)
{
    torture->more = true;
    for (torture->killed = 0; torture->killed < kills; torture->killed++) {
        unsigned point = (unsigned)(torture->killed / 2) % torture->point_count;
        if (torture->killed % 2)
            (void)live(torture, NULL, 0, LIFE + (unsigned)chance(LIFE));
        else if (live(torture, torture->points[point], 1 + (int)chance(40), 40 * LIFE))
            torture->killed_at[point]++;
    }
    torture->more = false;
    (void)live(torture, NULL, 0, UINT32_MAX);
}

static void check_end(struct torture *torture)
{
    int64_t balances[ACCOUNTS];
    pid_t pid = start_store(torture, NULL, 0);
    struct client *client = &torture->clients[0];
    const struct channel_completion *answer;
    bench_submit(&client->worker, OP_KV_GET, "statement", 0, (struct bytes){0});
    while (!(answer = channel_worker_peek(&client->worker)))
        assert_false(has_died(pid));
    assert_int_equal(answer->value_len, sizeof balances);
    memcpy(balances, answer->payload, sizeof balances);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        assert_int_equal(balances[i], torture->model[i]);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void run_torture(const struct engine_ops *ops, const struct conf *conf,
                        const char *const *points, unsigned point_count)
{
    struct torture *torture = calloc(1, sizeof *torture);
    unsigned kills = getenv("STRATO_LONG") ? 200 : 60;
    torture->bench = bench_make();
    torture->ops = ops;
    torture->points = points;
    torture->point_count = point_count;
    if (conf)
        torture->bench->child.conf = *conf;
    open_clients(torture);
    kill_often(torture, kills);
    check_end(torture);
    print_message("%llu transactions, %llu reads, %llu kills\n",
                  (unsigned long long)torture->transfers, (unsigned long long)torture->reads,
                  (unsigned long long)torture->killed);
    for (unsigned i = 0; i < point_count; i++) {
        print_message("  %llu at %s\n", (unsigned long long)torture->killed_at[i], points[i]);
        assert_true(torture->killed_at[i] > 0);
    }
    assert_true(torture->transfers >= kills * LIFE / 2);
    assert_true(torture->given_up <= kills / 10);
    bench_free(torture->bench);
    free(torture);
}

static void test_memory(void **state)
{
    static const char *const points[] = {
        "arena.before_intent",    "arena.list_written",  "arena.after_intent",
        "arena.before_publish",   "arena.after_publish", "arena.after_applied",
        "store.after_take",       "store.before_apply",  "store.before_completion",
        "store.after_completion",
    };
    (void)state;
    run_torture(&memory_engine, NULL, points, sizeof points / sizeof *points);
}

static void test_disk(void **state)
{
    static const char *const points[] = {
        "disk.before_commit", "disk.after_commit",       "disk.after_publish",
        "store.after_take",   "store.before_completion", "store.after_completion",
    };
    (void)state;
    struct disk_engine *disk = disk_new();
    disk->child.conf.http.workers = BENCH_CHANNELS / RUN_LANES;
    disk->child.conf.disk_sync = SYNC_OFF; /* what a process leaves behind is what is tested */
    disk->child.conf.max_value = 1 << 16;
    assert_true(run_channel_count(&disk->child.conf) >= BENCH_CHANNELS);
    run_torture(&disk_engine, &disk->child.conf, points, sizeof points / sizeof *points);
    disk_remove(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return 0;
}

#endif
