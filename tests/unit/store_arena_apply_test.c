/* Transactions of the arena: all of one or nothing of it, in a full arena and killed anywhere. */
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

#include "tests/unit/arena_memory.h"

static const uint64_t NOW = 1700000000000;
enum { CHANNEL = 5, ACCOUNTS = 300, PARTS_MAX = 16, NOTES = 40, WRITES_MAX = PARTS_MAX + 2 };
enum { SIZE = 3 << 20 };

/* ---- The transactions, each made of its number alone ---- */

struct model {
    int64_t accounts[ACCOUNTS];
};

struct transaction {
    unsigned parts;
    unsigned accounts[PARTS_MAX];
    int64_t amounts[PARTS_MAX]; /* their sum is 0 */
};

static uint64_t mix(uint64_t n)
{
    n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9;
    n = (n ^ n >> 27) * 0x94d049bb133111eb;
    return n ^ n >> 31;
}

static struct transaction transaction_of(uint64_t n)
{
    struct transaction made = {.parts = 2 + (unsigned)(mix(n) % (PARTS_MAX - 1))};
    unsigned first = (unsigned)(mix(n + 1000003) % ACCOUNTS);
    int64_t sum = 0;
    for (unsigned i = 0; i < made.parts; i++) {
        made.accounts[i] = (first + i * 7) % ACCOUNTS; /* all different */
        made.amounts[i] = i + 1 < made.parts ? (int64_t)(mix(n * 31 + i) % 1000) : -sum;
        sum += made.amounts[i];
    }
    return made;
}

static void apply_to_model(struct model *model, uint64_t n)
{
    struct transaction made = transaction_of(n);
    for (unsigned i = 0; i < made.parts; i++)
        model->accounts[made.accounts[i]] += made.amounts[i];
}

/* ---- The same in the arena ---- */

struct texts {
    char names[WRITES_MAX][16];
    int64_t values[WRITES_MAX];
    uint8_t note[3000];
};

static int64_t balance(const struct arena_writer *writer, const char *name)
{
    struct arena_entry entry;
    int64_t value = 0;
    if (arena_get(writer, SERVICE_COUNTER, bytes_of(name), NOW, &entry) == STATUS_OK)
        memcpy(&value, entry.value.data, sizeof value);
    return value;
}

/* The transfers of transaction n; besides a note is added and an old one removed. */
static unsigned writes_of(const struct arena_writer *writer, uint64_t n, struct texts *texts,
                          struct arena_write *writes)
{
    struct transaction made = transaction_of(n);
    unsigned count = 0;
    for (; count < made.parts; count++) {
        sprintf(texts->names[count], "a%u", made.accounts[count]);
        texts->values[count] = balance(writer, texts->names[count]) + made.amounts[count];
        writes[count] = (struct arena_write){
            .service = SERVICE_COUNTER,
            .key = bytes_of(texts->names[count]),
            .value = {(uint8_t *)&texts->values[count], sizeof texts->values[count]}};
    }
    sprintf(texts->names[count], "n%llu", (unsigned long long)n);
    writes[count] = (struct arena_write){.service = SERVICE_KV,
                                         .key = bytes_of(texts->names[count]),
                                         .value = {texts->note, mix(n) % sizeof texts->note}};
    count++;
    if (n >= NOTES) {
        sprintf(texts->names[count], "n%llu", (unsigned long long)n - NOTES);
        writes[count] = (struct arena_write){
            .service = SERVICE_KV, .key = bytes_of(texts->names[count]), .remove = true};
        count++;
    }
    return count;
}

static enum status carry_out(struct arena_writer *writer, uint64_t n, struct texts *texts)
{
    struct arena_write writes[WRITES_MAX];
    struct arena_origin origin = {CHANNEL, n};
    unsigned count = writes_of(writer, n, texts, writes);
    return arena_apply(writer, writes, count, origin, NOW);
}

