/* What a killed writer leaves behind is taken over exactly. */
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
enum { CHANNEL = 5 };

#ifdef STRATO_FAILPOINTS

static const char *const points[] = {
    "arena.before_intent", "arena.after_intent",  "arena.before_publish",
    "arena.after_publish", "arena.after_applied",
};

/* Adds one to a counter, as the engine does. */
static int64_t add_one(struct arena_writer *writer, struct bytes key, uint64_t sequence)
{
    struct arena_entry entry;
    int64_t value = 0;
    uint64_t revision;
    if (arena_get(writer, SERVICE_COUNTER, key, NOW, &entry) == STATUS_OK)
        memcpy(&value, entry.value.data, sizeof value);
    value++;
    struct arena_origin origin = {CHANNEL, sequence};
    assert_int_equal(arena_put(writer, SERVICE_COUNTER, key,
                               (struct bytes){(uint8_t *)&value, sizeof value}, 0, origin, NOW,
                               &revision),
                     STATUS_OK);
    return value;
}

static struct bytes key_for(uint64_t sequence, char *text)
{
    /* Some keys come back, some are new, so that all ways to insert are taken. */
    return (struct bytes){
        (uint8_t *)text,
        (size_t)sprintf(text, "c%d",
                        (int)(sequence % 7) == 0 ? (int)sequence : (int)(sequence % 97))};
}

/* Runs increments 0..count-1 from where the arena says it stopped; dies at the failpoint. */
static void run_writer(struct arena_memory *memory, uint64_t count, const char *point, int hits)
{
    struct arena_report report;
    char reason[128], text[32];
    struct arena_writer *writer = arena_writer_attach(memory->base, memory->size, ARENA_DATA, NOW,
                                                      &report, reason, sizeof reason);
    if (!writer || report.found_as == ARENA_WAS_DAMAGED)
        _exit(3);
    arena_arm(point, hits);
    for (uint64_t n = arena_applied(writer, CHANNEL); n < count; n++) {
        struct bytes key = key_for(n, text);
        add_one(writer, key, n);
        if (n % 11 == 10) {
            /* A deletion does not count as an increment, but is a change of its own. */
            uint64_t revision;
            (void)!arena_put(writer, SERVICE_KV, key, bytes_of("x"), 0, NOBODY_ORIGIN, NOW,
                             &revision);
            (void)!arena_delete(writer, SERVICE_KV, key, NOBODY_ORIGIN, NOW);
        }
    }
    _exit(0);
}

static void check_counts(struct arena_memory *memory, uint64_t applied)
{
    struct arena_writer *writer = arena_memory_open(memory, NOW, ARENA_WAS_SOUND);
    char text[32];
    int64_t sum = 0;
    assert_int_equal(arena_applied(writer, CHANNEL), applied);
    for (uint64_t i = 0; i < 4000; i++) {
        struct arena_entry entry;
        snprintf(text, sizeof text, "c%d", (int)i);
        if (arena_get(writer, SERVICE_COUNTER, bytes_of(text), NOW, &entry) != STATUS_OK)
            continue;
        int64_t value;
        memcpy(&value, entry.value.data, sizeof value);
        sum += value;
    }
    assert_int_equal(sum, (int64_t)applied);
    arena_writer_close(&writer);
}

static void killed_anywhere_each_change_is_made_once(void **state)
{
    (void)state;
    enum { COUNT = 4000 };
    struct arena_memory memory = arena_memory_new(1 << 20);
    int kills = 0;
    for (uint64_t applied = 0; applied < COUNT;) {
        const char *point = points[kills % 5];
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            run_writer(&memory, COUNT, point, 1 + kills * 7 % 60);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status))
            assert_int_equal(WEXITSTATUS(status), 0);
        else
            kills++;
        struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
        applied = arena_applied(writer, CHANNEL);
        arena_writer_close(&writer);
        check_counts(&memory, applied);
    }
    print_message("killed %d times\n", kills);
    assert_true(kills >= 50);
    arena_memory_free(&memory);
}

#endif

static void another_version_is_refused_untouched(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(1 << 20);
    struct arena_writer *writer = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    arena_writer_close(&writer);
    struct arena_header *header = (struct arena_header *)memory.base;
    header->version = ARENA_VERSION + 1;
    header->identity_check = arena_identity_check(header);
    struct arena_report report;
    char reason[128] = "";
    assert_null(arena_writer_attach(memory.base, memory.size, ARENA_DATA, NOW, &report, reason,
                                    sizeof reason));
    assert_non_null(strstr(reason, "version"));
    assert_int_equal(header->state, ARENA_READY);
    arena_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef STRATO_FAILPOINTS
        cmocka_unit_test(killed_anywhere_each_change_is_made_once),
#endif
        cmocka_unit_test(another_version_is_refused_untouched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
