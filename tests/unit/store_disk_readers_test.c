/* Other readers of the database: dead ones, old ones, too many of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "tests/unit/disk_engine.h"

enum { ALL = 1000 };

/* A program that looks into the database: it begins to read so many times, or until there is no
 * more room for that, and then waits. */
static pid_t start_reader(const struct disk_engine *disk, unsigned count)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        MDB_env *lmdb;
        MDB_txn *txn;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bool done = mdb_env_create(&lmdb) == 0 && mdb_env_set_mapsize(lmdb, 1 << 30) == 0 &&
                    mdb_env_open(lmdb, disk->child.conf.disk_path, MDB_RDONLY | MDB_NOTLS, 0) == 0;
        int code = 0;
        for (unsigned i = 0; done && code == 0 && i < count; i++)
            code = mdb_txn_begin(lmdb, NULL, MDB_RDONLY, &txn);
        done = done && code == (count == ALL ? MDB_READERS_FULL : 0);
        if (!done || write(ready[1], "r", 1) != 1)
            _exit(1);
        pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void end(pid_t pid)
{
    int status;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* With something in it. */
static struct disk_engine *open_small(void)
{
    struct disk_engine *disk = disk_new();
    disk->child.conf.disk_map_size = 32 << 20;
    disk->child.conf.disk_sync = SYNC_OFF;
    disk_open(disk);
    disk_do(disk, OP_KV_PUT, "first", "value", 0);
    disk_close(disk);
    return disk;
}

/* Overwrites 50 keys of 60 kB; returns how many of the overwrites were taken. */
static unsigned overwrite(struct disk_engine *disk, unsigned count)
{
    static uint8_t value[60000];
    char key[32];
    unsigned taken = 0;
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "key-%u", i % 50);
        taken += disk_ask(disk, (struct request){.op = OP_KV_PUT,
                                                 .key = bytes_of(key),
                                                 .value = {value, sizeof value}})
                     .status == STATUS_OK;
    }
    return taken;
}

static void test_a_dead_reader_pins_nothing(void **state)
{
    (void)state;
    struct disk_engine *disk = open_small();
    pid_t pid = start_reader(disk, 1);
    disk_open(disk);
    assert_int_equal(overwrite(disk, 100), 100);
    end(pid);
    assert_int_equal(overwrite(disk, 2000), 2000);
    assert_int_equal(disk->engine->env.readers.dead, 1);
    disk_close(disk);
    disk_remove(&disk);
}

/* It is refused while it must be, and not a moment longer. */
static void test_a_living_reader_pins_until_it_ends(void **state)
{
    (void)state;
    struct disk_engine *disk = open_small();
    pid_t pid = start_reader(disk, 1);
    disk_open(disk);
    unsigned taken = overwrite(disk, 1000);
    assert_in_range(taken, 200, 999);
    end(pid);
    assert_int_equal(overwrite(disk, 1000), 1000);
    disk_close(disk);
    disk_remove(&disk);
}

static void test_dead_readers_are_cleared_now_and_then(void **state)
{
    (void)state;
    struct disk_engine *disk = open_small();
    pid_t pid = start_reader(disk, 3);
    disk_open(disk);
    struct readers *readers = &disk->engine->env.readers;
    readers_tend(readers, disk->engine->env.lmdb, 1);
    assert_int_equal(readers->open, 3);
    end(pid);
    readers_tend(readers, disk->engine->env.lmdb, READERS_TEND_MS);
    assert_int_equal(readers->dead, 0);
    readers_tend(readers, disk->engine->env.lmdb, READERS_TEND_MS + 1);
    assert_int_equal(readers->dead, 3);
    assert_int_equal(readers->open, 0);
    disk_close(disk);
    disk_remove(&disk);
}

