/* A reader over arenas of random bytes: it ends, and never looks outside its mapping (the memory
 * ends at an unmapped page, and asan watches the rest). */
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

enum { LOOKUPS = 1000000, ARENAS = 100 };
static const uint64_t NOW = 1700000000000;

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Words that look like the real thing more often than chance would have it. */
static void scribble(uint8_t *base, const struct arena_geometry *g, uint64_t seed)
{
    for (uint64_t at = g->index_offset; at + 8 <= g->size; at += 8) {
        uint64_t word = next_random();
        switch (word % 8) {
        case 0:
            word = 0;
            break;
        case 1: /* somewhere in the heap, or just past it */
        case 2:
            word = (word & 0xffff000000000000u) |
                   (g->heap_offset + word % (g->size - g->heap_offset + 64)) / ARENA_GRAIN;
            break;
        case 3: /* lengths: small, or huge */
            word = (word >> 32 & 0x3ff) | (word & 1 ? 0xffffffffu : 300);
            break;
        case 4: /* a record's last word: a service, and the keys' length */
            word = (uint64_t)SERVICE_KV << 48 | (uint64_t)5 << 32;
            break;
        case 5:
            memcpy(&word, "key12\0\0\0", 8);
            break;
        default:
            break;
        }
        memcpy(base + at, &word, 8);
    }
    memset(base + g->stripes_offset, 0, ARENA_STRIPES * sizeof(struct arena_stripe));
    struct arena_header *header = (struct arena_header *)base;
    header->state = ARENA_READY;
    header->hash_seed = seed;
}

/* Points a key's bucket at records whose tag fits, so that lookups go deep. */
static void aim(uint8_t *base, const struct arena_geometry *g, uint64_t seed, struct bytes key)
{
    uint64_t hash = arena_hash(seed, SERVICE_KV, key);
    struct arena_bucket *bucket =
        (struct arena_bucket *)(base + g->index_offset) + arena_bucket_of(hash, g->buckets);
    uint64_t offset = g->heap_offset + next_random() % (g->size - g->heap_offset + 4096);
    bucket->slots[next_random() % ARENA_BUCKET_SLOTS] = arena_word(hash, offset);
    if (next_random() % 2)
        bucket->overflow = (g->heap_offset / 64 + next_random() % 2000) * 64 / ARENA_GRAIN;
}

static void a_hostile_arena_never_leads_outside(void **state)
{
    (void)state;
    struct arena_geometry g;
    struct arena_reader reader;
    struct arena_found found;
    struct buffer scratch = {0};
    char text[8];
    uint64_t outcomes[STATUS_COUNT] = {0};
    assert_true(arena_geometry(ARENA_SIZE_MIN, &g));
    for (int round = 0; round < ARENAS; round++) {
        /* Exactly as large as the geometry uses: one byte further is not ours. */
        uint8_t *base = aligned_alloc(4096, g.size);
        assert_non_null(base);
        memset(base, 0, g.index_offset);
        scribble(base, &g, (uint64_t)round);
        assert_true(arena_reader_attach(&reader, base, ARENA_SIZE_MIN));
        for (int i = 0; i < LOOKUPS / ARENAS; i++) {
            snprintf(text, sizeof text, "key%02d", i % 100);
            if (i % 3 == 0)
                aim(base, &g, (uint64_t)round, bytes_of(text));
            outcomes[arena_read(&reader, SERVICE_KV, bytes_of(text), NOW, &scratch, &found)]++;
        }
        free(base);
    }
    buffer_free(&scratch);
    print_message("found %llu, absent %llu, referred to the store %llu\n",
                  (unsigned long long)outcomes[STATUS_OK],
                  (unsigned long long)outcomes[STATUS_NOT_FOUND],
                  (unsigned long long)outcomes[STATUS_RETRY]);
    assert_true(outcomes[STATUS_RETRY] > 0 && outcomes[STATUS_NOT_FOUND] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hostile_arena_never_leads_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
