/* What damage does to an arena: what was damaged is lost, and nothing else. */
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

static const uint64_t NOW = 1700000000000;
enum { CHANNEL = 5 };

enum { RECORDS = 3000 };

static struct bytes value_for(int i, uint8_t *space)
{
    size_t len = (size_t)(i * 37 % 400);
    memset(space, i, len);
    return (struct bytes){space, len};
}

static void fill(struct arena_writer *writer)
{
    uint8_t space[400];
    char text[32];
    uint64_t revision;
    for (int i = 0; i < RECORDS; i++) {
        snprintf(text, sizeof text, "key%d", i);
        assert_int_equal(arena_put(writer, SERVICE_KV, bytes_of(text), value_for(i, space), 0, MINE,
                                   NOW, &revision),
                         STATUS_OK);
    }
}

/* How many of the records are there. Those that are, are right. */
static int count_whole(struct arena_writer *writer)
{
    uint8_t space[400];
    char text[32];
    int whole = 0;
    for (int i = 0; i < RECORDS; i++) {
        struct arena_entry entry;
        snprintf(text, sizeof text, "key%d", i);
        if (arena_get(writer, SERVICE_KV, bytes_of(text), NOW, &entry) != STATUS_OK)
            continue;
        assert_true(bytes_equal(entry.value, value_for(i, space)));
        whole++;
    }
    return whole;
}

static void expect_all(struct arena_writer *writer)
{
    assert_int_equal(count_whole(writer), RECORDS);
}

/* Readers over a damaged arena must stay inside it and end; what they answer does not matter. */
static void read_some(const struct arena_memory *memory)
{
    struct arena_reader reader;
    struct arena_found found;
    struct buffer scratch = {0};
    char text[32];
    assert_true(arena_reader_attach(&reader, memory->base, memory->size));
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof text, "key%d", rand() % RECORDS);
        (void)!arena_read(&reader, SERVICE_KV, bytes_of(text), NOW, &scratch, &found);
    }
    buffer_free(&scratch);
}

/* An arena with all records, and a copy of it to damage again and again. */
struct victim {
    struct arena_memory memory;
    uint8_t *pristine;
    struct arena_geometry geometry;
};

static struct victim victim_new(uint64_t size)
{
    struct victim victim = {.memory = arena_memory_new(size), .pristine = malloc(size)};
    struct arena_writer *writer = arena_memory_open(&victim.memory, NOW, ARENA_WAS_RAW);
    fill(writer);
    arena_writer_close(&writer);
    memcpy(victim.pristine, victim.memory.base, size);
    assert_true(arena_geometry(size, &victim.geometry));
    return victim;
}

static void victim_free(struct victim *victim)
{
    free(victim->pristine);
    arena_memory_free(&victim->memory);
}

/* Takes the damaged arena over. It must be as good as new then, and found sound the next time. */
static struct arena_report take_over(struct victim *victim, int *whole_r)
{
    struct arena_report report, again;
    char reason[128];
    read_some(&victim->memory);
    struct arena_memory *memory = &victim->memory;
    struct arena_writer *writer = arena_writer_attach(memory->base, memory->size, ARENA_DATA, NOW,
                                                      &report, reason, sizeof reason);
    assert_non_null(writer);
    *whole_r = count_whole(writer);
    assert_true(report.found_as != ARENA_WAS_DAMAGED || report.records == 0);
    fill(writer);
    expect_all(writer);
    arena_writer_close(&writer);
    writer = arena_writer_attach(memory->base, memory->size, ARENA_DATA, NOW, &again, reason,
                                 sizeof reason);
    if (again.found_as != ARENA_WAS_SOUND)
        print_error("%s; then: %s\n", report.damage, again.damage);
    assert_int_equal(again.found_as, ARENA_WAS_SOUND);
    assert_int_equal(again.records, RECORDS);
    arena_writer_close(&writer);
    memcpy(memory->base, victim->pristine, memory->size);
    return report;
}