/* Everything that the first applied transactions leave, and nothing else. */
static void check_all(const struct arena_writer *writer, uint64_t applied)
{
    struct model model = {0};
    struct arena_entry entry;
    char name[32];
    for (uint64_t n = 0; n < applied; n++)
        apply_to_model(&model, n);
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        snprintf(name, sizeof name, "a%u", i);
        assert_int_equal(balance(writer, name), model.accounts[i]);
    }
    for (uint64_t n = applied > 2 * NOTES ? applied - 2 * NOTES : 0; n < applied + 2; n++) {
        snprintf(name, sizeof name, "n%llu", (unsigned long long)n);
        bool there = n < applied && n + NOTES >= applied;
        assert_int_equal(arena_get(writer, SERVICE_KV, bytes_of(name), NOW, &entry),
                         there ? STATUS_OK : STATUS_NOT_FOUND);
        if (there)
            assert_int_equal(entry.value.len, mix(n) % sizeof((struct texts *)0)->note);
    }
    struct arena_stats stats;
    arena_stats(writer, &stats);
    assert_int_equal(stats.records[SERVICE_KV], applied < NOTES ? applied : NOTES);
}

static void fill_with_cache(struct arena_writer *writer, uint64_t n)
{
    static const uint8_t space[1500];
    char name[32];
    uint64_t revision;
    snprintf(name, sizeof name, "c%llu", (unsigned long long)n);
    (void)!arena_put(writer, SERVICE_CACHE, bytes_of(name), (struct bytes){space, sizeof space},
                     NOW + 1000000, NOBODY_ORIGIN, NOW, &revision);
}

