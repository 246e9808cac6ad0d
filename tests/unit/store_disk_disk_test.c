/* The disk engine: every operation, batches, what a successor finds, sets, expiry, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/disk_engine.h"
#include "tests/unit/disk_faults.h"

static void test_each_operation(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    disk_open(disk);
    assert_int_equal(disk_do(disk, OP_KV_GET, "a", NULL, 0).status, STATUS_NOT_FOUND);
    struct reply put = disk_do(disk, OP_KV_PUT, "a", "one", 0);
    assert_int_equal(put.status, STATUS_OK);
    assert_reply(disk_do(disk, OP_KV_GET, "a", NULL, 0), STATUS_OK, "one");
    assert_int_equal(disk_do(disk, OP_CACHE_GET, "a", NULL, 0).status, STATUS_NOT_FOUND);
    assert_true(disk_do(disk, OP_KV_PUT, "a", "two", 0).revision > put.revision);
    assert_reply(disk_do(disk, OP_KV_GET, "a", NULL, 0), STATUS_OK, "two");
    assert_int_equal(disk_do(disk, OP_KV_DELETE, "a", NULL, 0).status, STATUS_OK);
    assert_int_equal(disk_do(disk, OP_KV_DELETE, "a", NULL, 0).status, STATUS_NOT_FOUND);

    assert_int_equal(disk_do(disk, OP_COUNTER_GET, "c", NULL, 0).number, 0);
    assert_int_equal(disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 5).number, 5);
    assert_int_equal(disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, -7).number, -2);
    assert_int_equal(disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, INT64_MIN).status,
                     STATUS_OUT_OF_RANGE);
    assert_int_equal(disk_do(disk, OP_COUNTER_GET, "c", NULL, 0).number, -2);

    assert_int_equal(disk_do(disk, OP_FLAG_GET, "f", NULL, 0).number, 0);
    assert_int_equal(disk_do(disk, OP_FLAG_SET, "f", NULL, 1).status, STATUS_OK);
    assert_int_equal(disk_do(disk, OP_FLAG_GET, "f", NULL, 0).number, 1);

    assert_reply(disk_do(disk, OP_SET_REMOVE, "s", "x", 0), STATUS_OK, "");
    assert_memory_equal(disk_do(disk, OP_SET_ADD, "s", "y", 0).value.data, "\1\0y", 3);
    struct reply set = disk_do(disk, OP_SET_ADD, "s", "xx", 0);
    assert_int_equal(set.value.len, 7);
    assert_int_equal(disk_do(disk, OP_SET_ADD, "s", "y", 0).value.len, 7);
    assert_int_equal(disk_do(disk, OP_SET_REMOVE, "s", "y", 0).value.len, 4);
    assert_int_equal(disk_do(disk, OP_SET_REMOVE, "s", "xx", 0).value.len, 0);
    assert_int_equal(disk_do(disk, OP_SET_GET, "s", NULL, 0).value.len, 0);
    disk_close(disk);
    disk_remove(&disk);
}

static void test_all_is_there_when_opened_again(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    disk_open(disk);
    disk_do(disk, OP_KV_PUT, "a", "one", 0);
    disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 5);
    disk_do(disk, OP_FLAG_SET, "f", NULL, 1);
    disk_do(disk, OP_SET_ADD, "s", "item", 0);
    uint64_t revision = disk_do(disk, OP_SET_ADD, "t", "item", 0).revision;
    disk_close(disk);
    disk_open(disk);
    for (int again = 0; again < 2; again++) { /* from the database, then from the arena */
        assert_reply(disk_do(disk, OP_KV_GET, "a", NULL, 0), STATUS_OK, "one");
        assert_int_equal(disk_do(disk, OP_COUNTER_GET, "c", NULL, 0).number, 5);
        assert_int_equal(disk_do(disk, OP_FLAG_GET, "f", NULL, 0).number, 1);
        assert_int_equal(disk_do(disk, OP_SET_GET, "s", NULL, 0).value.len, 6);
    }
    assert_true(disk_do(disk, OP_SET_ADD, "u", "other", 0).revision > revision);
    assert_int_equal(disk_do(disk, OP_SET_GET, "t", NULL, 0).value.len, 6);
    disk_close(disk);
    disk_remove(&disk);
}

