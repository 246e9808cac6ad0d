/* A database with things in it that Strato did not write: each costs itself only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/disk_engine.h"

static struct disk_engine *open_new(void)
{
    struct disk_engine *disk = disk_new();
    disk->child.conf.disk_sync = SYNC_OFF;
    log_set_level(LOG_ERROR + 1);
    disk_open(disk);
    return disk;
}

static void reopen(struct disk_engine *disk)
{
    log_set_level(LOG_ERROR + 1);
    disk_close(disk);
    /* Nor may the arena know better. */
    assert_int_equal(ftruncate(RUN_FD_ARENA, 0), 0);
    assert_int_equal(ftruncate(RUN_FD_ARENA, 16 << 20), 0);
    disk_open(disk);
}

static void remove_it(struct disk_engine **disk)
{
    disk_close(*disk);
    disk_remove(disk);
}

/* Puts bytes straight into a table. */
static void plant(struct disk_engine *disk, unsigned table, struct bytes key, const void *value,
                  size_t len)
{
    engine_begin(disk->engine);
    MDB_val at = env_val(key), to = {len, (void *)(uintptr_t)value};
    assert_int_equal(mdb_put(disk->engine->work.txn, disk->engine->env.tables[table], &at, &to, 0),
                     0);
    assert_int_equal(engine_commit(disk->engine, 0, 0), STATUS_OK);
}

/* A record with a header of its own. */
static void plant_record(struct disk_engine *disk, enum service service, const char *key,
                         struct record_header header, const void *value, size_t len)
{
    uint8_t data[256];
    assert_true(sizeof header + len <= sizeof data);
    memcpy(data, &header, sizeof header);
    if (len > 0)
        memcpy(data + sizeof header, value, len);
    plant(disk, service, bytes_of(key), data, sizeof header + len);
}

static const struct record_header good = {.format = RECORD_FORMAT, .revision = 1};

/* The neighbours of what is damaged are as they should be. */
static void check_others(struct disk_engine *disk)
{
    disk_do(disk, OP_KV_PUT, "other", "value", 0);
    assert_reply(disk_do(disk, OP_KV_GET, "other", NULL, 0), STATUS_OK, "value");
    assert_int_equal(disk_do(disk, OP_COUNTER_INCREMENT, "other", NULL, 1).status, STATUS_OK);
    assert_int_equal(disk_do(disk, OP_SET_ADD, "other", "item", 0).status, STATUS_OK);
}

static void test_records_of_no_sense(void **state)
{
    static const struct record_header bad[] = {
        {.format = 0, .revision = 1},
        {.format = 99, .revision = 1},
        {.format = RECORD_FORMAT, .revision = 0},
        {.format = RECORD_FORMAT, .revision = UINT64_MAX},
    };
    (void)state;
    struct disk_engine *disk = open_new();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        plant_record(disk, SERVICE_KV, "k", bad[i], "value", 5);
        plant_record(disk, SERVICE_COUNTER, "k", bad[i], "\1\0\0\0\0\0\0\0", 8);
        assert_int_equal(disk_do(disk, OP_KV_GET, "k", NULL, 0).status, STATUS_DAMAGED);
        assert_int_equal(disk_do(disk, OP_COUNTER_GET, "k", NULL, 0).status, STATUS_DAMAGED);
        assert_int_equal(disk_do(disk, OP_COUNTER_INCREMENT, "k", NULL, 1).status, STATUS_DAMAGED);
        check_others(disk);
        assert_true(disk->engine->env.damaged >= 3);
        /* It can be deleted, and put anew. */
        assert_int_equal(disk_do(disk, OP_KV_DELETE, "k", NULL, 0).status, STATUS_OK);
        assert_int_equal(disk_do(disk, OP_KV_GET, "k", NULL, 0).status, STATUS_NOT_FOUND);
        plant_record(disk, SERVICE_KV, "p", bad[i], "value", 5);
        assert_int_equal(disk_do(disk, OP_KV_PUT, "p", "new", 0).status, STATUS_OK);
        assert_reply(disk_do(disk, OP_KV_GET, "p", NULL, 0), STATUS_OK, "new");
    }
    for (size_t len = 0; len < sizeof good; len++) {
        plant(disk, SERVICE_CACHE, bytes_of("short"), &good, len);
        assert_int_equal(disk_do(disk, OP_CACHE_GET, "short", NULL, 0).status, STATUS_DAMAGED);
    }
    remove_it(&disk);
}

