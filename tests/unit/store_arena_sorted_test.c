/* The order of keys against a plain sorted array: keys of many shapes, in any order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "store/arena/sorted.h"

enum { KEYS = 20000, KEY_ROOM = 24 };

struct keys {
    uint8_t (*data)[KEY_ROOM];
    uint16_t *len;
    unsigned count;
};

static struct bytes key_of(const void *context, uint64_t ref)
{
    const struct keys *keys = context;
    return (struct bytes){keys->data[ref], keys->len[ref]};
}

static struct keys make_keys(unsigned count)
{
    return (struct keys){calloc(count, KEY_ROOM), calloc(count, sizeof(uint16_t)), count};
}

static void free_keys(struct keys *keys)
{
    free(keys->data);
    free(keys->len);
}

static int order(struct bytes a, struct bytes b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int found = memcmp(a.data, b.data, len);
    return found ? found : (a.len > b.len) - (a.len < b.len);
}

static const struct keys *sorting;
static int order_refs(const void *a, const void *b)
{
    return order(key_of(sorting, *(const uint64_t *)a), key_of(sorting, *(const uint64_t *)b));
}

/* ---- Shapes of keys: each gives different keys for different numbers ---- */

static void number_key(unsigned i, struct keys *keys)
{
    keys->len[i] = (uint16_t)sprintf((char *)keys->data[i], "user:%08u", i);
}

static void plain_number_key(unsigned i, struct keys *keys)
{
    keys->len[i] = (uint16_t)sprintf((char *)keys->data[i], "%u", i);
}

/* Zeros at the end make heads equal and keys differ in length alone. */
static void zero_key(unsigned i, struct keys *keys)
{
    int len = sprintf((char *)keys->data[i], "%u", i / 12);
    memset(keys->data[i] + len, 0, i % 12);
    keys->len[i] = (uint16_t)((unsigned)len + i % 12);
}

static void mixed_key(unsigned i, struct keys *keys)
{
    static const char *const fronts[] = {"a", "a/long/front/", "", "\xff\xff\xff"};
    keys->len[i] =
        (uint16_t)sprintf((char *)keys->data[i], "%s%x", fronts[i % 4], (i / 4) * 2654435761U);
    if (i % 7 == 0)
        keys->data[i][keys->len[i]++] = 0;
}

/* ---- The model ---- */

static void check(const struct sorted *sorted, const struct keys *keys, const bool *present)
{
    uint64_t *wanted = calloc(keys->count, sizeof *wanted), ref;
    unsigned count = 0;
    struct sorted_cursor cursor;
    for (unsigned i = 0; i < keys->count; i++)
        if (present[i])
            wanted[count++] = i;
    sorting = keys;
    qsort(wanted, count, sizeof *wanted, order_refs);
    assert_int_equal(sorted_count(sorted), count);

    sorted_seek(sorted, (struct bytes){0}, &cursor);
    for (unsigned i = 0; i < count; i++) {
        assert_true(sorted_next(&cursor, &ref));
        assert_int_equal(ref, wanted[i]);
    }
    assert_false(sorted_next(&cursor, &ref));
    sorted_seek_end(sorted, &cursor);
    for (unsigned i = count; i-- > 0;) {
        assert_true(sorted_prev(&cursor, &ref));
        assert_int_equal(ref, wanted[i]);
    }
    assert_false(sorted_prev(&cursor, &ref));

    /* From keys that are there and keys that are not. */
    unsigned above = 0;
    uint64_t *all = calloc(keys->count, sizeof *all);
    for (unsigned i = 0; i < keys->count; i++)
        all[i] = i;
    qsort(all, keys->count, sizeof *all, order_refs);
    for (unsigned i = 0; i < keys->count; i++) {
        sorted_seek(sorted, key_of(keys, all[i]), &cursor);
        struct sorted_cursor back = cursor;
        assert_int_equal(sorted_next(&cursor, &ref), above < count);
        if (above < count)
            assert_int_equal(ref, wanted[above]);
        assert_int_equal(sorted_prev(&back, &ref), above > 0);
        if (above > 0)
            assert_int_equal(ref, wanted[above - 1]);
        above += present[all[i]];
    }
    free(all);
    free(wanted);
}

