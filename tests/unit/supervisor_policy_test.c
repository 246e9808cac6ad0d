/* When a process is started again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/run/run.h"
#include "supervisor/policy.h"

/* With 0 for chance the delay is the longest one. */
static void crashes_restart_fast(void **state)
{
    (void)state;
    static const uint64_t wanted[] = {0, 10, 20, 40, 80, 160, 250, 250, 250};
    struct policy policy = {0};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        assert_int_equal(policy_restart(&policy, true, 1999, 0), wanted[i]);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(policy_restart(&policy, true, 0, 0), 250);
}

static void failed_starts_back_off(void **state)
{
    (void)state;
    static const uint64_t wanted[] = {100,  200,   400,   800,   1600, 3200,
                                      6400, 12800, 25600, 30000, 30000};
    struct policy policy = {0};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        assert_int_equal(policy_restart(&policy, false, 0, 0), wanted[i]);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(policy_restart(&policy, false, 0, 0), 30000);
}

static void a_long_run_forgets(void **state)
{
    (void)state;
    struct policy policy = {0};
    for (int i = 0; i < 5; i++) {
        (void)policy_restart(&policy, true, 10, 0);
        (void)policy_restart(&policy, false, 0, 0);
    }
    assert_int_equal(policy_restart(&policy, true, 2000, 0), 0);
    assert_int_equal(policy_restart(&policy, true, 10, 0), 10);
    assert_int_equal(policy_restart(&policy, false, 0, 0), 100);
}

static void chance_spreads(void **state)
{
    (void)state;
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t random = 0; random < 1000; random++) {
        struct policy policy = {.start_failures = 3};
        uint64_t delay = policy_restart(&policy, false, 0, random * 2654435761u);
        least = delay < least ? delay : least;
        most = delay > most ? delay : most;
    }
    assert_in_range(least, 400, 420);
    assert_in_range(most, 780, 800);
}

static void gives_up(void **state)
{
    (void)state;
    assert_false(policy_gives_up(1, RUN_EXIT_FAILURE));
    assert_false(policy_gives_up(2, -1));
    assert_true(policy_gives_up(3, -1));
    assert_true(policy_gives_up(1, RUN_EXIT_CONFIG));
}

static void silence(void **state)
{
    (void)state;
    assert_int_equal(policy_stuck_at(true, 1000), 31000);
    assert_int_equal(policy_stuck_at(false, 1000), 61000);
}

static void a_rate_lets_through_a_burst_and_then_so_much_a_second(void **state)
{
    (void)state;
    struct policy_rate rate = {0};
    for (int i = 0; i < 10; i++)
        assert_true(policy_allows(&rate, 10, 50, 100, 500000));
    assert_false(policy_allows(&rate, 10, 50, 100, 500000));
    assert_false(policy_allows(&rate, 10, 50, 100, 500001));
    assert_int_equal(rate.dropped, 2);
    unsigned through = 0;
    for (uint64_t now = 500000; now < 510000; now++)
        through += policy_allows(&rate, 10, 50, 100, now);
    assert_in_range(through, 48, 50);
    assert_true(policy_allows(&rate, 100, 50, 100, UINT64_MAX / 2)); /* long after */
    assert_false(policy_allows(&rate, 1, 50, 100, UINT64_MAX / 2));
    assert_false(policy_allows(&rate, 101, 50, 100, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crashes_restart_fast),
        cmocka_unit_test(failed_starts_back_off),
        cmocka_unit_test(a_long_run_forgets),
        cmocka_unit_test(chance_spreads),
        cmocka_unit_test(gives_up),
        cmocka_unit_test(silence),
        cmocka_unit_test(a_rate_lets_through_a_burst_and_then_so_much_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