static void test_values_of_the_wrong_length(void **state)
{
    static const uint8_t bytes[16] = {2};
    (void)state;
    struct disk_engine *disk = open_new();
    for (size_t len = 0; len < sizeof bytes; len++) {
        plant_record(disk, SERVICE_COUNTER, "c", good, bytes, len);
        enum status expected = len == 8 ? STATUS_OK : STATUS_DAMAGED;
        assert_int_equal(disk_do(disk, OP_COUNTER_GET, "c", NULL, 0).status, expected);
        plant_record(disk, SERVICE_FLAG, "f", good, bytes, len);
        assert_int_equal(disk_do(disk, OP_FLAG_GET, "f", NULL, 0).status, STATUS_DAMAGED);
        assert_int_equal(disk_do(disk, OP_FLAG_SET, "f", NULL, 1).status, STATUS_OK);
        plant_record(disk, SERVICE_SET, "s", good, bytes, len);
        assert_int_equal(disk_do(disk, OP_SET_GET, "s", NULL, 0).status, STATUS_DAMAGED);
        assert_int_equal(disk_do(disk, OP_SET_ADD, "s", "i", 0).status, STATUS_DAMAGED);
        assert_int_equal(disk_do(disk, OP_SET_REMOVE, "s", "i", 0).status, STATUS_DAMAGED);
        reopen(disk); /* for the arena */
    }
    check_others(disk);
    remove_it(&disk);
}

static void test_roots_of_sets(void **state)
{
    static const struct set_root roots[] = {
        {0, 1, 3},
        {1, 0, 0},
        {1, 1, 0},
        {1, 1, UINT64_MAX},
        {1, UINT64_MAX, UINT64_MAX},
        {1, UINT64_MAX / 3, UINT64_MAX / 3 * 3},
        {1, 1ull << 40, 3ull << 40},
        {1, 1, 483},
        {1, 3, 9}, /* one more than there are */
        {1, 1, 3}, /* one less */
        {1, 2, 7}, /* other bytes */
        {2, 2, 6}, /* another set's, or none */
        {UINT64_MAX, 2, 6},
        {1ull << 61, 2, 6},
    };
    (void)state;
    struct disk_engine *disk = open_new();
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        disk_do(disk, OP_SET_ADD, "s", "a", 0);
        disk_do(disk, OP_SET_ADD, "s", "b", 0);
        plant_record(disk, SERVICE_SET, "s", good, &roots[i], sizeof roots[i]);
        reopen(disk);
        assert_int_equal(disk_do(disk, OP_SET_GET, "s", NULL, 0).status, STATUS_DAMAGED);
        enum status status = disk_do(disk, OP_SET_ADD, "s", "c", 0).status;
        if (status != STATUS_TOO_LARGE || roots[i].packed < disk->child.conf.max_set)
            assert_int_equal(status, STATUS_DAMAGED);
        assert_int_equal(disk_do(disk, OP_SET_REMOVE, "s", "a", 0).status, STATUS_DAMAGED);
        check_others(disk);
        engine_begin(disk->engine);
        struct bytes key = bytes_of("s");
        MDB_val at = env_val(key);
        assert_int_equal(
            mdb_del(disk->engine->work.txn, disk->engine->env.tables[SERVICE_SET], &at, NULL), 0);
        assert_int_equal(mdb_drop(disk->engine->work.txn, disk->engine->env.tables[TABLE_ITEM], 0),
                         0);
        disk->engine->state.set_id = 0;
        assert_int_equal(engine_commit(disk->engine, 0, 0), STATUS_OK);
        disk_do(disk, OP_KV_PUT, "x", "y", 0);
        engine_begin(disk->engine);
        assert_int_equal(mdb_drop(disk->engine->work.txn, disk->engine->env.tables[SERVICE_SET], 0),
                         0);
        assert_int_equal(engine_commit(disk->engine, 0, 0), STATUS_OK);
        reopen(disk);
    }
    remove_it(&disk);
}

