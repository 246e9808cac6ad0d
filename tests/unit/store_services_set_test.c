/* Sets: packed while small and item by item when large, the same on both engines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/services/set/packed.h"
#include "tests/unit/failpoints.h"
#include "tests/unit/tx_stores.h"

enum { ITEMS = 700, MAX_SET = 12000 };

static uint64_t max_set = MAX_SET;

struct set_model {
    bool has[ITEMS];
    size_t packed;
};

static struct bytes item_of(unsigned number, char *text)
{
    return (struct bytes){(uint8_t *)text,
                          (size_t)sprintf(text, "%0*u", 4 + (int)(number % 30), number)};
}

static struct reply ask(struct store *store, enum op op, struct bytes item, struct buffer *scratch)
{
    const struct call_limits limits = {.max_set = max_set};
    const struct request request = {.op = op, .key = bytes_of("s"), .value = item};
    struct reply reply;
    store->begin(store);
    struct call call = {
        .tx = store->tx, .request = &request, .limits = &limits, .scratch = scratch};
    enum status status = call_carry_out(&call, &reply);
    store->end(store, status == STATUS_OK);
    return reply;
}

/* The record that hot reads find. */
static struct bytes stored(struct store *store)
{
    struct arena_entry entry = {0};
    (void)!arena_get(store->arena, SERVICE_SET, bytes_of("s"), NOW, &entry);
    return entry.value;
}

static void check_set(const struct set_model *model, struct bytes packed)
{
    struct bytes rest = packed, item;
    unsigned count = 0, expected = 0;
    bool seen[ITEMS] = {0};
    while (set_next(&rest, &item)) {
        char text[8] = "";
        memcpy(text, item.data + item.len - 4, 4);
        unsigned number = (unsigned)atoi(text);
        assert_true(number < ITEMS && model->has[number] && !seen[number]);
        seen[number] = true;
        count++;
    }
    for (unsigned i = 0; i < ITEMS; i++)
        expected += model->has[i];
    assert_int_equal(rest.len, 0);
    assert_int_equal(count, expected);
    assert_int_equal(packed.len, model->packed);
}

static void change_set(struct store stores[2], struct set_model *model, bool add, unsigned number,
                       struct buffer *scratch)
{
    char text[64];
    struct bytes item = item_of(number, text);
    bool refused = add && !model->has[number] && model->packed + 2 + item.len > MAX_SET;
    if (!refused && add != model->has[number]) {
        model->has[number] = add;
        model->packed += add ? 2 + item.len : -(2 + item.len);
    }
    for (int i = 0; i < 2; i++) {
        struct reply reply = ask(&stores[i], add ? OP_SET_ADD : OP_SET_REMOVE, item, scratch);
        assert_int_equal(reply.status, refused ? STATUS_TOO_LARGE : STATUS_OK);
        if (!refused && chance(20) == 0)
            check_set(model, reply.value);
    }
}

/* Grows and shrinks through all forms; both stores have the same set. */
static void test_sets(void **state)
{
    (void)state;
    static struct store stores[2];
    struct arena_memory memory = arena_memory_new(4 << 20);
    struct disk_engine *disk = disk_new();
    struct set_model model = {0};
    struct buffer scratch = {0};
    unsigned packed = 0, roots = 0, turns = 0;
    bool was_root = false;
    open_both(stores, &memory, disk);
    for (int n = 0; n < 24000; n++) {
        bool grows = n / 4000 % 2 == 0;
        change_set(stores, &model, chance(20) < (grows ? 16 : 1), (unsigned)chance(ITEMS),
                   &scratch);
        bool is_root = set_is_root(stored(&stores[0]));
        packed += !is_root;
        roots += is_root;
        turns += is_root != was_root;
        was_root = is_root;
        assert_true(model.packed <= PACKED_MAX || is_root);
        assert_true(model.packed > PACKED_AGAIN || !is_root);
    }
    for (unsigned i = 0; i < ITEMS; i++)
        change_set(stores, &model, false, i, &scratch);
    print_message("packed %u times, a root %u times, turned %u times\n", packed, roots, turns);
    assert_true(packed > 1000 && roots > 1000 && turns >= 4);
    struct arena_stats stats;
    arena_stats(stores[0].arena, &stats);
    assert_int_equal(stats.parts[SERVICE_SET] + stats.records[SERVICE_SET], 0);
    assert_int_equal(stats.used, 0);
    close_both(stores);
    buffer_free(&scratch);
    arena_memory_free(&memory);
    disk_remove(&disk);
}