/* One sync for all of a round; nobody is answered before; reads elsewhere do not wait. */
static void test_a_round_is_one_commit(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    disk_open(disk);
    disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 1);
    disk_faults.syncs = 0;
    uint64_t commits = disk->engine->commits;
    for (int i = 0; i < 100; i++)
        disk_submit(disk, (uint32_t)i % 2, disk_request(OP_COUNTER_INCREMENT, "c", NULL, 1));
    uint64_t mine = disk_submit(disk, 0, disk_request(OP_COUNTER_GET, "c", NULL, 0));
    uint64_t other = disk_submit(disk, 2, disk_request(OP_COUNTER_GET, "c", NULL, 0));
    assert_false(disk_answer(disk, 0, mine)->given);
    assert_true(disk_answer(disk, 2, other)->given);
    assert_int_equal(disk_answer(disk, 2, other)->reply.number, 1);
    for (int i = 0; i < 50; i++)
        assert_false(disk_answer(disk, 1, (uint64_t)i)->given);
    disk_settle(disk);
    assert_int_equal(disk->engine->commits, commits + 1);
    assert_int_equal(disk_faults.syncs, 1); /* the root goes through a descriptor that syncs */
    assert_int_equal(disk_answer(disk, 0, mine)->reply.number, 101);
    for (int i = 0; i < 50; i++)
        assert_int_equal(disk_answer(disk, 1, (uint64_t)i)->reply.number, 3 + 2 * i);
    disk_do(disk, OP_KV_GET, "nothing", NULL, 0);
    disk_do(disk, OP_KV_DELETE, "nothing", NULL, 0);
    assert_int_equal(disk->engine->commits, commits + 1);
    disk_close(disk);
    disk_remove(&disk);
}

/* ---- Death ---- */

static void die(void)
{
    _exit(3);
}

static void batch_and_die(struct disk_engine *disk)
{
    disk_open(disk);
    disk_submit(disk, 0, disk_request(OP_KV_PUT, "a", "value", 0));
    disk_submit(disk, 0, disk_request(OP_COUNTER_INCREMENT, "c", NULL, 3));
    disk_submit(disk, 0, disk_request(OP_KV_GET, "a", NULL, 0));
    disk_submit(disk, 0, disk_request(OP_KV_DELETE, "missing", NULL, 0));
    disk->next[0]++; /* refused before it came to the engine */
    disk_submit(disk, 0, disk_request(OP_COUNTER_INCREMENT, "c", NULL, 4));
    disk_submit(disk, 0, disk_request(OP_SET_ADD, "s", "item", 0));
    disk_submit(disk, 1, disk_request(OP_COUNTER_INCREMENT, "c", NULL, INT64_MAX));
    disk_submit(disk, 1, disk_request(OP_FLAG_SET, "f", NULL, 1));
    disk->completing = die;
    disk_settle(disk);
}

/* What a store that died had kept. */
static struct reply kept(const struct disk_engine *disk, uint32_t channel, uint64_t sequence)
{
    const struct disk_answer *answer = disk_answer(disk, channel, sequence);
    assert_true(answer->kept);
    assert_false(answer->given);
    return answer->reply;
}

static void test_all_answers_are_kept_before_the_commit(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    assert_int_equal(WEXITSTATUS(disk_in_child(disk, batch_and_die)), 3);
    assert_int_equal(kept(disk, 0, 0).revision, 1);
    assert_int_equal(kept(disk, 0, 1).number, 3);
    assert_int_equal(kept(disk, 0, 2).value.len, 5);
    assert_int_equal(kept(disk, 0, 3).status, STATUS_NOT_FOUND);
    assert_int_equal(kept(disk, 0, 5).number, 7);
    assert_int_equal(kept(disk, 0, 6).value.len, 6);
    assert_int_equal(kept(disk, 1, 0).status, STATUS_OUT_OF_RANGE);
    assert_int_equal(kept(disk, 1, 1).number, 1);
    disk_open(disk);
    assert_int_equal(disk_engine.applied(disk->engine, 0), 7);
    assert_int_equal(disk_engine.applied(disk->engine, 1), 2);
    assert_int_equal(disk_engine.applied(disk->engine, 2), 0);
    /* A channel of another supervisor. */
    disk_engine.forget(disk->engine, 0);
    assert_int_equal(disk_engine.applied(disk->engine, 0), 0);
    disk_close(disk);
    disk_open(disk);
    assert_int_equal(disk_engine.applied(disk->engine, 0), 0);
    assert_int_equal(disk_engine.applied(disk->engine, 1), 2);
    disk_close(disk);
    disk_remove(&disk);
}

/* ---- Release 0.2.0 ---- */