static void test_items_of_no_sense(void **state)
{
    (void)state;
    struct disk_engine *disk = open_new();
    disk_do(disk, OP_SET_ADD, "s", "a", 0);
    plant(disk, TABLE_ITEM, (struct bytes){(const uint8_t *)"\0\0\0\0\0\0\0\1", 8}, "", 0);
    plant(disk, TABLE_ITEM, (struct bytes){(const uint8_t *)"\0\0", 2}, "", 0);
    plant(disk, TABLE_ITEM, (struct bytes){(const uint8_t *)"\377", 1}, "", 0);
    reopen(disk);
    assert_int_equal(disk_do(disk, OP_SET_GET, "s", NULL, 0).status, STATUS_DAMAGED);
    check_others(disk);
    remove_it(&disk);
}

/* A change of a damaged set is in a round with good ones. */
static void test_damage_in_a_round(void **state)
{
    static const struct set_root root = {1, 7, 21};
    (void)state;
    struct disk_engine *disk = open_new();
    disk_do(disk, OP_SET_ADD, "s", "a", 0);
    plant_record(disk, SERVICE_SET, "s", good, &root, sizeof root);
    uint64_t first = disk->next[0];
    disk_submit(disk, 0, disk_request(OP_COUNTER_INCREMENT, "c", NULL, 1));
    disk_submit(disk, 1, disk_request(OP_SET_ADD, "s", "b", 0));
    disk_submit(disk, 0, disk_request(OP_COUNTER_INCREMENT, "c", NULL, 1));
    disk_settle(disk);
    assert_int_equal(disk_answer(disk, 0, first)->reply.number, 1);
    assert_int_equal(disk_answer(disk, 0, first + 1)->reply.number, 2);
    assert_int_equal(disk_answer(disk, 1, 0)->reply.status, STATUS_DAMAGED);
    remove_it(&disk);
}

static void test_the_index_of_times(void **state)
{
    static uint8_t keys[][511] = {
        {0}, {0, 0, 0, 0, 0, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 2, 77, 1}, {1}};
    static const size_t lens[] = {1, 8, 10, 3};
    (void)state;
    struct disk_engine *disk = open_new();
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
        plant(disk, TABLE_EXPIRY, (struct bytes){keys[i], lens[i]}, "", 0);
    plant(disk, TABLE_EXPIRY, (struct bytes){keys[1], 511}, "", 0);
    plant(disk, TABLE_EXPIRY, (struct bytes){keys[1], 9}, "", 0);
    disk_engine.tend(disk->engine, clock_wall_ms());
    MDB_stat stat;
    struct work work = engine_read(disk->engine);
    assert_int_equal(mdb_stat(work.txn, disk->engine->env.tables[TABLE_EXPIRY], &stat), 0);
    assert_int_equal(stat.ms_entries, 0);
    engine_stop_reading(disk->engine);
    check_others(disk);
    remove_it(&disk);
}

static void test_state_is_found_again(void **state)
{
    static const struct state states[] = {
        {UINT64_MAX, UINT64_MAX}, {1ull << 63, 1}, {100, 0}, {100, UINT64_MAX}, {0, 0}};
    (void)state;
    struct disk_engine *disk = open_new();
    for (int i = 0; i < 20; i++)
        disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 1);
    uint64_t revision = disk_do(disk, OP_SET_ADD, "s", "a", 0).revision;
    for (size_t i = 0; i <= sizeof states / sizeof *states; i++) {
        size_t len = i < sizeof states / sizeof *states ? sizeof states[0] : 3;
        disk_settle(disk);
        plant(disk, TABLE_META, bytes_of("state"), &states[i % 5], len);
        /* the commit wrote the state again, so once more without one */
        MDB_txn *txn;
        struct bytes name = bytes_of("state");
        MDB_val key = env_val(name), value = {len, (void *)(uintptr_t)&states[i % 5]};
        assert_int_equal(mdb_txn_begin(disk->engine->env.lmdb, NULL, 0, &txn), 0);
        assert_int_equal(mdb_put(txn, disk->engine->env.tables[TABLE_META], &key, &value, 0), 0);
        assert_int_equal(mdb_txn_commit(txn), 0);
        reopen(disk);
        struct reply reply = disk_do(disk, OP_SET_ADD, "s", i % 2 ? "b" : "c", 0);
        assert_int_equal(reply.status, STATUS_OK);
        char other[16];
        snprintf(other, sizeof other, "other-%zu", i);
        reply = disk_do(disk, OP_SET_ADD, other, "x", 0);
        assert_int_equal(reply.status, STATUS_OK);
        assert_int_equal(reply.value.len, 2 + 1); /* it alone */
        assert_true(reply.revision > revision);
        revision = reply.revision;
    }
    remove_it(&disk);
}

