/*
 * Tests of workers/grpc/turn.c: how much is read of one connection in one round.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "workers/grpc/turn.h"

static struct rpc_turn turn;
static uint64_t round_number, now_ns;

static uint64_t clock_now(void)
{
    return now_ns;
}

static int start(void **state)
{
    (void)state;
    now_ns = 1000000000;
    round_number = 1;
    rpc_turn_open(&turn);
    return 0;
}

/* Bytes that one round reads of a connection that has no end, in which each byte costs so much. */
static size_t read_round(uint64_t byte_ns)
{
    size_t bytes = 0;
    while (rpc_turn_goes_on(&turn, round_number, clock_now)) {
        size_t room = turn.room;
        bytes += room;
        rpc_turn_spend(&turn, room, room * byte_ns, now_ns);
    }
    round_number++;
    return bytes;
}

static void a_turn_costs_about_its_time(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        uint64_t cost_ns = read_round(200) * 200;
        assert_true(cost_ns >= RPC_TURN_NS / 2);
        assert_true(cost_ns <= RPC_TURN_NS * 3 / 2);
    }
}

static void the_first_read_is_small_whatever_comes(void **state)
{
    (void)state;
    assert_true(read_round(10000) <= RPC_ROOM_FIRST);
}

static void what_costs_little_is_soon_read_at_once(void **state)
{
    (void)state;
    size_t bytes = 0;
    unsigned reads = 0;
    for (; bytes < 1000000; reads++) {
        if (!rpc_turn_goes_on(&turn, round_number, clock_now)) {
            round_number++;
            continue;
        }
        bytes += turn.room;
        rpc_turn_spend(&turn, turn.room, turn.room / 4, now_ns);
    }
    assert_int_equal(turn.room, RPC_ROOM_MAX);
    assert_true(reads < 1000000 / RPC_ROOM_MAX + 12);
}

static void cheap_bytes_do_not_make_room_for_dear_ones_at_once(void **state)
{
    (void)state;
    assert_true(read_round(1) > 10000);
    read_round(1000);
    assert_true(read_round(1000) <= RPC_TURN_NS * 3 / 2 / 1000);
}

static void what_an_answer_cost_is_taken_from_the_next_turns(void **state)
{
    (void)state;
    read_round(1);
    rpc_turn_owe(&turn, 10 * RPC_TURN_NS);
    unsigned skipped = 0;
    while (read_round(1) == 0)
        skipped++;
    assert_in_range(skipped, 9, 11);
}

static void a_debt_is_forgotten_with_time(void **state)
{
    (void)state;
    read_round(1);
    rpc_turn_owe(&turn, 10 * RPC_TURN_NS);
    now_ns += 11 * RPC_TURN_NS;
    assert_true(read_round(1) > 0);
}

static void time_that_was_not_used_is_not_saved(void **state)
{
    (void)state;
    round_number += 100;
    now_ns += 1000000000;
    assert_true(read_round(200) * 200 <= RPC_TURN_NS * 3 / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_turn_costs_about_its_time, start),
        cmocka_unit_test_setup(the_first_read_is_small_whatever_comes, start),
        cmocka_unit_test_setup(what_costs_little_is_soon_read_at_once, start),
        cmocka_unit_test_setup(cheap_bytes_do_not_make_room_for_dear_ones_at_once, start),
        cmocka_unit_test_setup(what_an_answer_cost_is_taken_from_the_next_turns, start),
        cmocka_unit_test_setup(a_debt_is_forgotten_with_time, start),
        cmocka_unit_test_setup(time_that_was_not_used_is_not_saved, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