static struct reply again(struct disk_engine *disk, uint64_t sequence, struct request request)
{
    struct engine_call call = {.channel = 1, .sequence = sequence, .request = request};
    disk_engine.replay(disk->engine, &call);
    return disk_answer(disk, 1, sequence)->reply;
}

/* It kept no answers, but wrote down those of the last batch, without values. */
static void test_the_results_of_0_2_0_are_given_again(void **state)
{
    (void)state;
    static const struct {
        struct channel_entry entry;
        struct channel_result results[5];
    } __attribute__((packed)) old = {{105, 100},
                                     {{STATUS_OK, 0, 8},
                                      {STATUS_NOT_FOUND, 0, 0},
                                      {CHANNEL_NO_RESULT, 0, 0},
                                      {STATUS_OK, 7, 9},
                                      {STATUS_OK, 0, 10}}};
    struct disk_engine *disk = disk_new();
    disk_open(disk);
    disk_do(disk, OP_SET_ADD, "s", "item", 0);
    engine_begin(disk->engine);
    MDB_val key = {11, "channel\1\0\0\0"}, value = {sizeof old, (void *)(uintptr_t)&old};
    assert_int_equal(
        mdb_put(disk->engine->work.txn, disk->engine->env.tables[TABLE_META], &key, &value, 0), 0);
    assert_int_equal(engine_commit(disk->engine, 0, 0), STATUS_OK);
    disk_close(disk);
    disk_open(disk);
    assert_int_equal(disk_engine.applied(disk->engine, 1), 105);
    assert_int_equal(again(disk, 99, disk_request(OP_KV_DELETE, "k", NULL, 0)).status,
                     STATUS_UNKNOWN);
    assert_int_equal(again(disk, 100, disk_request(OP_KV_PUT, "a", "value", 0)).revision, 8);
    assert_int_equal(again(disk, 101, disk_request(OP_KV_DELETE, "missing", NULL, 0)).status,
                     STATUS_NOT_FOUND);
    assert_int_equal(again(disk, 102, disk_request(OP_KV_PUT, "b", "staged", 0)).status,
                     STATUS_RESTAGE);
    assert_int_equal(again(disk, 103, disk_request(OP_COUNTER_INCREMENT, "c", NULL, 4)).number, 7);
    assert_int_equal(again(disk, 104, disk_request(OP_SET_ADD, "s", "item", 0)).value.len, 6);
    disk_close(disk);
    disk_remove(&disk);
}

static void put_and_die_before_commit(struct disk_engine *disk)
{
    disk_open(disk);
    disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 1);
    disk_submit(disk, 0, disk_request(OP_COUNTER_INCREMENT, "c", NULL, 1));
}

static void test_what_was_not_committed_is_not_there(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    disk_in_child(disk, put_and_die_before_commit);
    disk_open(disk);
    assert_int_equal(disk_engine.applied(disk->engine, 0), 1);
    assert_int_equal(disk_do(disk, OP_COUNTER_GET, "c", NULL, 0).number, 1);
    disk_close(disk);
    disk_remove(&disk);
}

/* ---- Sets ---- */

static void test_a_large_set_is_changed_in_place(void **state)
{
    (void)state;
    enum { ITEMS = 100000 };
    struct disk_engine *disk = disk_new();
    char item[32];
    disk->child.conf.disk_sync = SYNC_OFF;
    disk->child.conf.max_set = 4 << 20;
    disk_open(disk);
    /* Straight into the tables: each answer has all items, which would take long. */
    struct work work;
    uint64_t revision;
    engine_begin(disk->engine);
    work = disk->engine->work;
    struct set_root root = {.id = 7, .items = ITEMS, .packed = ITEMS * 17ull};
    for (int i = 0; i < ITEMS; i++) {
        snprintf(item, sizeof item, "item-%010d", i * 7919 % ITEMS);
        assert_int_equal(record_put_part(&work, root.id, bytes_of(item), (struct bytes){0}),
                         STATUS_OK);
    }
    assert_int_equal(record_put(&disk->engine->work,
                                (struct tx_key){.service = SERVICE_SET, .name = bytes_of("s")},
                                (struct bytes){(uint8_t *)&root, sizeof root}, 0, &revision),
                     STATUS_OK);
    assert_int_equal(engine_commit(disk->engine, 0, 0), STATUS_OK);
    struct reply all = disk_do(disk, OP_SET_GET, "s", NULL, 0);
    assert_int_equal(all.value.len, ITEMS * 17);
    disk_faults.written = 0;
    assert_int_equal(disk_do(disk, OP_SET_ADD, "s", "one more item..", 0).value.len,
                     (ITEMS + 1) * 17);
    assert_int_equal(disk_do(disk, OP_SET_REMOVE, "s", "item-0000000000", 0).value.len, ITEMS * 17);
    assert_true(disk_faults.written < 200000);
    disk_close(disk);
    disk_remove(&disk);
}

