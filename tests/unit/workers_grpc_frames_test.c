/*
 * Tests of workers/grpc/frames.c and block.c: what is counted for a client's calls, which of them
 * are ended, and which clients are cut off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "workers/grpc/frames.h"

enum { DATA, HEADERS, RST_STREAM = 3, SETTINGS, PING = 6, WINDOW_UPDATE = 8, CONTINUATION };
enum { END_STREAM = 1, END_HEADERS = 4, MAX = 1000, SECOND = 1000000000 };

static struct rpc_frames frames;
static uint64_t now_ns;

static void take(const void *data, size_t len)
{
    rpc_frames_take(&frames, data, len, now_ns);
}

static void send(uint8_t kind, uint8_t flags, uint32_t stream, const void *payload, size_t len)
{
    uint8_t head[RPC_FRAME_HEAD] = {
        (uint8_t)(len >> 16),   (uint8_t)(len >> 8), (uint8_t)len, kind, flags, 0, 0,
        (uint8_t)(stream >> 8), (uint8_t)stream};
    take(head, sizeof head);
    take(payload, len);
}

static void open_call(uint32_t stream)
{
    send(HEADERS, END_HEADERS, stream, "\x83\x86\x44\x02/x", 6);
}

static int start(void **state)
{
    (void)state;
    now_ns = SECOND;
    rpc_frames_close(&frames); /* of the round before */
    rpc_frames_open(&frames, MAX, now_ns);
    take("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rpc_frames_close(&frames);
    return 0;
}

static void expect_end(uint32_t stream, enum rpc_ending why)
{
    uint8_t out[2 * RPC_FRAME_HEAD];
    const uint8_t frame[] = {
        0, 0, 0, DATA, END_STREAM, 0, 0, (uint8_t)(stream >> 8), (uint8_t)stream};
    unsigned ended = frames.ended[why];
    assert_int_equal(rpc_frames_rest(&frames), 0);
    assert_int_equal(rpc_frames_end(&frames, out, sizeof out), RPC_FRAME_HEAD);
    assert_memory_equal(out, frame, sizeof frame);
    assert_int_equal(frames.ended[why], ended + 1);
}

/* Whether these bytes, again and again, have the client cut off; how often it took. */
static unsigned rounds(unsigned most, uint64_t pause_ns, void (*round)(unsigned number))
{
    for (unsigned i = 0; i < most; i++) {
        round(i);
        now_ns += pause_ns;
        if (frames.fault)
            return i;
    }
    return most;
}

static void what_waits_is_counted(void **state)
{
    (void)state;
    open_call(1);
    assert_int_equal(frames.held, RPC_CALL_BYTES + 6 + 3 * RPC_FIELD_BYTES);
    send(DATA, 0, 1, "\0\0\0\0\5hel", 8);
    assert_int_equal(frames.count, 1);
    send(DATA, 0, 1, "lo", 2); /* whole, though the stream goes on */
    assert_int_equal(frames.count, 0);
    open_call(3);
    send(DATA, END_STREAM, 3, "\0\0\0", 3);
    open_call(5);
    send(RST_STREAM, 0, 5, "\0\0\0\x08", 4);
    send(HEADERS, END_HEADERS | END_STREAM, 7, "\x83", 1);
    assert_int_equal(frames.count, 0);
    assert_int_equal(frames.held, 0);
    assert_null(frames.fault);
}

static void a_message_that_is_too_long(void **state)
{
    (void)state;
    open_call(1);
    open_call(3);
    send(DATA, 0, 1, "\0\0\0\3", 4);
    send(DATA, 0, 1, "\xe8", 1); /* 1000 */
    assert_int_equal(frames.endings, 0);
    send(DATA, 0, 3, "\0\0\0\3\xe9", 5);
    assert_int_equal(frames.endings, 1);
    expect_end(3, RPC_ENDING_LONG);
    assert_int_equal(frames.count, 1);
    send(DATA, 0, 3, "xxx", 3); /* what its client had sent already */
    assert_int_equal(frames.count, 1);
}

static void frames_of_ours_only_between_those_of_the_client(void **state)
{
    (void)state;
    open_call(1);
    send(DATA, 0, 1, "\0\x7f\0\0\0", 5);
    assert_int_equal(rpc_frames_rest(&frames), 0);
    take("\0\0", 2);
    assert_int_equal(rpc_frames_rest(&frames), 7);
    take("\3\1\0\0\0\0\3", 7);
    assert_int_equal(rpc_frames_rest(&frames), 3);
    take("\x83\x86\x84", 3);
    assert_true(rpc_frames_rest(&frames) > 0); /* the block goes on */
    send(CONTINUATION, END_HEADERS, 3, "", 0);
    expect_end(1, RPC_ENDING_LONG);
}

