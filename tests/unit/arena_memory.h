/* arena_memory - an arena in anonymous shared memory, for tests; forked children share it. */
#ifndef STRATO_TESTS_UNIT_ARENA_MEMORY_H
#define STRATO_TESTS_UNIT_ARENA_MEMORY_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/arena/writer.h"
#include "tests/unit/failpoints.h"

struct arena_memory {
    uint8_t *base;
    uint64_t size;
};

static const struct arena_origin MINE __attribute__((unused)) = {3, 0};
static const struct arena_origin NOBODY_ORIGIN __attribute__((unused)) = {ARENA_NOBODY, 0};

static inline struct arena_memory arena_memory_new(uint64_t size)
{
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    return (struct arena_memory){base, size};
}

static inline struct arena_writer *arena_memory_open(struct arena_memory *memory, uint64_t now_ms,
                                                     enum arena_found_as expected)
{
    struct arena_report report;
    char reason[128] = "";
    struct arena_writer *writer = arena_writer_attach(memory->base, memory->size, ARENA_DATA,
                                                      now_ms, &report, reason, sizeof reason);
    assert_non_null(writer);
    if (report.found_as != expected)
        print_error("found as %d: %s\n", report.found_as, report.damage);
    assert_int_equal(report.found_as, expected);
    return writer;
}

static inline void arena_memory_free(struct arena_memory *memory)
{
    munmap(memory->base, memory->size);
}

#ifdef STRATO_FAILPOINTS
/* This process ends when it comes to a failpoint for the count-th time. */
static inline void arena_arm(const char *point, int count)
{
    failpoints_arm("writer", point, count);
}
#endif

#endif
