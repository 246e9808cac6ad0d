/* The arena's writer against a model: changes, expiry, eviction, room, reopening. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/arena/reader.h"
#include "tests/unit/arena_memory.h"

enum { KEYS = 2000, ROUNDS = 60000 };
static const uint64_t NOW = 1700000000000;

struct model {
    bool present;
    uint32_t version;
    uint32_t len;
    uint64_t revision;
};
static struct model model[KEYS];
static uint8_t value_space[200000];

static struct bytes key_of(unsigned i, char *text)
{
    return (struct bytes){(uint8_t *)text, (size_t)sprintf(text, "key-%u", i)};
}

static struct bytes value_of(unsigned i, const struct model *m)
{
    memset(value_space, (int)(i * 31 + m->version), m->len);
    return (struct bytes){value_space, m->len};
}

static uint32_t random_len(void)
{
    switch (rand() % 20) {
    case 0:
        return (uint32_t)rand() % 150000;
    case 1:
        return (uint32_t)rand() % 20000;
    default:
        return (uint32_t)rand() % 300;
    }
}

static void check_all(struct arena_writer *writer, const struct arena_memory *memory)
{
    struct arena_reader reader;
    struct buffer scratch = {0};
    char text[32];
    assert_true(arena_reader_attach(&reader, memory->base, memory->size));
    for (unsigned i = 0; i < KEYS; i++) {
        struct arena_entry entry;
        struct arena_found found;
        struct bytes key = key_of(i, text);
        enum status want = model[i].present ? STATUS_OK : STATUS_NOT_FOUND;
        assert_int_equal(arena_get(writer, SERVICE_KV, key, NOW, &entry), want);
        assert_int_equal(arena_read(&reader, SERVICE_KV, key, NOW, &scratch, &found), want);
        if (want != STATUS_OK)
            continue;
        struct bytes value = value_of(i, &model[i]);
        assert_true(bytes_equal(entry.value, value));
        assert_true(bytes_equal(found.value, value));
        assert_int_equal(found.revision, model[i].revision);
    }
    buffer_free(&scratch);
}

static void change_one(struct arena_writer *writer, uint64_t *last_revision)
{
    char text[32];
    unsigned i = (unsigned)rand() % KEYS;
    struct bytes key = key_of(i, text);
    if (rand() % 3 == 0) {
        enum status want = model[i].present ? STATUS_OK : STATUS_NOT_FOUND;
        assert_int_equal(arena_delete(writer, SERVICE_KV, key, MINE, NOW), want);
        model[i].present = false;
        return;
    }
    struct model next = {.present = true, .version = model[i].version + 1, .len = random_len()};
    enum status status =
        arena_put(writer, SERVICE_KV, key, value_of(i, &next), 0, MINE, NOW, &next.revision);
    if (status == STATUS_FULL)
        return;
    assert_int_equal(status, STATUS_OK);
    assert_true(next.revision > *last_revision);
    *last_revision = next.revision;
    model[i] = next;
}

static void follows_a_model_through_fullness_and_reopening(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(8 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    uint64_t last_revision = 0;
    memset(model, 0, sizeof model);
    srand(1);
    for (int round = 0; round < ROUNDS; round++) {
        change_one(writer, &last_revision);
        if (round % 10000 != 9999)
            continue;
        check_all(writer, &memory);
        arena_writer_close(&writer);
        writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
        check_all(writer, &memory);
    }
    struct arena_stats stats;
    arena_stats(writer, &stats);
    assert_true(stats.used > 0 && stats.used <= stats.size);
    for (unsigned i = 0; i < KEYS; i++) {
        char text[32];
        if (model[i].present)
            assert_int_equal(arena_delete(writer, SERVICE_KV, key_of(i, text), MINE, NOW),
                             STATUS_OK);
    }
    arena_stats(writer, &stats);
    assert_int_equal(stats.used, 0);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

static enum status put_text(struct arena_writer *writer, enum service service, const char *key,
                            const char *value, uint64_t expiry_ms, uint64_t now)
{
    uint64_t revision;
    return arena_put(writer, service, bytes_of(key), bytes_of(value), expiry_ms, MINE, now,
                     &revision);
}

static void services_are_separate(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(1 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    struct arena_entry entry;
    assert_int_equal(put_text(writer, SERVICE_KV, "a", "kv", 0, NOW), STATUS_OK);
    assert_int_equal(arena_get(writer, SERVICE_CACHE, bytes_of("a"), NOW, &entry),
                     STATUS_NOT_FOUND);
    assert_int_equal(put_text(writer, SERVICE_CACHE, "a", "cache", NOW + 5000, NOW), STATUS_OK);
    assert_int_equal(arena_get(writer, SERVICE_KV, bytes_of("a"), NOW, &entry), STATUS_OK);
    assert_true(bytes_equal(entry.value, bytes_of("kv")));
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

static void expiry_is_judged_at_once_and_reclaimed_later(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(1 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    struct arena_entry entry;
    struct arena_stats stats;
    assert_int_equal(put_text(writer, SERVICE_CACHE, "k", "v", NOW + 2000, NOW), STATUS_OK);
    assert_int_equal(arena_get(writer, SERVICE_CACHE, bytes_of("k"), NOW + 1999, &entry),
                     STATUS_OK);
    assert_int_equal(arena_get(writer, SERVICE_CACHE, bytes_of("k"), NOW + 2000, &entry),
                     STATUS_NOT_FOUND);
    assert_int_equal(arena_reclaim(writer, NOW + 1000, 10), 0);
    /* The wheel may be a tick late, never early. */
    assert_int_equal(arena_reclaim(writer, NOW + 4000, 10), 1);
    arena_stats(writer, &stats);
    assert_int_equal(stats.records[SERVICE_CACHE], 0);
    assert_int_equal(stats.used, 0);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