/* One to sixteen damaged bytes cost at most so many times what hangs behind one word: a record, or
 * those of an overflow bucket. */
static void damage_costs_itself_only(void **state)
{
    (void)state;
    enum { VARIANTS = 600 };
    struct victim victim = victim_new(2 << 20);
    int noticed = 0, worst = RECORDS;
    srand(7);
    for (int variant = 0; variant < VARIANTS; variant++) {
        /* Half of the variants in the header and the first buckets. */
        uint64_t range = variant % 2 ? victim.memory.size : 64 * 1024;
        int bytes = 1 + rand() % 16, whole;
        for (int n = bytes; n > 0; n--)
            victim.memory.base[(uint64_t)rand() % range] ^= (uint8_t)(1 + rand() % 255);
        struct arena_report report = take_over(&victim, &whole);
        assert_int_not_equal(report.found_as, ARENA_WAS_DAMAGED);
        if (report.found_as == ARENA_WAS_SOUND)
            assert_int_equal(whole, RECORDS);
        assert_true(whole >= RECORDS - bytes * ARENA_BUCKET_SLOTS);
        noticed += report.found_as == ARENA_WAS_MENDED;
        worst = whole < worst ? whole : worst;
    }
    print_message(
        "%d of %d variants noticed, the others harmless; at worst %d of %d records lost\n", noticed,
        VARIANTS, RECORDS - worst, RECORDS);
    assert_true(noticed > VARIANTS / 2);
    victim_free(&victim);
}

/* Every single byte of the header's words, with three values each. */
static void any_byte_of_the_header_is_mended(void **state)
{
    (void)state;
    struct victim victim = victim_new(2 << 20);
    static const uint8_t flips[] = {0x01, 0xff};
    for (size_t at = 0; at < 256 + 16 * (CHANNEL + 1); at++)
        for (size_t i = 0; i < sizeof flips; i++) {
            int whole;
            victim.memory.base[at] ^= flips[i];
            take_over(&victim, &whole);
            assert_int_equal(whole, RECORDS);
        }
    victim_free(&victim);
}

/* A whole arena is not taken for a new one, which would lose everything without a word. */
static void a_lost_state_and_a_damaged_spare_cost_nothing(void **state)
{
    (void)state;
    struct victim victim = victim_new(2 << 20);
    struct arena_header *header = (struct arena_header *)victim.memory.base;
    int whole;
    header->state = ARENA_RAW;
    header->spare.revision ^= 1;
    struct arena_report report = take_over(&victim, &whole);
    assert_int_equal(report.found_as, ARENA_WAS_MENDED);
    assert_int_equal(whole, RECORDS);
    victim_free(&victim);
}

/* As release 0.2.0 laid it out: nothing in what was padding then. */
static void strip_to_release_0_2_0(struct victim *victim)
{
    struct arena_header *header = (struct arena_header *)victim->memory.base;
    memset((uint8_t *)header + offsetof(struct arena_header, spare), 0,
           offsetof(struct arena_header, intent) - offsetof(struct arena_header, spare));
}

static void an_arena_of_0_2_0_is_taken_over(void **state)
{
    (void)state;
    struct victim victim = victim_new(2 << 20);
    int whole;
    strip_to_release_0_2_0(&victim);
    assert_int_equal(take_over(&victim, &whole).found_as, ARENA_WAS_SOUND);
    assert_int_equal(whole, RECORDS);
    /* What says which arena it is: worked out, or asked of the records. The seed is lost for good,
     * and one whose state says that it is being wiped is not believed. */
    const size_t words[] = {
        offsetof(struct arena_header, magic),         offsetof(struct arena_header, version),
        offsetof(struct arena_header, header_size),   offsetof(struct arena_header, size),
        offsetof(struct arena_header, generation),    offsetof(struct arena_header, revision),
        offsetof(struct arena_header, identity_check)};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        strip_to_release_0_2_0(&victim);
        victim.memory.base[words[i]] ^= 0x40;
        take_over(&victim, &whole);
        assert_int_equal(whole, RECORDS);
    }
    strip_to_release_0_2_0(&victim);
    victim.memory.base[offsetof(struct arena_header, hash_seed)] ^= 0x40;
    assert_int_equal(take_over(&victim, &whole).found_as, ARENA_WAS_DAMAGED);
    victim_free(&victim);
}

