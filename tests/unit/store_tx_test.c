/* Transactions (store/tx.h) mean the same over the arena and over LMDB. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/tx_stores.h"

/* ---- A plain model ---- */

enum { SPACES = 8, NAMES = 120, VALUES = 64 };

/* Spaces of services, neighbouring namespaces and the last one, and collections with neighbouring
 * ids. */
static const struct tx_key spaces[SPACES] = {
    {.service = SERVICE_KV},
    {.service = SERVICE_CACHE},
    {.service = SERVICE_SET, .collection = 255},
    {.service = SERVICE_SET, .collection = 256},
    {.service = SERVICE_CACHE, .namespace = UINT16_MAX},
    {.service = SERVICE_KV, .namespace = 255},
    {.service = SERVICE_KV, .namespace = 256},
    {.service = SERVICE_KV, .namespace = UINT16_MAX},
};

struct model {
    struct {
        bool there;
        uint64_t value, expiry_ms;
    } records[SPACES][NAMES];
};

static char names[NAMES][64], values[VALUES][80];

static int by_bytes(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void make_names(void)
{
    for (int i = 0; i < NAMES; i++) {
        size_t same = chance(3) * 9;
        memset(names[i], i % 5 ? 'q' : '\xff', same);
        sprintf(names[i] + same, "%llx-%d", (unsigned long long)chance(50), i);
    }
    qsort(names, NAMES, sizeof names[0], by_bytes);
    for (int i = 0; i < VALUES; i++)
        memset(values[i], 'a' + i % 26, (size_t)i);
}

static struct tx_key key_of(unsigned space, unsigned name)
{
    struct tx_key key = spaces[space];
    key.name = bytes_of(names[name]);
    return key;
}

static bool is_there(const struct model *model, unsigned space, unsigned name)
{
    uint64_t expiry_ms = model->records[space][name].expiry_ms;
    return model->records[space][name].there && (expiry_ms == 0 || expiry_ms > NOW);
}

static void check_item(const struct model *model, unsigned space, unsigned name,
                       const struct tx_item *item)
{
    const char *value = values[model->records[space][name].value];
    assert_int_equal(item->value.len, strlen(value));
    assert_true(bytes_equal(item->value, bytes_of(value)));
    assert_int_equal(item->expiry_ms, model->records[space][name].expiry_ms);
    assert_int_equal(item->revision != 0, spaces[space].collection == 0);
}

/* ---- One step of a transaction, in all three ---- */

static void put_one(struct store stores[2], struct model *model, unsigned space, unsigned name)
{
    uint64_t value = chance(VALUES), revision;
    uint64_t expiry_ms = space != 1 ? 0 : chance(4) ? NOW + 1 + chance(1000) : NOW - chance(10);
    for (int i = 0; i < 2; i++)
        assert_int_equal(tx_put(stores[i].tx, key_of(space, name), bytes_of(values[value]),
                                expiry_ms, &revision),
                         STATUS_OK);
    model->records[space][name].there = true;
    model->records[space][name].value = value;
    model->records[space][name].expiry_ms = expiry_ms;
}

static void remove_one(struct store stores[2], struct model *model, unsigned space, unsigned name)
{
    bool there = is_there(model, space, name);
    for (int i = 0; i < 2; i++)
        assert_int_equal(tx_remove(stores[i].tx, key_of(space, name)),
                         there ? STATUS_OK : STATUS_NOT_FOUND);
    if (there)
        model->records[space][name].there = false;
}

static void get_one(struct store stores[2], struct model *model, unsigned space, unsigned name)
{
    struct tx_item item;
    for (int i = 0; i < 2; i++) {
        enum status status = tx_get(stores[i].tx, key_of(space, name), &item);
        assert_int_equal(status, is_there(model, space, name) ? STATUS_OK : STATUS_NOT_FOUND);
        if (status == STATUS_OK)
            check_item(model, space, name, &item);
    }
}

struct walk {
    const struct model *model;
    unsigned space;
    int from, to, next, step; /* names: from on, up to to */
    unsigned left;            /* visits until it stops */
};

static void pass_over(struct walk *walk)
{
    while (walk->next >= walk->from && walk->next < walk->to &&
           !is_there(walk->model, walk->space, (unsigned)walk->next))
        walk->next += walk->step;
}

static bool visit(void *context, struct bytes name, const struct tx_item *item)
{
    struct walk *walk = context;
    pass_over(walk);
    assert_in_range(walk->next, walk->from, walk->to - 1);
    assert_true(bytes_equal(name, bytes_of(names[walk->next])));
    check_item(walk->model, walk->space, (unsigned)walk->next, item);
    walk->next += walk->step;
    return --walk->left > 0;
}

static void walk_some(struct store stores[2], struct model *model, unsigned space)
{
    int from = chance(3) ? (int)chance(NAMES) : 0, to = chance(3) ? (int)chance(NAMES + 1) : NAMES;
    bool reverse = chance(2);
    unsigned most = chance(3) ? UINT32_MAX : 1 + (unsigned)chance(5);
    struct tx_range range = {.from = key_of(space, (unsigned)from), .reverse = reverse};
    if (from == 0 && chance(2))
        range.from.name = (struct bytes){0};
    if (to < NAMES)
        range.to = bytes_of(names[to]);
    for (int i = 0; i < 2; i++) {
        struct walk walk = {model, space, from, to, reverse ? to - 1 : from, reverse ? -1 : 1,
                            most};
        if (to <= from)
            walk.from = walk.to = walk.next = from;
        assert_int_equal(tx_walk(stores[i].tx, &range, visit, &walk), STATUS_OK);
        pass_over(&walk);
        assert_true(walk.left == 0 || walk.next < walk.from || walk.next >= walk.to);
    }
}

static void step(struct store stores[2], struct model *model)
{
    unsigned space = (unsigned)chance(SPACES), name = (unsigned)chance(NAMES);
    switch (chance(6)) {
    case 0:
    case 1:
    case 2:
        put_one(stores, model, space, name);
        break;
    case 3:
        remove_one(stores, model, space, name);
        break;
    case 4:
        get_one(stores, model, space, name);
        break;
    default:
        walk_some(stores, model, space);
        break;
    }
}

static void test_both_stores_do_the_same(void **state)
{
    (void)state;
    static struct store stores[2];
    static struct model model, trial;
    struct arena_memory memory = arena_memory_new(4 << 20);
    struct disk_engine *disk = disk_new();
    make_names();
    open_both(stores, &memory, disk);
    for (int n = 0; n < 3000; n++) {
        bool commit = chance(4) > 0;
        unsigned steps = 1 + (unsigned)chance(chance(10) ? 12 : 200);
        trial = model;
        stores[0].begin(&stores[0]);
        stores[1].begin(&stores[1]);
        for (unsigned i = 0; i < steps; i++)
            step(stores, &trial);
        stores[0].end(&stores[0], commit);
        stores[1].end(&stores[1], commit);
        if (commit)
            model = trial;
    }
    close_both(stores);
    arena_memory_free(&memory);
    disk_remove(&disk);
}

/* A transaction of more writes than can be is refused, and the ids of collections are new ones. */
static void test_bounds(void **state)
{
    (void)state;
    struct arena_memory memory = arena_memory_new(4 << 20);
    struct store store = {.begin = begin_memory, .end = end_memory};
    char name[16];
    uint64_t revision, id = 0;
    store.arena = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    store.writes = memory_writes_open();
    begin_memory(&store);
    for (int i = 0; i <= ARENA_APPLY_MAX; i++) {
        snprintf(name, sizeof name, "%d", i);
        const struct tx_key key = {.service = SERVICE_SET, .collection = 1, .name = bytes_of(name)};
        assert_int_equal(tx_put(store.tx, key, (struct bytes){0}, 0, &revision),
                         i < ARENA_APPLY_MAX ? STATUS_OK : STATUS_FULL);
    }
    end_memory(&store, true);
    struct arena_stats stats;
    arena_stats(store.arena, &stats);
    assert_int_equal(stats.parts[SERVICE_SET], ARENA_APPLY_MAX);
    for (int i = 0; i < 5; i++) {
        begin_memory(&store);
        uint64_t next = tx_new_id(store.tx);
        assert_true(next > id);
        id = next;
        end_memory(&store, false);
        arena_writer_close(&store.arena);
        store.arena = arena_memory_open(&memory, NOW, ARENA_WAS_SOUND);
    }
    memory_writes_close(&store.writes);
    arena_writer_close(&store.arena);
    arena_memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_stores_do_the_same),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