static void change_at_random(struct sorted *sorted, const struct keys *keys, bool *present,
                             unsigned changes, unsigned insert_percent)
{
    for (unsigned n = 0; n < changes; n++) {
        unsigned i = (unsigned)rand() % keys->count;
        bool insert = (unsigned)rand() % 100 < insert_percent;
        if (insert && !present[i])
            sorted_insert(sorted, key_of(keys, i), i);
        if (!insert)
            assert_int_equal(sorted_remove(sorted, key_of(keys, i)), present[i]);
        present[i] = insert;
    }
}

static void try_shape(void (*shape)(unsigned i, struct keys *keys))
{
    struct keys keys = make_keys(KEYS);
    bool *present = calloc(KEYS, sizeof *present);
    struct sorted *sorted = sorted_open(key_of, &keys);
    for (unsigned i = 0; i < KEYS; i++)
        shape(i, &keys);
    static const unsigned percents[] = {90, 50, 10, 60, 2};
    for (unsigned round = 0; round < sizeof percents / sizeof *percents; round++) {
        change_at_random(sorted, &keys, present, 3 * KEYS, percents[round]);
        check(sorted, &keys, present);
    }
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(sorted_remove(sorted, key_of(&keys, i)), present[i]);
    assert_int_equal(sorted_count(sorted), 0);
    assert_in_range(sorted_bytes(sorted), 0, 4096);
    sorted_close(&sorted);
    free(present);
    free_keys(&keys);
}

static void test_numbers(void **state)
{
    (void)state;
    try_shape(number_key);
}

static void test_plain_numbers(void **state)
{
    (void)state;
    try_shape(plain_number_key);
}

static void test_zeros(void **state)
{
    (void)state;
    try_shape(zero_key);
}

static void test_mixed(void **state)
{
    (void)state;
    try_shape(mixed_key);
}

/* In order, backwards, and at random: at most 32 bytes a key, also after most of them are gone. */
static void fill(struct sorted *sorted, const struct keys *keys, int kind)
{
    for (unsigned n = 0; n < keys->count; n++) {
        unsigned i = kind == 0 ? n : kind == 1 ? keys->count - 1 - n : n * 7919U % keys->count;
        sorted_insert(sorted, key_of(keys, i), i);
    }
}

static void test_memory(void **state)
{
    (void)state;
    struct keys keys = make_keys(KEYS * 5);
    for (unsigned i = 0; i < keys.count; i++)
        number_key(i, &keys);
    for (int kind = 0; kind < 3; kind++) {
        struct sorted *sorted = sorted_open(key_of, &keys);
        fill(sorted, &keys, kind);
        assert_int_equal(sorted_count(sorted), keys.count);
        assert_in_range(sorted_bytes(sorted) / keys.count, 16, 32);
        for (unsigned i = 0; i < keys.count; i++)
            if (i % 10 != 0)
                assert_true(sorted_remove(sorted, key_of(&keys, i)));
        assert_in_range(sorted_bytes(sorted) / sorted_count(sorted), 16, 80);
        sorted_close(&sorted);
    }
    free_keys(&keys);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* STRATO_BENCH=1: the cost of an insert, a million keys in no order. Only printed. */
static void test_speed(void **state)
{
    (void)state;
    if (!getenv("STRATO_BENCH"))
        skip();
    struct keys keys = make_keys(1000000);
    for (unsigned i = 0; i < keys.count; i++)
        number_key(i, &keys);
    for (int kind = 0; kind < 3; kind++) {
        struct sorted *sorted = sorted_open(key_of, &keys);
        double start = seconds();
        fill(sorted, &keys, kind);
        double inserted = seconds();
        uint64_t ref, sum = 0;
        struct sorted_cursor cursor;
        sorted_seek(sorted, (struct bytes){0}, &cursor);
        while (sorted_next(&cursor, &ref))
            sum += ref;
        double walked = seconds();
        printf("kind %d: %.3f us an insert, %.1f bytes a key, %.3f us a step (%llu)\n", kind,
               (inserted - start) / keys.count * 1e6, (double)sorted_bytes(sorted) / keys.count,
               (walked - inserted) / keys.count * 1e6, (unsigned long long)sum);
        sorted_close(&sorted);
    }
    free_keys(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_plain_numbers),
        cmocka_unit_test(test_zeros),   cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_memory),  cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