static struct arena_record *record_of(struct victim *victim, const char *key,
                                      _Atomic uint64_t **slot_r)
{
    struct arena_header *header = (struct arena_header *)victim->memory.base;
    struct arena_bucket *index = (void *)(victim->memory.base + victim->geometry.index_offset);
    struct bytes wanted = bytes_of(key);
    uint64_t hash = arena_hash(header->hash_seed, SERVICE_KV, wanted);
    struct arena_bucket *bucket = &index[arena_bucket_of(hash, victim->geometry.buckets)];
    for (;;) {
        for (int i = 0; i < ARENA_BUCKET_SLOTS; i++) {
            struct arena_record *record =
                (void *)(victim->memory.base + arena_word_offset(bucket->slots[i]));
            if (bucket->slots[i] != 0 && record->key_len == wanted.len &&
                memcmp(record + 1, wanted.data, wanted.len) == 0) {
                *slot_r = &bucket->slots[i];
                return record;
            }
        }
        assert_int_not_equal(bucket->overflow, 0);
        bucket = (void *)(victim->memory.base + bucket->overflow * ARENA_GRAIN);
    }
}

/* A slot that shows a block which is free, or was another record's before. */
static void what_was_freed_and_is_linked_again_is_found(void **state)
{
    (void)state;
    struct victim victim = victim_new(2 << 20);
    _Atomic uint64_t *slot;
    int whole;
    /* The record of another key: in the wrong bucket, or a second one of its key. */
    record_of(&victim, "key10", &slot);
    uint64_t foreign = *slot;
    record_of(&victim, "key11", &slot);
    *slot = foreign;
    assert_int_equal(take_over(&victim, &whole).quarantined, 1);
    assert_int_equal(whole, RECORDS - 1);
    /* A copy of a record, where no block can be. */
    struct arena_record *record = record_of(&victim, "key20", &slot);
    uint8_t *to = victim.memory.base + victim.geometry.size - ARENA_CHUNK + 16;
    memcpy(to, record, sizeof *record + record->key_len + record->value_len);
    *slot = (*slot & ~ARENA_WORD_OFFSET_MASK) | (uint64_t)(to - victim.memory.base) / ARENA_GRAIN;
    assert_int_equal(take_over(&victim, &whole).quarantined, 1);
    assert_int_equal(whole, RECORDS - 1);
    /* The same word in every free slot of its chain. */
    record_of(&victim, "key30", &slot);
    struct arena_bucket *bucket = (void *)((uintptr_t)slot & ~(uintptr_t)63);
    unsigned copies = 0;
    for (int i = 0; i < ARENA_BUCKET_SLOTS; i++)
        if (bucket->slots[i] == 0) {
            bucket->slots[i] = *slot;
            copies++;
        }
    assert_int_equal(take_over(&victim, &whole).quarantined, copies);
    assert_int_equal(whole, RECORDS);
    victim_free(&victim);
}

static void a_wrong_tag_is_put_right(void **state)
{
    (void)state;
    struct victim victim = victim_new(2 << 20);
    _Atomic uint64_t *slot;
    int whole;
    record_of(&victim, "key10", &slot);
    *slot ^= (uint64_t)0x4001 << 40;
    struct arena_report report = take_over(&victim, &whole);
    assert_int_equal(report.mended, 1);
    assert_int_equal(whole, RECORDS);
    victim_free(&victim);
}

