/* transfer against a real talk: values of all sizes, restarts of either end, cancelling, refusals,
 * stats; and against a store that accepts and never answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "tests/unit/link_pair.h"

enum { LONG_MS = 15000 }; /* for what takes far less */

static void stage_and_check(struct pair *pair, struct transfer *transfer, size_t len)
{
    struct outcome outcome = {0};
    struct bytes there;
    uint64_t id = 0;
    struct buffer value = pair_value(len, (unsigned)len);
    transfer_stage(transfer, buffer_bytes(&value), &id, pair_done, &outcome);
    assert_true(id != 0);
    assert_int_equal(outcome.count, 0);
    assert_true(PAIR_UNTIL(pair, outcome.count, LONG_MS));
    assert_int_equal(outcome.status, STATUS_OK);
    assert_true(bulk_staged(pair->bulk, 0, id, &there));
    assert_true(bytes_equal(there, buffer_bytes(&value)));
    transfer_drop(transfer, id);
    assert_true(PAIR_UNTIL(pair, bulk_bytes(pair->bulk) == 0, LONG_MS));
    buffer_free(&value);
}

static void fetch_and_check(struct pair *pair, struct transfer *transfer, size_t len)
{
    struct outcome outcome = {0};
    struct buffer value = pair_value(len, (unsigned)len + 1);
    bulk_keep(pair->bulk, 0, len, buffer_bytes(&value));
    transfer_fetch(transfer, len, len, pair_done, &outcome);
    assert_true(PAIR_UNTIL(pair, outcome.count, LONG_MS));
    assert_int_equal(outcome.status, STATUS_OK);
    assert_true(bytes_equal(buffer_bytes(&outcome.data), buffer_bytes(&value)));
    assert_true(PAIR_UNTIL(pair, bulk_bytes(pair->bulk) == 0, LONG_MS));
    buffer_free(&outcome.data);
    buffer_free(&value);
}

static void test_values_of_all_sizes(void **state)
{
    static const size_t sizes[] = {
        1,       2,       4096,     LINK_CHUNK - 1, LINK_CHUNK, LINK_CHUNK + 1, 2 * LINK_CHUNK,
        1 << 20, 5000001, 64 << 20,
    };
    struct pair pair;
    (void)state;
    pair_open(&pair);
    struct transfer *transfer = pair_worker(&pair, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        stage_and_check(&pair, transfer, sizes[i]);
        fetch_and_check(&pair, transfer, sizes[i]);
    }
    pair_close(&pair);
}

static void test_many_at_once(void **state)
{
    enum { COUNT = 40 };
    struct outcome outcomes[COUNT] = {0};
    struct buffer values[COUNT];
    uint64_t ids[COUNT];
    struct pair pair;
    unsigned done = 0;
    (void)state;
    pair_open(&pair);
    struct transfer *transfer = pair_worker(&pair, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        values[i] = pair_value(300000 + i * 1000, i);
        transfer_stage(transfer, buffer_bytes(&values[i]), &ids[i], pair_done, &outcomes[i]);
    }
    while (done < COUNT) {
        assert_true(PAIR_UNTIL(&pair, outcomes[done].count, LONG_MS));
        done++;
    }
    for (unsigned i = 0; i < COUNT; i++) {
        struct bytes there;
        assert_int_equal(outcomes[i].count, 1);
        assert_int_equal(outcomes[i].status, STATUS_OK);
        assert_true(bulk_staged(pair.bulk, 0, ids[i], &there));
        assert_true(bytes_equal(there, buffer_bytes(&values[i])));
        buffer_free(&values[i]);
    }
    pair_close(&pair);
}

static void test_worker_before_store(void **state)
{
    struct outcome outcome = {0};
    struct pair pair;
    uint64_t id;
    (void)state;
    pair_prepare(&pair, NULL);
    struct transfer *transfer = pair_worker(&pair, 0);
    transfer_stage(transfer, bytes_of("a value"), &id, pair_done, &outcome);
    assert_false(PAIR_UNTIL(&pair, outcome.count, 500));
    pair_open_store(&pair);
    assert_true(PAIR_UNTIL(&pair, outcome.count, 2000));
    assert_int_equal(outcome.status, STATUS_OK);
    pair_close(&pair);
}

