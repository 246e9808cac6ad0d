/* What a database of another release is: refused, completed, or brought to this one's formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/channel/channel.h"
#include "store/disk/formats.h"
#include "store/disk/steps.h"
#include "tests/unit/disk_engine.h"

enum { RECORDS = 3500 };

static struct disk_engine *disk;

static int set_up(void **state)
{
    (void)state;
    disk = disk_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    disk_remove(&disk);
    return 0;
}

static void just_open(struct disk_engine *opened)
{
    log_set_level(LOG_ERROR + 1);
    disk_open(opened);
}

static void assert_refused(void)
{
    int status = disk_in_child(disk, just_open);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), RUN_EXIT_CONFIG);
}

/* All of data.mdb. */
static struct buffer file_of(void)
{
    struct buffer whole = {0};
    char path[ENV_PATH_MAX];
    uint8_t piece[65536];
    env_path(disk->child.conf.disk_path, "data.mdb", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (ssize_t got; (got = read(fd, piece, sizeof piece)) > 0;)
        buffer_append(&whole, piece, (size_t)got);
    close(fd);
    return whole;
}

static void commit(void)
{
    disk->engine->work.changed = true;
    assert_int_equal(engine_commit(disk->engine, 0, 0), STATUS_OK);
}

static uint32_t number_of_all(void)
{
    MDB_val key = env_val(bytes_of("STRATO-DISK")), value;
    struct work work = engine_read(disk->engine);
    uint32_t number;
    assert_int_equal(mdb_get(work.txn, work.env->tables[TABLE_META], &key, &value), 0);
    assert_int_equal(value.mv_size, sizeof number);
    memcpy(&number, value.mv_data, sizeof number);
    engine_stop_reading(disk->engine);
    return number;
}

static uint32_t number_of(enum service service)
{
    struct work work = engine_read(disk->engine);
    uint32_t number = formats_of(work.env, work.txn, service);
    engine_stop_reading(disk->engine);
    return number;
}

static void put_number(enum service service, uint32_t number)
{
    engine_begin(disk->engine);
    assert_int_equal(
        formats_put(&disk->engine->env, disk->engine->work.txn, service, number, (struct bytes){0}),
        STATUS_OK);
    commit();
}

static void test_a_new_database_is_one_that_0_2_0_can_go_on_with(void **state)
{
    (void)state;
    disk_open(disk);
    assert_int_equal(number_of_all(), 1);
    for (int i = 0; i < SERVICE_COUNT; i++)
        assert_int_equal(number_of((enum service)i), 1);
    disk_close(disk);
}

/* Nothing in the file changes when it is refused. */
static void test_a_newer_service_is_refused(void **state)
{
    (void)state;
    disk_open(disk);
    assert_int_equal(disk_do(disk, OP_KV_PUT, "key", "value", 0).status, STATUS_OK);
    put_number(SERVICE_KV, 2);
    assert_int_equal(number_of_all(), 2); /* 0.2.0 looks at nothing else */
    disk_close(disk);
    struct buffer before = file_of();
    assert_refused();
    struct buffer after = file_of();
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    buffer_free(&before);
    buffer_free(&after);
}

/* As a release without that service left it. */
static void test_a_service_without_a_table_gets_one(void **state)
{
    (void)state;
    disk_open(disk);
    assert_int_equal(disk_do(disk, OP_KV_PUT, "key", "value", 0).status, STATUS_OK);
    engine_begin(disk->engine);
    assert_int_equal(mdb_drop(disk->engine->work.txn, disk->engine->env.tables[SERVICE_SET], 1), 0);
    commit();
    disk_close(disk);
    disk_open(disk);
    assert_reply(disk_do(disk, OP_KV_GET, "key", NULL, 0), STATUS_OK, "value");
    assert_int_equal(disk_do(disk, OP_SET_GET, "set", NULL, 0).status, STATUS_OK);
    assert_int_equal(disk_do(disk, OP_SET_ADD, "set", "item", 0).status, STATUS_OK);
    assert_int_equal(number_of_all(), 2);
    disk_close(disk);
    disk_open(disk);
    assert_int_equal(disk_do(disk, OP_SET_GET, "set", NULL, 0).value.len, 6);
    disk_close(disk);
}

/* A table that could not be made, for want of room: its service is empty and takes nothing. */
static void test_without_a_table_the_rest_goes_on(void **state)
{
    (void)state;
    disk_open(disk);
    MDB_dbi table = disk->engine->env.tables[SERVICE_KV];
    disk->engine->env.tables[SERVICE_KV] = 0;
    assert_int_equal(disk_do(disk, OP_KV_GET, "key", NULL, 0).status, STATUS_NOT_FOUND);
    assert_int_equal(disk_do(disk, OP_KV_PUT, "key", "value", 0).status, STATUS_FULL);
    assert_int_equal(disk_do(disk, OP_KV_DELETE, "key", NULL, 0).status, STATUS_NOT_FOUND);
    assert_int_equal(disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 1).status, STATUS_OK);
    disk->engine->env.tables[SERVICE_KV] = table;
    disk_close(disk);
}

/* ---- Steps ---- */

static int until_killed;

/* From 1 to 2: a value gets an end. */
static enum status add_end(struct tx *tx, struct tx_key key, const struct tx_item *item)
{
    char value[64];
    uint64_t revision;
    if (until_killed > 0 && --until_killed == 0)
        _exit(9);
    snprintf(value, sizeof value, "%.*s!", (int)item->value.len, (const char *)item->value.data);
    return tx_put(tx, key, bytes_of(value), item->expiry_ms, &revision);
}

static const struct step steps[] = {{SERVICE_KV, 1, add_end}, {0}};
static const uint32_t newest[SERVICE_COUNT] = {1, 1, 1, 3, 1}; /* from 2 to 3 nothing is to do */

static void step_until_killed(struct disk_engine *opened)
{
    until_killed = RECORDS - 100;
    disk_open(opened);
    steps_take(opened->engine, newest, steps);
}

/* Of every namespace some. */
static struct request request_for(enum op op, int number, const char *key, const char *value)
{
    static const uint16_t namespaces[] = {0, 1, UINT16_MAX};
    struct request request = disk_request(op, key, value, 0);
    request.namespace = namespaces[number % 3];
    return request;
}

static void test_a_step_is_carried_out_once_for_each_record(void **state)
{
    (void)state;
    char key[32], value[32];
    disk_open(disk);
    for (int i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        disk_submit(disk, 0, request_for(OP_KV_PUT, i, key, key));
        if (i % CHANNEL_SLOTS == 0)
            disk_settle(disk);
    }
    disk_settle(disk);
    disk_close(disk);
    assert_int_equal(WEXITSTATUS(disk_in_child(disk, step_until_killed)), 9);

    disk_open(disk);
    assert_int_equal(number_of_all(), 2);
    assert_int_equal(number_of(SERVICE_KV), 1);
    steps_take(disk->engine, newest, steps);
    assert_int_equal(number_of(SERVICE_KV), 3);
    for (int i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        snprintf(value, sizeof value, "key-%d!", i);
        assert_reply(disk_ask(disk, request_for(OP_KV_GET, i, key, NULL)), STATUS_OK, value);
    }
    disk_close(disk);
    assert_refused(); /* this release knows format 1 of KV */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_new_database_is_one_that_0_2_0_can_go_on_with,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_newer_service_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_service_without_a_table_gets_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_a_table_the_rest_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_step_is_carried_out_once_for_each_record, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