/* Links into records of zeros, into another chain and back to where they come from. */
static void wrong_links_cost_no_other_chain(void **state)
{
    (void)state;
    struct victim victim = victim_new(2 << 20);
    struct arena_bucket *index = (void *)(victim.memory.base + victim.geometry.index_offset);
    uint64_t other = 0;
    int whole;
    for (uint64_t i = 0; i < victim.geometry.buckets && other == 0; i++)
        other = index[i].overflow;
    for (uint64_t i = 0; i < victim.geometry.buckets; i++)
        if (index[i].overflow == 0)
            index[i].overflow = other ? other : victim.geometry.heap_offset / ARENA_GRAIN;
    struct arena_report report = take_over(&victim, &whole);
    assert_true(report.mended > 0);
    assert_int_equal(report.quarantined, 0);
    assert_int_equal(whole, RECORDS);
    victim_free(&victim);
}

/* A valid word in an intent that was carried out long ago is not stored again. */
static void an_old_intent_is_not_carried_out_again(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(1 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    struct arena_header *header = (struct arena_header *)memory.base;
    struct arena_entry entry;
    uint64_t revision;
    assert_int_equal(arena_put(writer, SERVICE_CACHE, bytes_of("k"), bytes_of("v"), NOW + 1,
                               (struct arena_origin){CHANNEL, 7}, NOW, &revision),
                     STATUS_OK);
    assert_int_equal(arena_reclaim(writer, NOW + 100000, 10), 1);
    arena_writer_close(&writer);
    header->intent.kind = ARENA_INTENT_WORD;
    writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
    assert_int_equal(arena_get(writer, SERVICE_CACHE, bytes_of("k"), NOW, &entry),
                     STATUS_NOT_FOUND);
    assert_int_equal(arena_applied(writer, CHANNEL), 8);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

/* The clock says 1970: that is no fault of the arena's. */
static void a_clock_that_was_reset_costs_nothing(void **state)
{
    (void)state;
    struct victim victim = victim_new(2 << 20);
    struct arena_report report;
    char reason[128];
    struct arena_writer *writer = arena_writer_attach(
        victim.memory.base, victim.memory.size, ARENA_DATA, 1000, &report, reason, sizeof reason);
    assert_int_equal(report.found_as, ARENA_WAS_SOUND);
    expect_all(writer);
    arena_writer_close(&writer);
    victim_free(&victim);
}

static void a_chain_in_a_circle_is_damage(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(1 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    struct arena_geometry g;
    assert_true(arena_geometry(memory.size, &g));
    arena_writer_close(&writer);
    struct arena_bucket *index = (struct arena_bucket *)(memory.base + g.index_offset);
    struct arena_bucket *overflow = (struct arena_bucket *)(memory.base + g.heap_offset);
    for (uint64_t i = 0; i < g.buckets; i++)
        index[i].overflow = g.heap_offset / ARENA_GRAIN;
    overflow->overflow = g.heap_offset / ARENA_GRAIN;
    read_some(&memory);
    writer = arena_memory_open(&memory, NOW, ARENA_WAS_MENDED);
    arena_writer_close(&writer);
    writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
    arena_writer_close(&writer);
    arena_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage_costs_itself_only),
        cmocka_unit_test(any_byte_of_the_header_is_mended),
        cmocka_unit_test(a_lost_state_and_a_damaged_spare_cost_nothing),
        cmocka_unit_test(an_arena_of_0_2_0_is_taken_over),
        cmocka_unit_test(what_was_freed_and_is_linked_again_is_found),
        cmocka_unit_test(a_wrong_tag_is_put_right),
        cmocka_unit_test(wrong_links_cost_no_other_chain),
        cmocka_unit_test(an_old_intent_is_not_carried_out_again),
        cmocka_unit_test(a_clock_that_was_reset_costs_nothing),
        cmocka_unit_test(a_chain_in_a_circle_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
