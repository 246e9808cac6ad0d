/* link: 10,000 connections that break off in every way at the store's socket, while a worker talks
 * on, another connects, and after which nothing is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/link_pair.h"

enum { CYCLES = 10000, LONG_MS = 15000, VALUE = 100000 };

/* What a visitor says before it goes. */
static const struct visit {
    const char *what;
    const char *bytes;
    size_t len;
} visits[] = {
#define VISIT(what, text)                                                                          \
    {                                                                                              \
        what, text, sizeof(text) - 1                                                               \
    }
#define HEADER "\0SP\0\0\x30\0\0"
    VISIT("nothing", ""),
    VISIT("part of the header", "\0SP"),
    VISIT("another header", "GET / HTTP/1.1\r\n\r\n"),
    VISIT("the header", HEADER),
    VISIT("the header of another store", "\0SP\0\0\x31\0\0"),
    VISIT("part of a length", HEADER "\1\0\0"),
    VISIT("an unknown message type", HEADER "\7\0\0\0\0\0\0\0\4\x80\0\0\1"),
    VISIT("a giant length", HEADER "\1\x7f\xff\xff\xff\xff\xff\xff\xff"),
    VISIT("a length over the limit", HEADER "\1\0\0\0\0\0\1\0\0"),
    VISIT("half a message", HEADER "\1\0\0\0\0\0\0\x20\0\x80\0\0\1abcdef"),
    VISIT("an empty message", HEADER "\1\0\0\0\0\0\0\0\0"),
    VISIT("a message without an id", HEADER "\1\0\0\0\0\0\0\0\2ab"),
    VISIT("ids without an end", HEADER "\1\0\0\0\0\0\0\0\x10\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4"),
    VISIT("an empty request", HEADER "\1\0\0\0\0\0\0\0\4\x80\0\0\1"),
    VISIT("a message of garbage", HEADER "\1\0\0\0\0\0\0\0\x0a\x80\0\0\1\xff\xff\xff\xff\xff\xff"),
    VISIT("a hello without anything", HEADER "\1\0\0\0\0\0\0\0\6\x80\0\0\1\x12\0"),
};

static void visit(const struct pair *pair, const struct visit *visit)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", pair->url + strlen("ipc://"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    if (send(fd, visit->bytes, visit->len, MSG_NOSIGNAL) < 0)
        assert_true(errno == EPIPE || errno == ECONNRESET);
    close(fd);
}

/* Keeps a value on its way to the store; counts those that arrived. */
struct talker {
    struct transfer *transfer;
    struct buffer value;
    uint64_t bulk_id;
    unsigned arrived;
    bool enough;
};

static void talk_on(void *context, enum status status, struct bytes data)
{
    struct talker *talker = context;
    (void)data;
    assert_int_equal(status, STATUS_OK);
    talker->arrived++;
    transfer_drop(talker->transfer, talker->bulk_id);
    if (talker->enough)
        return;
    transfer_stage(talker->transfer, buffer_bytes(&talker->value), &talker->bulk_id, talk_on,
                   talker);
}

static void test_storm(void **state)
{
    struct talker talker = {.value = pair_value(VALUE, 1)};
    struct outcome late = {0};
    struct pair pair;
    uint64_t id;
    (void)state;
    pair_open(&pair);
    talker.transfer = pair_worker(&pair, 0);
    transfer_stage(talker.transfer, buffer_bytes(&talker.value), &talker.bulk_id, talk_on, &talker);
    assert_true(PAIR_UNTIL(&pair, talker.arrived, LONG_MS));
    unsigned fds = pair_fd_count(), before = talker.arrived;

    for (unsigned i = 0; i < CYCLES; i++) {
        visit(&pair, &visits[i % (sizeof visits / sizeof visits[0])]);
        if (i % 16 == 0)
            pair_round(&pair);
        if (i == CYCLES / 2)
            transfer_stage(pair_worker(&pair, 1), buffer_bytes(&talker.value), &id, pair_done,
                           &late);
    }
    assert_true(talker.arrived > before + 10);
    before = talker.arrived;
    assert_true(PAIR_UNTIL(&pair, talker.arrived > before + 10, LONG_MS));

    /* Who came in the middle of it got through, and so does who comes now. */
    assert_true(PAIR_UNTIL(&pair, late.count, LONG_MS));
    assert_int_equal(late.status, STATUS_OK);
    late.count = 0;
    transfer_stage(pair_worker(&pair, 2), buffer_bytes(&talker.value), &id, pair_done, &late);
    assert_true(PAIR_UNTIL(&pair, late.count, 5000));
    assert_int_equal(late.status, STATUS_OK);

    /* Six for each new worker: a socket at each end, and the polled ones. */
    assert_true(PAIR_UNTIL(&pair, pair_fd_count() <= fds + 2 * 6, LONG_MS));
    print_message("%u values arrived, %u descriptors before and %u after\n", talker.arrived, fds,
                  pair_fd_count());
    talker.enough = true;
    assert_true(PAIR_UNTIL(&pair, !transfer_busy(talker.transfer), LONG_MS));
    pair_close(&pair);
    buffer_free(&talker.value);
}

/* The same while each visitor stays until the next has come, so that all of it is seen. */
static void test_slow_visitors(void **state)
{
    struct outcome outcome = {0};
    struct pair pair;
    uint64_t id;
    (void)state;
    pair_open(&pair);
    struct transfer *transfer = pair_worker(&pair, 0);
    assert_true(PAIR_UNTIL(&pair, !transfer_busy(transfer), LONG_MS));
    for (size_t i = 0; i < sizeof visits / sizeof visits[0]; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof address.sun_path, "%.100s", pair.url + strlen("ipc://"));
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(send(fd, visits[i].bytes, visits[i].len, MSG_NOSIGNAL), visits[i].len);
        pair_run(&pair, 50);
        close(fd);
        outcome.count = 0;
        transfer_stage(transfer, bytes_of("still here"), &id, pair_done, &outcome);
        assert_true(PAIR_UNTIL(&pair, outcome.count, LONG_MS));
        assert_int_equal(outcome.status, STATUS_OK);
    }
    outcome.count = 0;
    transfer_stage(pair_worker(&pair, 1), bytes_of("new here"), &id, pair_done, &outcome);
    assert_true(PAIR_UNTIL(&pair, outcome.count, 5000));
    assert_int_equal(outcome.status, STATUS_OK);
    pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_storm),
        cmocka_unit_test(test_slow_visitors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