static void test_store_restarts_while_staging(void **state)
{
    struct buffer value = pair_value(3 << 20, 1);
    struct pair pair;
    (void)state;
    pair_open(&pair);
    struct transfer *transfer = pair_worker(&pair, 0);
    for (unsigned round = 0; round < 8; round++) {
        struct outcome outcome = {0};
        struct bytes there;
        uint64_t id;
        transfer_stage(transfer, buffer_bytes(&value), &id, pair_done, &outcome);
        for (unsigned i = 0; i < 2 * round; i++)
            pair_round(&pair);
        pair_quiet_store(&pair);
        pair_open_store(&pair);
        if (outcome.count == 0)
            assert_true(PAIR_UNTIL(&pair, outcome.count, LONG_MS));
        assert_int_equal(outcome.status, STATUS_OK);
        assert_int_equal(outcome.count, 1);
        assert_true(bulk_staged(pair.bulk, 0, id, &there));
        assert_true(bytes_equal(there, buffer_bytes(&value)));
    }
    buffer_free(&value);
    pair_close(&pair);
}

static void test_lost_answer_is_not_found(void **state)
{
    struct outcome outcome = {0};
    struct pair pair;
    (void)state;
    pair_open(&pair);
    transfer_fetch(pair_worker(&pair, 0), 0, 5000, pair_done, &outcome);
    assert_true(PAIR_UNTIL(&pair, outcome.count, LONG_MS));
    assert_int_equal(outcome.status, STATUS_NOT_FOUND);
    pair_close(&pair);
}

static void test_answer_of_another_length_is_an_error(void **state)
{
    struct outcome outcome = {0};
    struct pair pair;
    (void)state;
    pair_open(&pair);
    bulk_keep(pair.bulk, 0, 9, bytes_of("12345"));
    transfer_fetch(pair_worker(&pair, 0), 9, 4, pair_done, &outcome);
    assert_true(PAIR_UNTIL(&pair, outcome.count, LONG_MS));
    assert_int_equal(outcome.status, STATUS_INTERNAL);
    pair_close(&pair);
}

static void test_too_large_is_refused(void **state)
{
    struct outcome outcome = {0};
    struct buffer value = pair_value((64 << 20) + 1, 1);
    struct pair pair;
    uint64_t id;
    (void)state;
    pair_open(&pair);
    transfer_stage(pair_worker(&pair, 0), buffer_bytes(&value), &id, pair_done, &outcome);
    assert_true(PAIR_UNTIL(&pair, outcome.count, LONG_MS));
    assert_int_equal(outcome.status, STATUS_TOO_LARGE);
    buffer_free(&value);
    pair_close(&pair);
}

static void test_cancelled_jobs_are_not_done(void **state)
{
    struct outcome cancelled = {0}, outcome = {0};
    struct buffer value = pair_value(8 << 20, 1);
    struct pair pair;
    uint64_t id;
    (void)state;
    pair_open(&pair);
    struct transfer *transfer = pair_worker(&pair, 0);
    assert_true(PAIR_UNTIL(&pair, !transfer_busy(transfer), LONG_MS));
    for (unsigned rounds = 0; rounds < 10; rounds++) {
        struct transfer_job *stage, *fetch;
        bulk_keep(pair.bulk, 0, rounds, buffer_bytes(&value));
        stage = transfer_stage(transfer, buffer_bytes(&value), &id, pair_done, &cancelled);
        fetch = transfer_fetch(transfer, rounds, value.len, pair_done, &cancelled);
        for (unsigned i = 0; i < rounds; i++)
            pair_round(&pair);
        transfer_cancel(&stage);
        transfer_cancel(&fetch);
        transfer_drop(transfer, id);
    }
    transfer_stage(transfer, bytes_of("x"), &id, pair_done, &outcome);
    assert_true(PAIR_UNTIL(&pair, outcome.count, LONG_MS));
    assert_int_equal(cancelled.count, 0);
    transfer_drop(transfer, id);
    assert_true(PAIR_UNTIL(&pair, bulk_bytes(pair.bulk) == 0, LONG_MS));
    assert_true(PAIR_UNTIL(&pair, !transfer_busy(transfer), LONG_MS));
    buffer_free(&value);
    pair_close(&pair);
}