static enum status
no_walk(struct tx *tx, const struct tx_range *range,
        bool (*see)(void *context, struct bytes name, const struct tx_item *item), void *context)
{
    (void)tx, (void)range, (void)see, (void)context;
    fail_msg("a set is gone through for nobody");
    return STATUS_DAMAGED;
}

/* Who wants no answer has no items gone through, whatever the size of the set. */
static void test_sets_without_an_answer(void **state)
{
    (void)state;
    static struct store stores[2];
    struct arena_memory memory = arena_memory_new(4 << 20);
    struct disk_engine *disk = disk_new();
    struct buffer scratch = {0};
    static const struct call_limits limits = {.max_set = 1 << 20};
    open_both(stores, &memory, disk);
    for (unsigned n = 0; n < 2 * ITEMS; n++)
        for (int i = 0; i < 2; i++) {
            char text[64];
            const struct request request = {.op = n % 4 == 3 ? OP_SET_REMOVE : OP_SET_ADD,
                                            .key = bytes_of("s"),
                                            .value = item_of(n - n % 4 / 3, text),
                                            .no_value = true};
            struct reply reply;
            stores[i].begin(&stores[i]);
            struct tx_ops ops = *stores[i].tx->ops;
            ops.walk = no_walk;
            stores[i].tx->ops = &ops;
            struct call call = {
                .tx = stores[i].tx, .request = &request, .limits = &limits, .scratch = &scratch};
            enum status status = call_carry_out(&call, &reply);
            assert_int_equal(status, STATUS_OK);
            assert_int_equal(reply.value.len, 0);
            stores[i].end(&stores[i], true);
        }
    assert_true(set_is_root(stored(&stores[0])));
    struct reply one = ask(&stores[0], OP_SET_GET, (struct bytes){0}, &scratch);
    size_t len = one.value.len;
    assert_int_equal(ask(&stores[1], OP_SET_GET, (struct bytes){0}, &scratch).value.len, len);
    assert_true(len > 4 * ITEMS);
    close_both(stores);
    buffer_free(&scratch);
    arena_memory_free(&memory);
    disk_remove(&disk);
}

/* A set of release 0.2.0 that is larger than one transaction can unpack works as it is. */
static void test_a_set_too_large_to_unpack(void **state)
{
    (void)state;
    enum { MANY = PACKED_ITEMS_MAX + 1 };
    static uint8_t record[4 * MANY];
    struct bytes packed = {record, sizeof record};
    struct arena_memory memory = arena_memory_new(4 << 20);
    struct store store = {.begin = begin_memory, .end = end_memory};
    struct buffer scratch = {0};
    uint64_t revision;
    store.arena = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    store.writes = memory_writes_open();
    for (int i = 0; i < MANY; i++)
        memcpy(record + (size_t)i * 4, (uint8_t[4]){2, 0, (uint8_t)i, (uint8_t)(i >> 8)}, 4);
    assert_int_equal(arena_put(store.arena, SERVICE_SET, bytes_of("s"), packed, 0, NOBODY_ORIGIN,
                               NOW, &revision),
                     STATUS_OK);
    max_set = 1 << 20;
    struct reply reply = ask(&store, OP_SET_ADD, bytes_of("one more"), &scratch);
    assert_int_equal(reply.status, STATUS_OK);
    assert_int_equal(reply.value.len, packed.len + 10);
    assert_int_equal(stored(&store).len, packed.len + 10);
    reply = ask(&store, OP_SET_REMOVE, (struct bytes){record + 2, 2}, &scratch);
    assert_int_equal(reply.value.len, packed.len + 6);
    /* With fewer items it is turned at the next change that adds one. */
    for (int i = 1; i < 4; i++)
        (void)ask(&store, OP_SET_REMOVE, (struct bytes){record + (size_t)i * 4 + 2, 2}, &scratch);
    reply = ask(&store, OP_SET_ADD, bytes_of("another"), &scratch);
    assert_int_equal(reply.value.len, packed.len - 6 + 9);
    assert_true(set_is_root(stored(&store)));
    max_set = MAX_SET;
    memory_writes_close(&store.writes);
    arena_writer_close(&store.arena);
    buffer_free(&scratch);
    arena_memory_free(&memory);
}

