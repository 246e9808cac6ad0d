/* Slots as CLUSTER KEYSLOT of Redis 7.0 gives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/redis/slot.h"

static void agrees_with_redis(void **state)
{
    static const struct {
        const char *key;
        unsigned slot;
    } rows[] = {
        {"a", 15495},
        {"123456789", 12739},
        {"foo", 12182},
        {"kv:a", 15292},
        {"counter:hits", 10114},
        {"{user1000}.following", 3443},
        {"{user1000}.followers", 3443},
        {"foo{}{bar}", 8363},
        {"foo{{bar}}zap", 4015},
        {"foo{bar}{zap}", 5061},
        {"{}", 15257},
        {"{", 4092},
        {"}", 12090},
        {"}{", 12793},
        {"{}a{b}", 16175},
        {"a{b", 13340},
        {"{a}", 15495},
        {"set:{x}y", 16287},
        {"é", 10180},
        {"a b", 9817},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(redis_slot(bytes_of(rows[i].key)), rows[i].slot);
}

static void any_bytes_have_a_slot(void **state)
{
    uint8_t key[64];
    (void)state;
    assert_int_equal(redis_slot((struct bytes){0}), 0);
    for (unsigned i = 0; i < 100000; i++) {
        for (size_t at = 0; at < sizeof key; at++)
            key[at] = "{}ab\0"[(i * 2654435761u + at * 40503u) >> 13 & 3];
        assert_true(redis_slot((struct bytes){key, i % (sizeof key + 1)}) < REDIS_SLOTS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_redis),
        cmocka_unit_test(any_bytes_have_a_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