static void test_who_reads_something_old_is_named(void **state)
{
    (void)state;
    struct disk_engine *disk = open_small();
    pid_t pid = start_reader(disk, 1);
    disk_open(disk);
    struct readers *readers = &disk->engine->env.readers;
    uint64_t now = 1;
    readers_tend(readers, disk->engine->env.lmdb, now);
    assert_int_equal(readers->pid, 0); /* it reads what there is now: it keeps nothing */
    disk_do(disk, OP_KV_PUT, "a", "b", 0);
    readers_tend(readers, disk->engine->env.lmdb, now += READERS_TEND_MS);
    assert_int_equal(readers->pid, pid);
    assert_int_equal(readers->age_ms, 0);
    disk_do(disk, OP_KV_PUT, "a", "c", 0);
    readers_tend(readers, disk->engine->env.lmdb, now += READERS_OLD_MS - 1);
    assert_false(readers->told);
    readers_tend(readers, disk->engine->env.lmdb, now += READERS_TEND_MS);
    assert_true(readers->told);
    assert_int_equal(readers->age_ms, READERS_OLD_MS - 1 + READERS_TEND_MS);
    end(pid);
    readers_tend(readers, disk->engine->env.lmdb, now + READERS_TEND_MS);
    assert_int_equal(readers->pid, 0);
    assert_int_equal(readers->age_ms, 0);
    disk_close(disk);
    disk_remove(&disk);
}

/* ---- A full table ---- */

static struct engine_snapshot make_snapshot(struct disk_engine *disk)
{
    struct engine_snapshot result = {0};
    while (disk_engine.snapshot(disk->engine, "copy", &result) == STATUS_OK && !result.done)
        usleep(1000);
    return result;
}

static void test_a_snapshot_with_a_table_full_of_the_dead(void **state)
{
    (void)state;
    struct disk_engine *disk = open_small();
    disk_open(disk);
    disk_do(disk, OP_KV_GET, "first", NULL, 0); /* our own slot */
    pid_t pid = start_reader(disk, ALL);
    end(pid);
    struct engine_snapshot result = make_snapshot(disk);
    assert_true(result.done);
    disk_close(disk);
    disk_remove(&disk);
}

static void test_a_table_full_of_the_living(void **state)
{
    (void)state;
    struct disk_engine *disk = open_small();
    char expected[32];
    disk_open(disk);
    disk_do(disk, OP_KV_GET, "first", NULL, 0);
    pid_t pid = start_reader(disk, ALL);
    struct engine_snapshot result = make_snapshot(disk);
    assert_false(result.done);
    snprintf(expected, sizeof expected, " %d", pid);
    assert_non_null(strstr(result.error, expected));
    end(pid);
    result = make_snapshot(disk);
    assert_true(result.done);
    disk_close(disk);
    disk_remove(&disk);
}

/* One page, whose block is there before it is mapped. */
static void test_the_table_is_as_large_as_what_is_reserved(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    char path[ENV_PATH_MAX];
    struct stat info;
    disk_open(disk);
    env_path(disk->child.conf.disk_path, "lock.mdb", path);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, READERS_LOCK_SIZE);
    disk_close(disk);
    disk_remove(&disk);
}

/* What a killed backup has left, also when somebody has looked into it. */
static void test_leftovers_of_a_backup_go(void **state)
{
    (void)state;
    struct disk_engine *disk = open_small();
    assert_int_equal(chdir(disk->child.conf.disk_path), 0);
    assert_int_equal(system("mkdir -p snapshots/.copy snapshots/old && touch snapshots/x.tmp "
                            "snapshots/.copy/data.mdb snapshots/.copy/lock.mdb "
                            "snapshots/old/data.mdb snapshots/old/lock.mdb"),
                     0);
    disk_open(disk);
    assert_int_equal(system("test -z \"$(ls -A snapshots)\""), 0);
    assert_true(make_snapshot(disk).done);
    disk_close(disk);
    disk_remove(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_dead_reader_pins_nothing),
        cmocka_unit_test(test_a_living_reader_pins_until_it_ends),
        cmocka_unit_test(test_dead_readers_are_cleared_now_and_then),
        cmocka_unit_test(test_who_reads_something_old_is_named),
        cmocka_unit_test(test_a_snapshot_with_a_table_full_of_the_dead),
        cmocka_unit_test(test_a_table_full_of_the_living),
        cmocka_unit_test(test_the_table_is_as_large_as_what_is_reserved),
        cmocka_unit_test(test_leftovers_of_a_backup_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