#ifdef STRATO_FAILPOINTS

static const char *const points[] = {
    "arena.list_written",  "arena.before_intent", "arena.after_intent",  "arena.before_publish",
    "arena.after_publish", "arena.after_applied", "arena.version_raised"};

static struct store open_memory(struct arena_memory *memory)
{
    struct store store = {.begin = begin_memory, .end = end_memory};
    store.arena = arena_memory_open(memory, NOW, ARENA_WAS_SOUND);
    store.writes = memory_writes_open();
    store.sequence = arena_applied(store.arena, 3);
    return store;
}

/* Adds the item that turns the set, or removes it again, and dies on the way. */
static void turn_and_die(struct arena_memory *memory, enum op op, struct bytes item,
                         const char *point, int hits)
{
    struct store store = open_memory(memory);
    struct buffer scratch = {0};
    failpoints_arm("writer", point, hits);
    (void)ask(&store, op, item, &scratch);
    _exit(0);
}

/* After it the set has the item or has it not, as the count of what is applied says, and has all of
 * the others. */
static bool check_after(struct arena_memory *memory, struct set_model *model, enum op op,
                        unsigned number, uint64_t before)
{
    struct store store = open_memory(memory);
    struct buffer scratch = {0};
    char text[64];
    bool applied = store.sequence > before;
    if (applied) {
        struct bytes item = item_of(number, text);
        model->has[number] = op == OP_SET_ADD;
        model->packed += op == OP_SET_ADD ? 2 + item.len : -(2 + item.len);
    }
    struct reply reply = ask(&store, OP_SET_GET, (struct bytes){0}, &scratch);
    assert_int_equal(reply.status, STATUS_OK);
    check_set(model, reply.value);
    struct arena_stats stats;
    arena_stats(store.arena, &stats);
    unsigned count = 0;
    for (unsigned i = 0; i < ITEMS; i++)
        count += model->has[i];
    assert_int_equal(stats.parts[SERVICE_SET], set_is_root(stored(&store)) ? count : 0);
    memory_writes_close(&store.writes);
    arena_writer_close(&store.arena);
    buffer_free(&scratch);
    return applied;
}

/* Fills the set up to the last item before it is kept item by item. */
static unsigned fill(struct arena_memory *memory, struct set_model *model)
{
    struct store store = {.begin = begin_memory, .end = end_memory};
    struct buffer scratch = {0};
    char text[64];
    unsigned number = 0;
    store.arena = arena_memory_open(memory, NOW, ARENA_WAS_RAW);
    store.writes = memory_writes_open();
    while (model->packed + 2 + item_of(number, text).len <= PACKED_MAX) {
        struct bytes item = item_of(number, text);
        assert_int_equal(ask(&store, OP_SET_ADD, item, &scratch).status, STATUS_OK);
        model->has[number++] = true;
        model->packed += 2 + item.len;
    }
    memory_writes_close(&store.writes);
    arena_writer_close(&store.arena);
    buffer_free(&scratch);
    return number;
}

static void test_killed_while_a_set_is_converted(void **state)
{
    (void)state;
    char text[64];
    unsigned died = 0, applied = 0;
    for (size_t point = 0; point < sizeof points / sizeof *points; point++)
        for (int hits = 1; hits < 400; hits = hits * 3 + 1) {
            struct arena_memory memory = arena_memory_new(2 << 20);
            struct set_model model = {0};
            unsigned number = fill(&memory, &model);
            uint64_t before = ((struct arena_header *)memory.base)->applied[3].count;
            fflush(NULL);
            pid_t child = fork();
            if (child == 0)
                turn_and_die(&memory, OP_SET_ADD, item_of(number, text), points[point], hits);
            int status;
            assert_int_equal(waitpid(child, &status, 0), child);
            died += WIFSIGNALED(status);
            applied += check_after(&memory, &model, OP_SET_ADD, number, before);
            arena_memory_free(&memory);
        }
    print_message("died %u times, applied %u times\n", died, applied);
    assert_true(died >= 10 && applied >= 5);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_sets_without_an_answer),
        cmocka_unit_test(test_a_set_too_large_to_unpack),
#ifdef STRATO_FAILPOINTS
        cmocka_unit_test(test_killed_while_a_set_is_converted),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
