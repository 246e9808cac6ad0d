/* Key spaces of the arena, its version, and walks in the order of keys in both directions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/clock.h"
#include "tests/unit/arena_memory.h"
#include "tests/unit/failpoints.h"

static const uint64_t NOW = 1700000000000;
static const unsigned PARTS = SERVICE_SET | ARENA_PARTS << 8;
static const unsigned NAMED = SERVICE_KV | ARENA_NAMED << 8;
enum { SIZE = 2 << 20, NAMES = 2000, NAME_MAX_LEN = 40 };

static uint64_t seed = 1;

static uint64_t chance(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

/* ---- Spaces and versions ---- */

static uint32_t version_of(const struct arena_memory *memory)
{
    return ((const struct arena_header *)memory->base)->version;
}

static bool has(const struct arena_writer *writer, unsigned table, const char *key)
{
    struct arena_entry entry;
    return arena_get(writer, table, bytes_of(key), NOW, &entry) == STATUS_OK;
}

static void put(struct arena_writer *writer, unsigned table, const char *key, uint64_t expiry_ms)
{
    uint64_t revision;
    assert_int_equal(arena_put(writer, table, bytes_of(key), bytes_of("v"), expiry_ms,
                               NOBODY_ORIGIN, NOW, &revision),
                     STATUS_OK);
}