static void far_and_near_expiries_are_all_reclaimed(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(8 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    char key[32];
    srand(2);
    for (int i = 0; i < 20000; i++) {
        uint64_t ttl = (uint64_t)1 << (rand() % 31);
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(put_text(writer, SERVICE_CACHE, key, "v", NOW + 1 + ttl, NOW), STATUS_OK);
    }
    /* At any time nothing is reclaimed early, and nothing is more than 12.5 % + 2 s late. */
    for (uint64_t ahead = 500; ahead < (uint64_t)1 << 33; ahead += ahead / 3) {
        while (arena_reclaim(writer, NOW + ahead, 1000) == 1000)
            ;
        struct arena_stats stats;
        arena_stats(writer, &stats);
        if (ahead > (uint64_t)1 << 32)
            assert_int_equal(stats.records[SERVICE_CACHE], 0);
    }
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

static void a_full_arena_refuses_and_recovers(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(4 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    char key[32], value[57];
    memset(value, 'v', sizeof value);
    value[56] = 0;
    int n = 0;
    for (;; n++) {
        snprintf(key, sizeof key, "%08d", n);
        enum status status = put_text(writer, SERVICE_KV, key, value, 0, NOW);
        if (status == STATUS_FULL)
            break;
        assert_int_equal(status, STATUS_OK);
    }
    /* Key and value are 64 bytes: all else, index and reserve included, is overhead. */
    double overhead = (double)memory.size / n - 64;
    print_message("%d records of 64 bytes in 4 MiB: %.1f bytes overhead each\n", n, overhead);
    assert_true(overhead < 50);
    /* Every second one deleted: room for blocks of any size again, though every chunk is half
     * full. */
    for (int i = 0; i < n; i += 2) {
        snprintf(key, sizeof key, "%08d", i);
        assert_int_equal(arena_delete(writer, SERVICE_KV, bytes_of(key), MINE, NOW), STATUS_OK);
    }
    char *large = calloc(1, 500001);
    memset(large, 'x', 500000);
    assert_int_equal(put_text(writer, SERVICE_KV, "large", large, 0, NOW), STATUS_OK);
    assert_int_equal(put_text(writer, SERVICE_KV, "large2", large + 497000, 0, NOW), STATUS_OK);
    free(large);
    for (int i = 1; i < n; i += 2) {
        struct arena_entry entry;
        snprintf(key, sizeof key, "%08d", i);
        assert_int_equal(arena_get(writer, SERVICE_KV, bytes_of(key), NOW, &entry), STATUS_OK);
    }
    arena_writer_close(&writer);
    writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

/* Fills an arena with values of a length; returns how many there are. */
static unsigned fill(struct arena_writer *writer, size_t len)
{
    char key[32];
    unsigned count = 0;
    uint64_t revision;
    for (;; count++) {
        snprintf(key, sizeof key, "%zu-%u", len, count);
        if (arena_put(writer, SERVICE_KV, bytes_of(key), (struct bytes){value_space, len}, 0, MINE,
                      NOW, &revision) != STATUS_OK)
            return count;
    }
}

/* Replaces every record that fill() has made by one that is shorter by so much. */
static void replace_all(struct arena_writer *writer, size_t len, unsigned count, size_t shorter)
{
    char key[32];
    uint64_t revision;
    for (unsigned k = 0; k < count; k++) {
        snprintf(key, sizeof key, "%zu-%u", len, k);
        assert_int_equal(arena_put(writer, SERVICE_KV, bytes_of(key),
                                   (struct bytes){value_space, len - shorter}, 0, MINE, NOW,
                                   &revision),
                         STATUS_OK);
    }
}

/* The reserve for that does not run out, and nothing else gets it. */
static void a_full_arena_takes_what_does_not_grow(void **state)
{
    (void)state;
    static const size_t lengths[] = {100000, 9000, 600, 100, 8, 1};
    enum { LENGTHS = sizeof lengths / sizeof *lengths };
    struct arena_memory memory = arena_memory_new(32 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    unsigned counts[LENGTHS];
    for (int i = 0; i < LENGTHS; i++)
        counts[i] = fill(writer, lengths[i]);
    unsigned large = fill(writer, 66000); /* two chunks each, as the reserve has */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < LENGTHS; i++) /* each is replaced, and a further one refused */
            assert_int_equal(fill(writer, lengths[i]), counts[i]);
        assert_int_equal(fill(writer, 66000), large);
    }
    for (int i = 0; i < LENGTHS; i++)
        replace_all(writer, lengths[i], counts[i], lengths[i] / 2);
    arena_writer_close(&writer);
    writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

static void large_records_make_way_for_larger_ones(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(16 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    struct arena_entry entry;
    char key[32], *value = calloc(1, 1 << 20);
    uint64_t revision;
    int n = 0;
    memset(value, 'l', 1 << 20);
    for (;; n++) {
        snprintf(key, sizeof key, "large%d", n);
        enum status status =
            arena_put(writer, SERVICE_KV, bytes_of(key), (struct bytes){(uint8_t *)value, 70000}, 0,
                      MINE, NOW, &revision);
        if (status == STATUS_FULL)
            break;
        assert_int_equal(status, STATUS_OK);
    }
    for (int i = 0; i < n; i += 2) {
        snprintf(key, sizeof key, "large%d", i);
        assert_int_equal(arena_delete(writer, SERVICE_KV, bytes_of(key), MINE, NOW), STATUS_OK);
    }
    /* Half of it is free, nowhere more than two chunks in a row. */
    static const uint32_t sizes[] = {140000, 200000, 500000, 1000000, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(key, sizeof key, "larger%zu", i);
        assert_int_equal(arena_put(writer, SERVICE_KV, bytes_of(key),
                                   (struct bytes){(uint8_t *)value, sizes[i]}, 0, MINE, NOW,
                                   &revision),
                         STATUS_OK);
    }
    for (int i = 1; i < n; i += 2) {
        snprintf(key, sizeof key, "large%d", i);
        assert_int_equal(arena_get(writer, SERVICE_KV, bytes_of(key), NOW, &entry), STATUS_OK);
        assert_true(bytes_equal(entry.value, (struct bytes){(uint8_t *)value, 70000}));
    }
    arena_writer_close(&writer);
    writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
    free(value);
}

static void the_cache_evicts_what_is_not_hit(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(4 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    struct arena_reader reader;
    struct arena_found found;
    struct buffer scratch = {0};
    char key[32], value[100];
    memset(value, 'v', sizeof value);
    value[99] = 0;
    assert_true(arena_reader_attach(&reader, memory.base, memory.size));
    assert_int_equal(put_text(writer, SERVICE_CACHE, "hot", "h", NOW + 3600000, NOW), STATUS_OK);
    for (int i = 0; i < 200000; i++) {
        snprintf(key, sizeof key, "cold%d", i);
        assert_int_equal(put_text(writer, SERVICE_CACHE, key, value, NOW + 3600000, NOW),
                         STATUS_OK);
        if (i % 1000 == 0) {
            assert_int_equal(
                arena_read(&reader, SERVICE_CACHE, bytes_of("hot"), NOW, &scratch, &found),
                STATUS_OK);
            arena_hit(writer, found.word);
        }
    }
    struct arena_stats stats;
    arena_stats(writer, &stats);
    assert_true(stats.evicted > 100000);
    /* Nonsense as a hit harms nothing. */
    for (int i = 0; i < 100000; i++)
        arena_hit(writer, (uint64_t)rand() << 32 | (uint64_t)rand());
    buffer_free(&scratch);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

static void a_value_larger_than_the_arena_is_refused(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(4 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    uint64_t revision;
    uint8_t *large = calloc(1, 5 << 20);
    struct bytes value = {large, 5 << 20};
    assert_int_equal(arena_put(writer, SERVICE_KV, bytes_of("k"), value, 0, MINE, NOW, &revision),
                     STATUS_FULL);
    free(large);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

static void as_a_cache_it_begins_empty_and_evicts_anything(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(4 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    struct arena_report report;
    struct arena_entry entry;
    char reason[128], key[32], value[100] = "";
    assert_int_equal(put_text(writer, SERVICE_KV, "old", "v", 0, NOW), STATUS_OK);
    arena_writer_close(&writer);
    writer = arena_writer_attach(memory.base, memory.size, ARENA_CACHE, NOW, &report, reason,
                                 sizeof reason);
    assert_non_null(writer);
    assert_int_equal(arena_get(writer, SERVICE_KV, bytes_of("old"), NOW, &entry), STATUS_NOT_FOUND);
    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(arena_load(writer, SERVICE_KV, bytes_of(key),
                                    (struct bytes){(uint8_t *)value, 99}, 0, 7000u + (unsigned)i,
                                    NOW),
                         STATUS_OK);
    }
    assert_int_equal(arena_get(writer, SERVICE_KV, bytes_of("k99999"), NOW, &entry), STATUS_OK);
    assert_int_equal(entry.revision, 7000 + 99999);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_a_model_through_fullness_and_reopening),
        cmocka_unit_test(services_are_separate),
        cmocka_unit_test(expiry_is_judged_at_once_and_reclaimed_later),
        cmocka_unit_test(far_and_near_expiries_are_all_reclaimed),
        cmocka_unit_test(a_full_arena_refuses_and_recovers),
        cmocka_unit_test(a_full_arena_takes_what_does_not_grow),
        cmocka_unit_test(large_records_make_way_for_larger_ones),
        cmocka_unit_test(the_cache_evicts_what_is_not_hit),
        cmocka_unit_test(as_a_cache_it_begins_empty_and_evicts_anything),
        cmocka_unit_test(a_value_larger_than_the_arena_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