static void a_message_that_does_not_come(void **state)
{
    (void)state;
    open_call(1);
    open_call(3);
    for (int i = 0; i < 40; i++) { /* slow, but it goes on */
        now_ns += SECOND;
        send(DATA, 0, 3, "\0\0\0\0", i == 0 ? 4 : 0);
    }
    assert_int_equal(frames.endings, 0); /* headers are counted as bytes, too */
    now_ns += 10ull * SECOND;
    send(WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4);
    assert_int_equal(frames.endings, 2);
    uint8_t out[2 * RPC_FRAME_HEAD];
    assert_int_equal(rpc_frames_end(&frames, out, sizeof out), sizeof out);
    assert_int_equal(frames.ended[RPC_ENDING_LATE], 2);
    assert_int_equal(frames.held, 0);
}

static void memory_is_scarce(void **state)
{
    (void)state;
    open_call(1);
    frames.share = 2 * RPC_CALL_BYTES;
    open_call(3); /* over its share, now that memory is scarce */
    assert_int_equal(frames.endings, 1);
    expect_end(3, RPC_ENDING_FULL);
    open_call(5);
    expect_end(5, RPC_ENDING_FULL);
    assert_null(frames.fault);
}

static void a_long_string_is_known_by_its_length(void **state)
{
    (void)state;
    send(HEADERS, 0, 1, "\x10\1x\x7f\x81\xff\xff\xff\3", 9);
    assert_non_null(frames.fault);
}

static void next_field(unsigned number)
{
    static uint8_t field[4006] = "\x10\1x\x7f\xa1\x1e"; /* a string of 4000 bytes */
    (void)number;
    send(CONTINUATION, 0, 1, field, sizeof field);
}

static void small_part(unsigned number)
{
    (void)number;
    send(CONTINUATION, 0, 1, "\x83", 1);
}

static void a_block_is_bounded(void **state)
{
    (void)state;
    send(HEADERS, 0, 1, "\x83", 1);
    assert_in_range(rounds(15000, SECOND / 10, next_field), 200, 262);
    start(NULL);
    send(HEADERS, 0, 1, "\x83", 1);
    assert_in_range(rounds(15000, SECOND / 10, small_part), 10, 20);
    start(NULL);
    uint8_t indexed[RPC_BLOCK_FIELDS + 1];
    memset(indexed, 0xbe, sizeof indexed);
    send(HEADERS, 0, 1, indexed, sizeof indexed - 1);
    assert_null(frames.fault);
    send(CONTINUATION, 0, 1, indexed, 1);
    assert_non_null(frames.fault);
}

static void ping(unsigned number)
{
    (void)number;
    send(PING, 0, 0, "12345678", 8);
}

static void rapid_reset(unsigned number)
{
    open_call(2 * number + 1);
    send(RST_STREAM, 0, 2 * number + 1, "\0\0\0\x08", 4);
}

static void whole_call(unsigned number)
{
    open_call(2 * number + 1);
    send(DATA, END_STREAM, 2 * number + 1, "\0\0\0\0\0", 5);
}

/* One of two that ask the same is given up. */
static void hedged_call(unsigned number)
{
    whole_call(2 * number);
    whole_call(2 * number + 1);
    send(RST_STREAM, 0, 4 * number + 1, "\0\0\0\x08", 4);
}

static void piece_of_1400(unsigned number)
{
    static const uint8_t data[1391];
    if (number % 700 == 0)
        open_call(2 * number + 1);
    send(DATA, 0, 2 * (number / 700 * 700) + 1, data, sizeof data);
}

static void floods(void **state)
{
    (void)state;
    assert_true(rounds(10000, 0, ping) < 1000);
    start(NULL);
    assert_true(rounds(30000, 10000, rapid_reset) < 3000);
}

static void what_is_no_flood(void **state)
{
    (void)state;
    assert_int_equal(rounds(10000, 0, whole_call), 10000);
    start(NULL);
    assert_int_equal(rounds(10000, 0, hedged_call), 10000);
    start(NULL);
    assert_int_equal(rounds(1000, SECOND / 100, ping), 1000);
    start(NULL);
    frames.message_max = 1 << 20;
    assert_int_equal(rounds(10000, 0, piece_of_1400), 10000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(what_waits_is_counted),
        TEST(a_message_that_is_too_long),
        TEST(frames_of_ours_only_between_those_of_the_client),
        TEST(a_message_that_does_not_come),
        TEST(memory_is_scarce),
        TEST(a_long_string_is_known_by_its_length),
        TEST(a_block_is_bounded),
        TEST(floods),
        TEST(what_is_no_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