/* The same bytes are another key in each space, also after a restart. */
static void test_spaces(void **state)
{
    (void)state;
    static const char key[] = "the same bytes";
    struct arena_memory memory = arena_memory_new(SIZE);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    put(writer, SERVICE_KV, key, 0);
    assert_int_equal(version_of(&memory), ARENA_VERSION_FIRST);
    assert_false(has(writer, NAMED, key));
    put(writer, NAMED, key, 0);
    assert_int_equal(version_of(&memory), 2);
    assert_int_equal(arena_delete(writer, SERVICE_KV, bytes_of(key), NOBODY_ORIGIN, NOW),
                     STATUS_OK);
    assert_true(has(writer, NAMED, key));
    put(writer, PARTS, key, 0);
    arena_writer_close(&writer);

    writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
    assert_true(has(writer, NAMED, key) && has(writer, PARTS, key));
    assert_false(has(writer, SERVICE_KV, key) || has(writer, SERVICE_SET, key));
    struct arena_stats stats;
    arena_stats(writer, &stats);
    assert_int_equal(stats.records[SERVICE_KV], 1);
    assert_int_equal(stats.records[SERVICE_SET], 0);
    assert_int_equal(stats.parts[SERVICE_SET], 1);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

static void test_several_writes_raise_the_version(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(SIZE);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    struct arena_write writes[] = {
        {.service = SERVICE_KV, .key = bytes_of("a"), .value = bytes_of("1")},
        {.service = SERVICE_KV, .key = bytes_of("b"), .value = bytes_of("2")},
    };
    assert_int_equal(arena_apply(writer, writes, 1, MINE, NOW), STATUS_OK);
    assert_int_equal(version_of(&memory), ARENA_VERSION_FIRST);
    assert_int_equal(arena_apply(writer, writes, 2, MINE, NOW), STATUS_OK);
    assert_int_equal(version_of(&memory), ARENA_VERSION);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

#ifdef STRATO_FAILPOINTS

static void raise_and_die(struct arena_memory *memory)
{
    failpoints_arm("writer", "arena.version_raised", 1);
    struct arena_writer *writer = arena_memory_open(memory, NOW, ARENA_WAS_SOUND);
    put(writer, PARTS, "12345678a", 0);
    _exit(3);
}

/* Between the two words that raise the version: nothing new is in it, and nothing is damaged. */
static void test_killed_while_the_version_is_raised(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(SIZE);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    put(writer, SERVICE_KV, "a", 0);
    arena_writer_close(&writer);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        raise_and_die(&memory);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
    assert_int_equal(version_of(&memory), ARENA_VERSION_FIRST);
    assert_true(has(writer, SERVICE_KV, "a"));
    assert_false(has(writer, PARTS, "12345678a"));
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

#endif

/* ---- Walks against a plain model ---- */

/* Names in order, and which of them are there. */
struct model {
    char names[NAMES][NAME_MAX_LEN];
    bool there[NAMES];
};

static int by_bytes(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Long common beginnings, short differences, names that begin with others. */
static void make_names(struct model *model)
{
    for (int i = 0; i < NAMES; i++) {
        int len = 9 + (int)chance(4) * 8;
        for (int at = 0; at < len; at++)
            model->names[i][at] = at < 8 || chance(3) ? 'm' : (char)('a' + chance(26));
        sprintf(model->names[i] + len, "%x", i);
    }
    qsort(model->names, NAMES, NAME_MAX_LEN, by_bytes);
}

static bool inside(const char *name, const char *from, const char *to)
{
    return strcmp(name, from) >= 0 && (*to == '\0' || strcmp(name, to) < 0);
}

/* The model's next name of the range, from this index on. */
static int next_there(const struct model *model, int i, int step, const char *from, const char *to)
{
    while (i >= 0 && i < NAMES && !(model->there[i] && inside(model->names[i], from, to)))
        i += step;
    return i;
}

static void check_walk(struct arena_writer *writer, unsigned table, const struct model *model,
                       const char *from, const char *to, bool reverse)
{
    const struct arena_range range = {table, bytes_of(from), bytes_of(to), reverse};
    struct arena_cursor cursor;
    struct arena_entry entry;
    struct bytes key;
    int step = reverse ? -1 : 1, i = reverse ? NAMES - 1 : 0;
    arena_seek(writer, &range, &cursor);
    while (arena_step(writer, &cursor, &key, &entry)) {
        i = next_there(model, i, step, from, to);
        assert_in_range(i, 0, NAMES - 1);
        assert_true(bytes_equal(key, bytes_of(model->names[i])));
        assert_int_equal(entry.value.len, i % 60);
        i += step;
    }
    i = next_there(model, i, step, from, to);
    assert_true(i < 0 || i >= NAMES);
}

static void check_walks(struct arena_writer *writer, unsigned table, const struct model *model)
{
    const char *from = chance(3) ? model->names[chance(NAMES)] : "";
    const char *to = chance(3) ? model->names[chance(NAMES)] : "";
    check_walk(writer, table, model, from, to, false);
    check_walk(writer, table, model, from, to, true);
}

/* What was evicted or has expired is noticed. */
static void look_again(const struct arena_writer *writer, unsigned table, struct model *model)
{
    for (int i = 0; i < NAMES; i++)
        model->there[i] = has(writer, table, model->names[i]);
}

static struct arena_write write_of(struct model *model, unsigned table, int i, bool remove)
{
    static const uint8_t space[60];
    model->there[i] = !remove;
    return (struct arena_write){.service = (enum service)(table & 0xff),
                                .space = (enum arena_space)(table >> 8),
                                .key = bytes_of(model->names[i]),
                                .value = {space, (size_t)i % 60},
                                .remove = remove};
}

/* Some changes at once. */
static void change_some(struct arena_writer *writer, unsigned table, struct model *model)
{
    static struct arena_origin origin = {3, 0};
    struct arena_write writes[40];
    unsigned count = 0, most = (unsigned)(chance(3) ? 1 : 1 + chance(40));
    int i = (int)chance(NAMES);
    for (; count < most && i < NAMES; i += 1 + (int)chance(20))
        writes[count++] = write_of(model, table, i, chance(5) < 2);
    assert_int_equal(arena_apply(writer, writes, count, origin, NOW), STATUS_OK);
    origin.sequence++;
}

static void press(struct arena_writer *writer, struct model *cached)
{
    static const uint8_t space[3000];
    uint64_t revision;
    int i = (int)chance(NAMES);
    size_t len = chance(2) ? (size_t)i % 60 : sizeof space;
    char other[64];
    snprintf(other, sizeof other, "%s-%d", cached->names[i], i);
    (void)!arena_put(writer, SERVICE_CACHE, bytes_of(len < 60 ? cached->names[i] : other),
                     (struct bytes){space, len}, NOW + 5000 + chance(5000), NOBODY_ORIGIN, NOW,
                     &revision);
}

static void check_against_model(struct arena_memory *memory, struct model *kv, struct model *parts,
                                struct model *cached)
{
    struct arena_writer *writer = arena_memory_open(memory, NOW, ARENA_WAS_RAW);
    for (int n = 0; n < 20000; n++) {
        change_some(writer, SERVICE_KV, kv);
        change_some(writer, PARTS, parts);
        press(writer, cached);
        if (n % 50 == 49) {
            check_walks(writer, SERVICE_KV, kv);
            check_walks(writer, PARTS, parts);
        }
        if (n % 5000 == 2499) { /* the order is made anew */
            arena_writer_close(&writer);
            writer = arena_memory_open(memory, NOW, ARENA_WAS_SOUND);
        }
        if (n % 1000 == 999)
            arena_reclaim(writer, NOW + 7000, 1000);
    }
    struct arena_stats stats;
    arena_stats(writer, &stats);
    assert_true(stats.evicted > 0 && stats.expired > 0 && stats.moved > 0);
    arena_writer_close(&writer);
}

static void test_walks(void **state)
{
    (void)state;
    static struct model kv, parts, cached;
    struct arena_memory memory = arena_memory_new(SIZE);
    make_names(&kv);
    make_names(&parts);
    make_names(&cached);
    check_against_model(&memory, &kv, &parts, &cached);
    arena_memory_free(&memory);
}

/* What is evicted or expires leaves the order too. */
static void test_what_goes_by_itself(void **state)
{
    (void)state;
    static struct model cached;
    struct arena_memory memory = arena_memory_new(SIZE);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    static const uint8_t large[8000];
    struct arena_stats stats;
    uint64_t revision;
    make_names(&cached);
    for (int n = 0; n < 20000; n++) {
        int i = (int)chance(NAMES);
        struct arena_write write = write_of(&cached, SERVICE_CACHE, i, false);
        write.expiry_ms = NOW + 5000 + chance(5000);
        (void)!arena_apply(writer, &write, 1, NOBODY_ORIGIN, NOW);
        char name[32];
        snprintf(name, sizeof name, "k%d", n % 480);
        (void)!arena_put(writer, SERVICE_KV, bytes_of(name),
                         (struct bytes){large, chance(sizeof large)}, 0, NOBODY_ORIGIN, NOW,
                         &revision);
        if (n % 400 == 399) {
            arena_reclaim(writer, NOW + 7000, 100);
            look_again(writer, SERVICE_CACHE, &cached);
            check_walks(writer, SERVICE_CACHE, &cached);
        }
    }
    arena_stats(writer, &stats);
    print_message("%llu evicted, %llu expired, %llu moved\n", (unsigned long long)stats.evicted,
                  (unsigned long long)stats.expired, (unsigned long long)stats.moved);
    assert_true(stats.expired > 0 && stats.evicted > 0);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

/* Parts stay in a full arena, where cached values have to go. */
static void test_parts_stay(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct arena_memory memory = arena_memory_new(SIZE);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    const unsigned table = arena_table(SERVICE_CACHE, ARENA_PARTS);
    static const uint8_t large[5000];
    char name[32];
    uint64_t revision;
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "12345678-%d", i);
        put(writer, table, name, NOW + 1000000);
        assert_int_equal(arena_put(writer, SERVICE_CACHE, bytes_of(name),
                                   (struct bytes){large, sizeof large}, NOW + 1000000,
                                   NOBODY_ORIGIN, NOW, &revision),
                         STATUS_OK);
        if (i == COUNT / 2) {
            arena_writer_close(&writer);
            writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
        }
    }
    struct arena_stats stats;
    arena_stats(writer, &stats);
    assert_true(stats.evicted > 0);
    assert_int_equal(stats.parts[SERVICE_CACHE], COUNT);
    assert_true(stats.records[SERVICE_CACHE] < COUNT);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spaces),
        cmocka_unit_test(test_several_writes_raise_the_version),
#ifdef STRATO_FAILPOINTS
        cmocka_unit_test(test_killed_while_the_version_is_raised),
#endif
        cmocka_unit_test(test_walks),
        cmocka_unit_test(test_what_goes_by_itself),
        cmocka_unit_test(test_parts_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
