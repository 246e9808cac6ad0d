/*
 * Tests of proto/api/pool.c: pieces are aligned, do not overlap, and are all released.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/api/pool.h"

static struct api_pool pool;

static void pieces(void **state)
{
    (void)state;
    enum { PIECES = 200 };
    uint8_t *piece[PIECES];
    api_pool_open(&pool);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < PIECES; i++) {
            piece[i] = api_pool_alloc(&pool, i);
            assert_non_null(piece[i]);
            assert_int_equal((uintptr_t)piece[i] % _Alignof(max_align_t), 0);
            memset(piece[i], (int)i, i);
        }
        for (size_t i = 0; i < PIECES; i++)
            for (size_t k = 0; k < i; k++)
                assert_int_equal(piece[i][k], i);
        api_pool_reset(&pool);
    }
}

static void room_is_used_first_and_to_its_end(void **state)
{
    (void)state;
    api_pool_open(&pool);
    assert_ptr_equal(api_pool_alloc(&pool, API_POOL_ROOM), pool.room);
    assert_null(pool.chunks);
    assert_non_null(api_pool_alloc(&pool, 1));
    assert_non_null(pool.chunks);
    api_pool_reset(&pool);
    assert_null(pool.chunks);
    assert_ptr_equal(api_pool_alloc(&pool, API_POOL_ROOM - 1), pool.room);
    assert_non_null(api_pool_alloc(&pool, 0));
    api_pool_reset(&pool);
}

/* A large piece does not end the use of what is left. */
static void small_ones_share_chunks(void **state)
{
    (void)state;
    api_pool_open(&pool);
    assert_non_null(api_pool_alloc(&pool, API_POOL_ROOM));
    uint8_t *first = api_pool_alloc(&pool, 16);
    memset(api_pool_alloc(&pool, API_POOL_CHUNK), 3, API_POOL_CHUNK);
    for (size_t i = 1; i < API_POOL_CHUNK / 16; i++)
        assert_ptr_equal(api_pool_alloc(&pool, 16), first + 16 * i);
    assert_ptr_not_equal(api_pool_alloc(&pool, 16), first + API_POOL_CHUNK);
    api_pool_reset(&pool);
}

static void large(void **state)
{
    (void)state;
    api_pool_open(&pool);
    memset(api_pool_alloc(&pool, 10 << 20), 1, 10 << 20);
    memset(api_pool_alloc(&pool, API_POOL_ROOM + 1), 2, API_POOL_ROOM + 1);
    api_pool_reset(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces),
        cmocka_unit_test(room_is_used_first_and_to_its_end),
        cmocka_unit_test(small_ones_share_chunks),
        cmocka_unit_test(large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