static void test_wrong_name_is_refused(void **state)
{
    struct outcome outcome = {0};
    struct pair pair;
    char reason[200];
    const char *why;
    uint64_t id;
    (void)state;
    pair_open(&pair);
    struct transfer *transfer =
        transfer_open(pair.url, "grpc-0", 0, pair.memories[0], reason, sizeof reason);
    pair.transfers[pair.transfer_count++] = transfer;
    transfer_stage(transfer, bytes_of("x"), &id, pair_done, &outcome);
    assert_true(PAIR_UNTIL(&pair, outcome.count, LONG_MS));
    assert_int_equal(outcome.status, STATUS_UNAVAILABLE);
    assert_false(transfer_accepted(transfer, &why));
    assert_string_equal(why, "channel 0 is for http-0, not for grpc-0");
    assert_int_equal(bulk_bytes(pair.bulk), 0);
    pair_close(&pair);
}

static void test_new_worker_forgets_its_predecessor(void **state)
{
    struct outcome outcome = {0};
    struct pair pair;
    uint64_t id, other;
    (void)state;
    pair_open(&pair);
    struct transfer *first = pair_worker(&pair, 0), *second = pair_worker(&pair, 1);
    transfer_stage(first, bytes_of("first"), &id, pair_done, &outcome);
    transfer_stage(second, bytes_of("second"), &other, pair_done, &outcome);
    assert_true(PAIR_UNTIL(&pair, outcome.count == 2, LONG_MS));
    transfer_close(&pair.transfers[0]);
    pair.transfers[0] = second;
    pair.transfer_count = 1;
    pair_worker(&pair, 0);
    assert_true(PAIR_UNTIL(&pair, bulk_bytes(pair.bulk) == strlen("second"), LONG_MS));
    pair_close(&pair);
}

/* A hello that was on its way when its connection was given up can arrive after the next one's. */
static void test_a_late_hello_is_overcome(void **state)
{
    struct outcome outcome = {0};
    struct pair pair;
    uint64_t id;
    (void)state;
    pair_open(&pair);
    struct transfer *transfer = pair_worker(&pair, 0), *late = pair_worker(&pair, 0);
    pair.transfer_count = 1;
    assert_true(PAIR_UNTIL(&pair, !transfer_busy(transfer), LONG_MS));
    pair.transfer_count = 2;
    assert_true(PAIR_UNTIL(&pair, !transfer_busy(late), LONG_MS));
    transfer_stage(transfer, bytes_of("x"), &id, pair_done, &outcome);
    assert_true(PAIR_UNTIL(&pair, outcome.count, LONG_MS));
    assert_int_equal(outcome.status, STATUS_OK);
    pair_close(&pair);
}

/* As a listener that nng has lost: it takes the connection and the header, and says no more. */
static int silent_store(const struct pair *pair)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", pair->url + strlen("ipc://"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 10), 0);
    return fd;
}

static void test_silence_is_reported_and_overcome(void **state)
{
    static const char header[] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};
    struct outcome outcome = {0};
    struct pair pair;
    int peers[16];
    unsigned count = 0;
    uint64_t id;
    (void)state;
    pair_prepare(&pair, NULL);
    int listener = silent_store(&pair);
    transfer_stage(pair_worker(&pair, 0), bytes_of("x"), &id, pair_done, &outcome);
    uint64_t until = clock_ms() + LONG_MS;
    while (atomic_load(&pair.memories[0]->link_trouble) < 2 && clock_ms() < until) {
        int peer = accept(listener, NULL, NULL);
        if (peer >= 0 && count < 16) {
            peers[count++] = peer;
            assert_int_equal(write(peer, header, sizeof header), sizeof header);
        }
        pair_round(&pair);
    }
    assert_true(atomic_load(&pair.memories[0]->link_trouble) >= 2);
    assert_true(count >= 2);
    assert_int_equal(outcome.count, 0);
    close(listener);
    pair_open_store(&pair); /* over the stale socket file */
    assert_true(PAIR_UNTIL(&pair, outcome.count, LONG_MS));
    assert_int_equal(outcome.status, STATUS_OK);
    while (count > 0)
        close(peers[--count]);
    pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_of_all_sizes),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_worker_before_store),
        cmocka_unit_test(test_store_restarts_while_staging),
        cmocka_unit_test(test_lost_answer_is_not_found),
        cmocka_unit_test(test_answer_of_another_length_is_an_error),
        cmocka_unit_test(test_too_large_is_refused),
        cmocka_unit_test(test_cancelled_jobs_are_not_done),
        cmocka_unit_test(test_wrong_name_is_refused),
        cmocka_unit_test(test_new_worker_forgets_its_predecessor),
        cmocka_unit_test(test_a_late_hello_is_overcome),
        cmocka_unit_test(test_silence_is_reported_and_overcome),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