static void test_transactions(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(SIZE);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    struct texts texts = {0};
    for (uint64_t n = 0; n < 3000; n++) {
        fill_with_cache(writer, n); /* so that room is made by eviction and by moving */
        assert_int_equal(carry_out(writer, n, &texts), STATUS_OK);
        if (n % 500 == 0)
            check_all(writer, n + 1);
    }
    check_all(writer, 3000);
    struct arena_stats stats;
    arena_stats(writer, &stats);
    assert_true(stats.evicted > 0);
    arena_writer_close(&writer);
    writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
    check_all(writer, 3000);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

/* One chain gets more new keys in one transaction than several overflow buckets hold. */
static void test_one_chain(void **state)
{
    (void)state;
    enum { COUNT = 60 };
    struct arena_memory memory = arena_memory_new(1 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    struct arena_geometry geometry;
    uint64_t seed = ((struct arena_header *)memory.base)->hash_seed;
    assert_true(arena_geometry(memory.size, &geometry));
    char names[COUNT][24];
    struct arena_write writes[COUNT];
    unsigned count = 0;
    for (unsigned i = 0; count < COUNT; i++) {
        sprintf(names[count], "key-%u", i);
        if (arena_bucket_of(arena_hash(seed, SERVICE_KV, bytes_of(names[count])),
                            geometry.buckets) != 1)
            continue;
        writes[count] = (struct arena_write){
            .service = SERVICE_KV, .key = bytes_of(names[count]), .value = bytes_of(names[count])};
        count++;
    }
    struct arena_entry entry;
    for (int round = 0; round < 3; round++) {
        assert_int_equal(arena_apply(writer, writes, COUNT, (struct arena_origin){CHANNEL, 1}, NOW),
                         STATUS_OK);
        for (unsigned i = 0; i < COUNT; i++) {
            assert_int_equal(arena_get(writer, SERVICE_KV, writes[i].key, NOW, &entry), STATUS_OK);
            assert_true(bytes_equal(entry.value, writes[i].value));
        }
        arena_writer_close(&writer);
        writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
        for (unsigned i = 0; i < COUNT; i++)
            writes[i].remove = true;
        assert_int_equal(arena_apply(writer, writes, COUNT, (struct arena_origin){CHANNEL, 2}, NOW),
                         STATUS_OK);
        for (unsigned i = 0; i < COUNT; i++) {
            assert_int_equal(arena_get(writer, SERVICE_KV, writes[i].key, NOW, &entry),
                             STATUS_NOT_FOUND);
            writes[i].remove = false;
        }
        struct arena_stats stats;
        arena_stats(writer, &stats);
        assert_int_equal(stats.used, 0);
    }
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

/* A transaction that does not fit changes nothing; one that needs no more room goes on. */
static void test_full(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(1 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    static uint8_t space[4000];
    char names[2000][16];
    unsigned count = 0;
    uint64_t revision;
    do
        sprintf(names[count], "k%u", count);
    while (arena_put(writer, SERVICE_KV, bytes_of(names[count++]), (struct bytes){space, 4000}, 0,
                     NOBODY_ORIGIN, NOW, &revision) == STATUS_OK);
    count--; /* the last was refused */
    assert_true(count > 100);
    struct arena_stats before, after;
    arena_stats(writer, &before);
    memset(space, 1, sizeof space);
    struct arena_write writes[] = {
        {.service = SERVICE_KV, .key = bytes_of(names[0]), .value = {space, 4000}},
        {.service = SERVICE_KV, .key = bytes_of(names[1]), .value = {space, 4000}},
        {.service = SERVICE_KV, .key = bytes_of("one more"), .value = {space, 4000}},
    };
    struct arena_origin origin = {CHANNEL, 7};
    assert_int_equal(arena_apply(writer, writes, 3, origin, NOW), STATUS_FULL);
    arena_stats(writer, &after);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(arena_applied(writer, CHANNEL), 0);
    struct arena_entry entry;
    assert_int_equal(arena_get(writer, SERVICE_KV, bytes_of(names[0]), NOW, &entry), STATUS_OK);
    assert_int_equal(entry.value.data[0], 0);

    for (unsigned i = 2; i < 40; i++) {
        writes[1].key = bytes_of(names[i]);
        assert_int_equal(arena_apply(writer, writes, 2, origin, NOW), STATUS_OK);
    }
    writes[2].key = bytes_of(names[1]);
    writes[2].remove = true;
    assert_int_equal(arena_apply(writer, writes, 3, origin, NOW), STATUS_OK);
    assert_int_equal(arena_get(writer, SERVICE_KV, bytes_of(names[0]), NOW, &entry), STATUS_OK);
    assert_int_equal(entry.value.data[0], 1);
    assert_int_equal(arena_get(writer, SERVICE_KV, bytes_of(names[1]), NOW, &entry),
                     STATUS_NOT_FOUND);
    arena_writer_close(&writer);
    writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

#ifdef STRATO_FAILPOINTS

/* Nobody looks between the first and the second of a pair, so that the second meets what the first
 * has left. */
static const char *const points[] = {
    "arena.before_publish", "arena.redo",           "arena.after_publish", "arena.redo",
    "arena.after_intent",   "arena.redo",           "arena.list_written",  "arena.after_applied",
    "arena.before_intent",  "arena.before_publish",
};
enum { POINTS = sizeof points / sizeof *points };

/* Carries out some transactions from where the arena says it stopped; dies at the failpoint. */
static void run_writer(struct arena_memory *memory, uint64_t count, const char *point, int hits)
{
    struct arena_report report;
    struct texts texts = {0};
    char reason[128];
    arena_arm(point, hits);
    struct arena_writer *writer = arena_writer_attach(memory->base, memory->size, ARENA_DATA, NOW,
                                                      &report, reason, sizeof reason);
    if (!writer || report.found_as == ARENA_WAS_DAMAGED || report.found_as == ARENA_WAS_MENDED)
        _exit(3);
    uint64_t first = arena_applied(writer, CHANNEL);
    for (uint64_t n = first; n < count && n < first + 60; n++) {
        fill_with_cache(writer, n);
        if (carry_out(writer, n, &texts) != STATUS_OK)
            _exit(4);
    }
    _exit(0);
}

static int hits_for(int kill)
{
    bool redo = strcmp(points[kill % POINTS], "arena.redo") == 0;
    return 1 + kill * 7 % (redo ? 9 : 50);
}

static void test_killed_anywhere(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    struct arena_memory memory = arena_memory_new(SIZE);
    int kills = 0, killed_at[POINTS] = {0};
    for (uint64_t applied = 0; applied < COUNT;) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            run_writer(&memory, COUNT, points[kills % POINTS], hits_for(kills));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status))
            assert_int_equal(WEXITSTATUS(status), 0);
        else
            killed_at[kills % POINTS]++;
        kills++;
        if (kills % 2)
            continue;
        struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
        applied = arena_applied(writer, CHANNEL);
        check_all(writer, applied);
        arena_writer_close(&writer);
    }
    for (int i = 0; i < POINTS; i++) {
        print_message("killed %d times at %s\n", killed_at[i], points[i]);
        assert_true(killed_at[i] >= 3);
    }
    arena_memory_free(&memory);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_one_chain),
        cmocka_unit_test(test_full),
#ifdef STRATO_FAILPOINTS
        cmocka_unit_test(test_killed_anywhere),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