/* ---- Expiry and limits ---- */

static struct request cache_request(const char *key, const char *value, uint64_t expiry_ms)
{
    struct request request = disk_request(OP_CACHE_SET, key, value, 0);
    request.expiry_ms = expiry_ms;
    return request;
}

static size_t entries(struct disk_engine *disk, enum table table)
{
    MDB_stat stat;
    struct work work = engine_read(disk->engine);
    assert_int_equal(mdb_stat(work.txn, disk->engine->env.tables[table], &stat), 0);
    engine_stop_reading(disk->engine);
    return stat.ms_entries;
}

static void test_expiry(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    uint64_t now = clock_wall_ms();
    char key[KEY_MAX + 1] = "", text[32];
    disk_open(disk);
    disk_ask(disk, cache_request("gone", "x", now - 1));
    disk_ask(disk, cache_request("later", "x", now - 1));
    disk_ask(disk, cache_request("later", "y", now + 100000));
    disk_ask(disk, cache_request("ever", "z", now - 1));
    disk_ask(disk, cache_request("ever", "z", 0));
    memset(key, 'k', KEY_MAX);
    disk_ask(disk, cache_request(key, "long", now - 1));
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "many-%d", i);
        disk_submit(disk, 0, cache_request(text, "x", now - 5));
    }
    disk_settle(disk);
    assert_int_equal(disk_do(disk, OP_CACHE_GET, "gone", NULL, 0).status, STATUS_NOT_FOUND);
    assert_int_equal(disk_do(disk, OP_CACHE_GET, key, NULL, 0).status, STATUS_NOT_FOUND);
    assert_int_equal(entries(disk, (enum table)SERVICE_CACHE), 1004);
    assert_int_equal(entries(disk, TABLE_EXPIRY), 1003);
    int rounds = 1;
    while (disk_engine.tend(disk->engine, now))
        rounds++;
    assert_true(rounds >= 4);
    assert_int_equal(entries(disk, (enum table)SERVICE_CACHE), 2);
    assert_int_equal(entries(disk, TABLE_EXPIRY), 1);
    assert_reply(disk_do(disk, OP_CACHE_GET, "later", NULL, 0), STATUS_OK, "y");
    assert_reply(disk_do(disk, OP_CACHE_GET, "ever", NULL, 0), STATUS_OK, "z");
    disk_engine.tend(disk->engine, now + 100000);
    assert_int_equal(entries(disk, (enum table)SERVICE_CACHE), 1);
    assert_int_equal(entries(disk, TABLE_EXPIRY), 0);
    disk_close(disk);
    disk_remove(&disk);
}

static void test_limits(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    char key[KEY_MAX + 1] = "", item[KEY_MAX + 1] = "";
    size_t large = 16 << 20;
    char *value = malloc(large + 1);
    memset(key, 'k', KEY_MAX);
    memset(item, 'i', KEY_MAX);
    memset(value, 'v', large);
    value[large] = '\0';
    disk_open(disk);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(disk_do(disk, OP_KV_PUT, key, value, 0).status, STATUS_OK);
        assert_int_equal(disk_do(disk, OP_KV_GET, key, NULL, 0).value.len, large);
        assert_int_equal(disk_do(disk, OP_SET_ADD, key, item, 0).value.len, KEY_MAX + 2);
        assert_int_equal(disk_do(disk, OP_KV_PUT, "empty", "", 0).status, STATUS_OK);
        assert_reply(disk_do(disk, OP_KV_GET, "empty", NULL, 0), STATUS_OK, "");
        disk_close(disk);
        disk_open(disk);
    }
    /* Much in one round is committed on the way, for it is copied. */
    value[1 << 20] = '\0';
    for (int i = 0; i < 40; i++) {
        char name[32];
        snprintf(name, sizeof name, "large-%d", i);
        disk_submit(disk, 0, disk_request(OP_KV_PUT, name, value, 0));
    }
    assert_true(disk->engine->batch.bytes.len < (10 << 20));
    disk_settle(disk);
    assert_true(disk->engine->commits >= 5);
    assert_int_equal(disk_do(disk, OP_KV_GET, "large-39", NULL, 0).value.len, 1 << 20);
    free(value);
    disk_close(disk);
    disk_remove(&disk);
}

