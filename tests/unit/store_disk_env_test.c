/* The data directory: made, locked, checked; and what is found there after a power loss. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "tests/unit/disk_engine.h"
#include "tests/unit/disk_faults.h"

static void just_open(struct disk_engine *disk)
{
    log_set_level(LOG_ERROR + 1);
    disk_open(disk);
}

static void assert_refused(struct disk_engine *disk)
{
    int status = disk_in_child(disk, just_open);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), RUN_EXIT_CONFIG);
}

static void assert_opens(struct disk_engine *disk)
{
    assert_int_equal(disk_in_child(disk, just_open), 0);
}

static void write_file(const struct disk_engine *disk, const char *name, const char *text)
{
    char path[ENV_PATH_MAX];
    env_path(disk->child.conf.disk_path, name, path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_it_is_made_with_safe_permissions(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    struct stat info;
    char path[ENV_PATH_MAX];
    snprintf(disk->child.conf.disk_path, CONF_TEXT_MAX, "%s/a/b/c", disk->directory);
    disk_open(disk);
    assert_int_equal(stat(disk->child.conf.disk_path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    env_path(disk->child.conf.disk_path, "data.mdb", path);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    disk_close(disk);
    disk_remove(&disk);
}

static void test_a_second_one_is_refused(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    disk_open(disk);
    struct engine *first = disk->engine;
    assert_refused(disk);
    disk->engine = first;
    disk_close(disk);
    assert_opens(disk);
    disk_remove(&disk);
}

static void test_what_is_not_ours_is_refused(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    assert_int_equal(mkdir(disk->child.conf.disk_path, 0700), 0);
    write_file(disk, "letter.txt", "dear reader");
    assert_refused(disk);
    write_file(disk, "data.mdb", "this is no database, but it is a rather long text: ");
    assert_refused(disk);
    disk_remove(&disk);

    disk = disk_new();
    assert_int_equal(mkdir(disk->child.conf.disk_path, 0700), 0);
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi table;
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 4), 0);
    assert_int_equal(mdb_env_open(env, disk->child.conf.disk_path, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "theirs", MDB_CREATE, &table), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    assert_refused(disk);
    disk_remove(&disk);
}

static void change_format(struct disk_engine *disk)
{
    uint32_t format = 99;
    MDB_val key = {11, (void *)(uintptr_t) "STRATO-DISK"}, value = {sizeof format, &format};
    disk_open(disk);
    engine_begin(disk->engine);
    mdb_put(disk->engine->work.txn, disk->engine->env.tables[TABLE_META], &key, &value, 0);
    if (engine_commit(disk->engine, 0, 0) != STATUS_OK)
        _exit(1);
}

static void test_another_format_is_refused(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    assert_opens(disk);
    assert_int_equal(disk_in_child(disk, change_format), 0);
    assert_refused(disk);
    disk_remove(&disk);
}

static void put_much(struct disk_engine *disk)
{
    static uint8_t value[2 << 20];
    disk_open(disk);
    disk_ask(disk, (struct request){
                       .op = OP_KV_PUT, .key = bytes_of("much"), .value = {value, sizeof value}});
}

static void test_a_file_cut_short_is_refused(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    char path[ENV_PATH_MAX];
    assert_int_equal(disk_in_child(disk, put_much), 0);
    env_path(disk->child.conf.disk_path, "data.mdb", path);
    assert_int_equal(truncate(path, 3 * 4096), 0);
    assert_refused(disk);
    disk_remove(&disk);
}

static void test_an_unfinished_first_start_is_finished(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    MDB_env *env;
    assert_int_equal(mkdir(disk->child.conf.disk_path, 0700), 0);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, disk->child.conf.disk_path, 0, 0600), 0);
    mdb_env_close(env);
    assert_opens(disk);
    assert_opens(disk);
    disk_remove(&disk);
}

/* ---- Without a sync for each commit ---- */

static void count_until_synced_and_on(struct disk_engine *disk)
{
    disk_open(disk);
    disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 1);
    while (flush_last_ns(disk->engine->env.flush) == 0 || flush_pinned(disk->engine->env.flush) < 2)
        usleep(1000);
    /* From here on nothing is synced any more. */
    disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 1);
    for (int i = 0; i < 200; i++)
        disk_do(disk, OP_COUNTER_INCREMENT, "d", NULL, 1);
}

static void write_boot_id(struct disk_engine *disk, const char *id, char path[ENV_PATH_MAX])
{
    env_path(disk->directory, "boot_id", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%s\n", id);
    fclose(file);
    disk_faults.boot_id = path;
}

static void test_interval_goes_back_to_the_last_sync(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    char path[ENV_PATH_MAX];
    disk->child.conf.disk_sync = SYNC_INTERVAL;
    disk->child.conf.disk_sync_interval_ms = 300;
    write_boot_id(disk, "first", path);
    assert_int_equal(disk_in_child(disk, count_until_synced_and_on), 0);
    disk_open(disk); /* the same boot: the process died, and nothing is lost */
    assert_int_equal(disk_do(disk, OP_COUNTER_GET, "c", NULL, 0).number, 2);
    assert_int_equal(disk_do(disk, OP_COUNTER_GET, "d", NULL, 0).number, 200);
    disk_close(disk);

    assert_int_equal(disk_in_child(disk, count_until_synced_and_on), 0);
    write_boot_id(disk, "second", path);
    disk->child.conf.disk_sync = SYNC_COMMIT; /* whatever it is now */
    log_set_level(LOG_ERROR);
    disk_open(disk);
    int64_t c = disk_do(disk, OP_COUNTER_GET, "c", NULL, 0).number;
    int64_t d = disk_do(disk, OP_COUNTER_GET, "d", NULL, 0).number;
    /* Some moment of the second run, usually the one before its last changes. */
    assert_true((c >= 2 && c < 4 && d == 200) || (c == 4 && d >= 200 && d <= 400));
    disk_close(disk);
    disk_faults.boot_id = NULL;
    disk_remove(&disk);
}

static void count_and_die(struct disk_engine *disk)
{
    disk_open(disk);
    disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 1);
}

static void test_off_is_refused_after_a_power_loss(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    char path[ENV_PATH_MAX], unsynced[ENV_PATH_MAX];
    disk->child.conf.disk_sync = SYNC_OFF;
    write_boot_id(disk, "first", path);
    assert_int_equal(disk_in_child(disk, count_and_die), 0);
    assert_int_equal(disk_in_child(disk, count_and_die), 0);
    write_boot_id(disk, "second", path);
    assert_refused(disk);
    env_path(disk->child.conf.disk_path, "unsynced", unsynced);
    assert_int_equal(unlink(unsynced), 0); /* at the operator's risk */
    disk_open(disk);
    assert_int_equal(disk_do(disk, OP_COUNTER_GET, "c", NULL, 0).number, 2);
    disk_close(disk);
    assert_int_not_equal(access(unsynced, F_OK), 0); /* after a stop in order all is synced */
    write_boot_id(disk, "third", path);
    assert_opens(disk);
    disk_faults.boot_id = NULL;
    disk_remove(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_made_with_safe_permissions),
        cmocka_unit_test(test_a_second_one_is_refused),
        cmocka_unit_test(test_what_is_not_ours_is_refused),
        cmocka_unit_test(test_another_format_is_refused),
        cmocka_unit_test(test_a_file_cut_short_is_refused),
        cmocka_unit_test(test_an_unfinished_first_start_is_finished),
        cmocka_unit_test(test_interval_goes_back_to_the_last_sync),
        cmocka_unit_test(test_off_is_refused_after_a_power_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