static void test_channels_of_no_sense(void **state)
{
    static const uint64_t heads[][2] = {
        {UINT64_MAX, UINT64_MAX}, {UINT64_MAX, 0}, {5, 5}, {0, 1}, {1, 1}};
    (void)state;
    struct disk_engine *disk = open_new();
    uint8_t value[16 + 600 * 17] = {0};
    const size_t lens[] = {0, 1, 16, 17, 16 + 17, 16 + 600 * 17};
    for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
        for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
            memcpy(value, heads[h], 16);
            plant(disk, TABLE_META, (struct bytes){(const uint8_t *)"channel\1\0\0\0", 11}, value,
                  lens[i]);
            reopen(disk);
            uint64_t applied = disk_engine.applied(disk->engine, 1);
            struct reply reply;
            for (uint64_t n = 0; n < 10; n++)
                (void)channels_result(disk->engine->channels, 1, n, &reply);
            assert_true(applied == 0 || applied == heads[h][0]);
            if (lens[i] != 16)
                assert_true(applied <= 600);
        }
    value[0] = 1; /* applied */
    memset(value + 1, 0, 15);
    value[16] = 200; /* no status */
    plant(disk, TABLE_META, (struct bytes){(const uint8_t *)"channel\1\0\0\0", 11}, value, 33);
    reopen(disk);
    assert_int_equal(disk_engine.applied(disk->engine, 1), 0);
    check_others(disk);
    remove_it(&disk);
}

/* ---- The file ---- */

static void just_open(struct disk_engine *disk)
{
    int nowhere = open("/dev/null", O_WRONLY); /* or the reason goes into some file of ours */
    dup2(nowhere, RUN_FD_STATUS);
    log_set_level(LOG_ERROR + 1);
    disk_open(disk);
}

static void scribble(const struct disk_engine *disk, off_t at, const void *data, size_t len)
{
    char path[ENV_PATH_MAX];
    env_path(disk->child.conf.disk_path, "data.mdb", path);
    int fd = open(path, O_RDWR);
    for (off_t page = 0; page < 2 * 4096; page += 4096)
        assert_int_equal(pwrite(fd, data, len, page + at), (ssize_t)len);
    close(fd);
}

/* It ends in good order, and not by a signal. */
static void assert_refused(struct disk_engine *disk)
{
    int status = disk_in_child(disk, just_open);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), RUN_EXIT_CONFIG);
}

static void test_the_head_of_the_file(void **state)
{
    static const uint32_t sizes[] = {0, 1, 3, 255, 4097, 1u << 31, UINT32_MAX};
    static const uint64_t pages[] = {UINT64_MAX, UINT64_MAX - 1, 1ull << 52, 1ull << 40};
    static const uint32_t version = 999;
    (void)state;
    struct disk_engine *disk = open_new();
    disk_do(disk, OP_KV_PUT, "k", "v", 0);
    disk_close(disk);
    const uint32_t size = 4096;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        scribble(disk, 40, &sizes[i], 4);
        assert_refused(disk);
    }
    scribble(disk, 40, &size, 4);
    scribble(disk, 20, &version, 4);
    assert_refused(disk);
    scribble(disk, 20, &(uint32_t){1}, 4);
    assert_int_equal(disk_in_child(disk, just_open), 0);
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        scribble(disk, 136, &pages[i], 8);
        assert_refused(disk);
    }
    disk_remove(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_of_no_sense),
        cmocka_unit_test(test_values_of_the_wrong_length),
        cmocka_unit_test(test_roots_of_sets),
        cmocka_unit_test(test_items_of_no_sense),
        cmocka_unit_test(test_damage_in_a_round),
        cmocka_unit_test(test_the_index_of_times),
        cmocka_unit_test(test_state_is_found_again),
        cmocka_unit_test(test_channels_of_no_sense),
        cmocka_unit_test(test_the_head_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