/* ---- Namespaces ---- */

static struct reply ask_in(struct disk_engine *disk, uint16_t namespace, enum op op,
                           const char *key, const char *value, int64_t number)
{
    struct request request = disk_request(op, key, value, number);
    request.namespace = namespace;
    return disk_ask(disk, request);
}

static const uint16_t namespaces[] = {0, 1, 0x6b76, UINT16_MAX}; /* one begins as a key may */
enum { NAMESPACES = 4 };

static void assert_namespaces(struct disk_engine *disk, int deleted)
{
    for (int i = 0; i < NAMESPACES; i++) {
        char value[32];
        uint16_t namespace = namespaces[i];
        snprintf(value, sizeof value, "of %u", namespace);
        if (i == deleted)
            assert_int_equal(ask_in(disk, namespace, OP_KV_GET, "key", NULL, 0).status,
                             STATUS_NOT_FOUND);
        else
            assert_reply(ask_in(disk, namespace, OP_KV_GET, "key", NULL, 0), STATUS_OK, value);
        assert_int_equal(ask_in(disk, namespace, OP_COUNTER_GET, "key", NULL, 0).number, i + 1);
        assert_int_equal(ask_in(disk, namespace, OP_SET_GET, "key", NULL, 0).value.len, 7);
    }
}

static void test_namespaces_do_not_mix(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    disk_open(disk);
    for (int i = 0; i < NAMESPACES; i++) {
        char value[32], item[32];
        snprintf(value, sizeof value, "of %u", namespaces[i]);
        snprintf(item, sizeof item, "%05u", namespaces[i]);
        assert_int_equal(ask_in(disk, namespaces[i], OP_KV_PUT, "key", value, 0).status, STATUS_OK);
        (void)ask_in(disk, namespaces[i], OP_COUNTER_INCREMENT, "key", NULL, i + 1);
        (void)ask_in(disk, namespaces[i], OP_SET_ADD, "key", item, 0);
    }
    assert_namespaces(disk, -1);
    disk_close(disk);
    disk_open(disk);
    assert_namespaces(disk, -1);
    assert_int_equal(ask_in(disk, 1, OP_KV_DELETE, "key", NULL, 0).status, STATUS_OK);
    assert_namespaces(disk, 1);
    assert_int_equal(ask_in(disk, 1, OP_KV_PUT, "key", "of 1", 0).status, STATUS_OK);
    assert_int_equal(ask_in(disk, 0, OP_KV_DELETE, "key", NULL, 0).status, STATUS_OK);
    assert_namespaces(disk, 0);
    disk_close(disk);
    disk_remove(&disk);
}

/* Each expires by its own time. */
static void test_namespaces_expire_apart(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    const uint64_t now_ms = clock_service_ms();
    disk_open(disk);
    for (int i = 0; i < NAMESPACES; i++) {
        struct request request = cache_request("key", "v", i % 2 ? now_ms + 1 : now_ms + 1000000);
        request.namespace = namespaces[i];
        assert_int_equal(disk_ask(disk, request).status, STATUS_OK);
    }
    while (clock_service_ms() <= now_ms + 1)
        usleep(1000);
    while (disk_engine.tend(disk->engine, clock_service_ms()))
        ;
    assert_int_equal(entries(disk, TABLE_EXPIRY), NAMESPACES / 2);
    assert_int_equal(entries(disk, (enum table)SERVICE_CACHE), 1);
    assert_int_equal(entries(disk, TABLE_NAMED), NAMESPACES / 2 - 1);
    for (int i = 0; i < NAMESPACES; i++)
        assert_int_equal(ask_in(disk, namespaces[i], OP_CACHE_GET, "key", NULL, 0).status,
                         i % 2 ? STATUS_NOT_FOUND : STATUS_OK);
    disk_close(disk);
    disk_remove(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_operation),
        cmocka_unit_test(test_all_is_there_when_opened_again),
        cmocka_unit_test(test_a_round_is_one_commit),
        cmocka_unit_test(test_all_answers_are_kept_before_the_commit),
        cmocka_unit_test(test_the_results_of_0_2_0_are_given_again),
        cmocka_unit_test(test_what_was_not_committed_is_not_there),
        cmocka_unit_test(test_a_large_set_is_changed_in_place),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_namespaces_do_not_mix),
        cmocka_unit_test(test_namespaces_expire_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
