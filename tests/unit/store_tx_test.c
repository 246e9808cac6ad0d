/* Transactions (store/tx.h) mean the same over the arena and over LMDB, and sets on them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/base/failpoint.h"
#include "store/memory/tx.h"
#include "store/services/set/packed.h"
#include "tests/unit/arena_memory.h"
#include "tests/unit/disk_engine.h"

static const uint64_t NOW = 1700000000000;

static uint64_t seed = 1;

static uint64_t chance(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

/* ---- Both stores ---- */

struct store {
    struct tx *tx; /* the open transaction */
    void (*begin)(struct store *store);
    void (*end)(struct store *store, bool commit);

    struct arena_writer *arena;
    struct memory_writes *writes;
    struct memory_tx memory;
    uint64_t sequence;

    struct env env;
    struct state state, committed;
    struct work work;
    struct batch batch;
    struct disk_tx disk;
};

static void begin_memory(struct store *store)
{
    memory_tx_begin(&store->memory, store->arena, store->writes, true, NOW);
    store->tx = &store->memory.tx;
}

static void end_memory(struct store *store, bool commit)
{
    const struct arena_origin origin = {3, store->sequence++};
    if (commit)
        assert_int_equal(memory_tx_commit(&store->memory, origin), STATUS_OK);
}

static void begin_disk(struct store *store)
{
    static const struct engine_call nothing = {.request = {.op = OP_KV_GET}};
    store->work = (struct work){.env = &store->env, .state = &store->state, .now_ms = NOW};
    assert_int_equal(mdb_txn_begin(store->env.lmdb, NULL, 0, &store->work.txn), MDB_SUCCESS);
    struct batch_entry *entry = batch_add(&store->batch, &nothing);
    batch_begin(&store->batch, entry);
    disk_tx_write(&store->disk, &store->work, &store->batch, entry);
    store->tx = &store->disk.tx;
}

static void end_disk(struct store *store, bool commit)
{
    if (commit)
        assert_int_equal(mdb_txn_commit(store->work.txn), MDB_SUCCESS);
    else
        mdb_txn_abort(store->work.txn);
    if (commit)
        store->committed = store->state;
    store->state = store->committed;
    batch_clear(&store->batch);
}

static void open_both(struct store stores[2], struct arena_memory *memory, struct disk_engine *disk)
{
    memset(stores, 0, 2 * sizeof *stores);
    stores[0].begin = begin_memory;
    stores[0].end = end_memory;
    stores[0].arena = arena_memory_open(memory, NOW, ARENA_WAS_RAW);
    stores[0].writes = memory_writes_open();
    stores[1].begin = begin_disk;
    stores[1].end = end_disk;
    disk->child.conf.disk_sync = SYNC_OFF;
    env_open(&stores[1].env, &disk->child.conf);
}

static void close_both(struct store stores[2])
{
    memory_writes_close(&stores[0].writes);
    arena_writer_close(&stores[0].arena);
    batch_free(&stores[1].batch);
    env_close(&stores[1].env);
}

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

/* ---- Sets, packed and item by item ---- */

enum { ITEMS = 700, MAX_SET = 12000 };

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
    static const struct call_limits limits = {.max_set = MAX_SET};
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

/* A set of release 0.2.0 that is larger than one transaction can unpack works as it is. */
static void test_a_set_too_large_to_unpack(void **state)
{
    (void)state;
    enum { MANY = PACKED_ITEMS_MAX + 1 };
    static uint8_t record[3 * MANY + 100];
    struct bytes packed = {record, 0};
    struct arena_memory memory = arena_memory_new(4 << 20);
    struct store store = {.begin = begin_memory, .end = end_memory};
    struct buffer scratch = {0};
    uint64_t revision;
    store.arena = arena_memory_open(&memory, NOW, ARENA_WAS_RAW);
    store.writes = memory_writes_open();
    for (int i = 0; i < MANY && packed.len + 4 < MAX_SET - 100; i++) {
        set_prefix(1 + i / 256, record + packed.len);
        memset(record + packed.len + 2, i % 256, 1 + (size_t)i / 256);
        packed.len += 3 + (size_t)i / 256;
    }
    (void)packed_is_outgrown(packed, 1);
    assert_int_equal(arena_put(store.arena, SERVICE_SET, bytes_of("s"), packed, 0, NOBODY_ORIGIN,
                               NOW, &revision),
                     STATUS_OK);
    struct reply reply = ask(&store, OP_SET_ADD, bytes_of("one more"), &scratch);
    assert_int_equal(reply.status, STATUS_OK);
    assert_int_equal(reply.value.len, packed.len + 10);
    memory_writes_close(&store.writes);
    arena_writer_close(&store.arena);
    buffer_free(&scratch);
    arena_memory_free(&memory);
}

#ifdef STRATO_FAILPOINTS

static const char *const points[] = {
    "arena.list_written",  "arena.before_intent", "arena.after_intent",  "arena.before_publish",
    "arena.after_publish", "arena.after_applied", "arena.version_raised"};

static void arm(const char *point, int count)
{
    char path[] = "/tmp/strato-failpoint-XXXXXX";
    int fd = mkstemp(path);
    dprintf(fd, "writer %s %d\n", point, count);
    close(fd);
    setenv("STRATO_FAILPOINT", path, 1);
    failpoint_arm("writer");
}

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
    arm(point, hits);
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
        cmocka_unit_test(test_both_stores_do_the_same),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_a_set_too_large_to_unpack),
#ifdef STRATO_FAILPOINTS
        cmocka_unit_test(test_killed_while_a_set_is_converted),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
