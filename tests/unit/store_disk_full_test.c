/* No room in the map, no room on the disk, a disk that fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/disk_engine.h"
#include "tests/unit/disk_faults.h"

static uint8_t filler[1 << 20];

static enum status put(struct disk_engine *disk, unsigned number, size_t len)
{
    char key[32];
    snprintf(key, sizeof key, "key-%u", number);
    return disk_ask(disk,
                    (struct request){.op = OP_KV_PUT, .key = bytes_of(key), .value = {filler, len}})
        .status;
}

static enum status delete (struct disk_engine *disk, unsigned number) {
    char key[32]; snprintf(key, sizeof key, "key-%u", number);
    return disk_do(disk, OP_KV_DELETE, key, NULL, 0).status;
}

static enum status get(struct disk_engine *disk, unsigned number)
{
    char key[32];
    snprintf(key, sizeof key, "key-%u", number);
    return disk_do(disk, OP_KV_GET, key, NULL, 0).status;
}

/* Puts until one is refused; returns how many were taken. */
static unsigned fill(struct disk_engine *disk, unsigned first, size_t len)
{
    unsigned number = first;
    enum status status;
    while ((status = put(disk, number, len)) == STATUS_OK)
        number++;
    assert_int_equal(status, STATUS_FULL);
    return number - first;
}

static void check_full_and_not(struct disk_engine *disk, size_t len)
{
    unsigned count = fill(disk, 0, len);
    assert_true(count * len > (4 << 20));
    fill(disk, 5000000, 100); /* where no large one fits a small one may */
    assert_int_equal(disk_do(disk, OP_COUNTER_INCREMENT, "new", NULL, 1).status, STATUS_FULL);
    assert_int_equal(disk_do(disk, OP_SET_ADD, "new", "item", 0).status, STATUS_FULL);
    assert_int_equal(get(disk, count / 2), STATUS_OK);
    for (int round = 0; round < 2; round++) {
        /* All may be deleted, whatever else is asked in between. */
        for (unsigned i = 0; i < count; i++) {
            if (i % 16 == 0)
                (void)!put(disk, 1000000 + i, len);
            assert_int_equal(delete (disk, i), STATUS_OK);
        }
        for (unsigned i = 0; i < count; i++)
            (void)!delete (disk, 1000000 + i);
        assert_int_equal(disk_do(disk, OP_COUNTER_INCREMENT, "new", NULL, 1).status, STATUS_OK);
        unsigned again = fill(disk, 0, len);
        assert_true(again > count * 3 / 4);
        count = again;
    }
}

static void test_a_full_map(void **state)
{
    static const size_t lens[] = {100, 1000, 3000, 60000, 1000000};
    (void)state;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct disk_engine *disk = disk_new();
        disk->child.conf.disk_map_size = 16 << 20;
        disk->child.conf.disk_sync = SYNC_OFF;
        disk_open(disk);
        check_full_and_not(disk, lens[i]);
        disk_close(disk);
        disk_open(disk); /* a start needs no room */
        assert_int_equal(get(disk, 0), STATUS_OK);
        disk_close(disk);
        disk_remove(&disk);
    }
}

/* Rounds of many changes meet the end of the map in the middle. */
static void test_a_full_map_in_the_middle_of_a_round(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    unsigned taken = 0, next = 0;
    char key[32];
    disk->child.conf.disk_map_size = 16 << 20;
    disk->child.conf.disk_sync = SYNC_OFF;
    disk_open(disk);
    for (int round = 0; round < 40; round++) {
        uint64_t first = disk->next[0];
        for (int i = 0; i < 200; i++) {
            snprintf(key, sizeof key, "key-%u", next++);
            disk_submit(disk, 0,
                        (struct request){.op = OP_KV_PUT,
                                         .key = bytes_of(key),
                                         .value = {filler, (size_t)(i % 7 * 1000)}});
            snprintf(key, sizeof key, "key-%u", next / 2);
            if (i % 5 == 0)
                disk_submit(disk, 0, disk_request(OP_KV_DELETE, key, NULL, 0));
            disk_submit(disk, 0, disk_request(OP_KV_GET, key, NULL, 0));
        }
        disk_settle(disk);
        for (uint64_t i = first; i < disk->next[0]; i++) {
            assert_true(disk_answer(disk, 0, i)->given);
            taken += disk_answer(disk, 0, i)->reply.status == STATUS_OK;
        }
    }
    assert_true(taken > 2000);
    assert_true(disk->engine->refused > 0);
    disk_close(disk);
    disk_remove(&disk);
}

/* Noticed before anything is written, and over as soon as there is room. */
static void check_full_disk(struct disk_engine *disk, size_t len)
{
    disk_faults.space = 12 << 20;
    unsigned count = fill(disk, 0, len);
    for (unsigned i = 0; i < count; i += 2)
        assert_int_equal(delete (disk, i), STATUS_OK);
    assert_int_equal(get(disk, 1), STATUS_OK);
    assert_int_equal(put(disk, 0, len), STATUS_OK);
    fill(disk, 1000000, len);
    disk_faults.space = 24 << 20;
    assert_int_equal(put(disk, 2000000, len), STATUS_OK);
    disk_faults.space = 0;
}

static void test_a_full_disk(void **state)
{
    static const size_t lens[] = {100, 3000, 100000, 1000000};
    (void)state;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct disk_engine *disk = disk_new();
        disk->child.conf.disk_sync = SYNC_OFF;
        disk_open(disk);
        check_full_disk(disk, lens[i]);
        disk_close(disk);
        disk_remove(&disk);
    }
}

/* A file system that promises room and then has none. */
static void test_a_commit_without_room(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    disk_open(disk);
    disk_do(disk, OP_KV_PUT, "a", "before", 0);
    uint64_t first = disk->next[0];
    disk_submit(disk, 0, disk_request(OP_KV_PUT, "a", "after", 0));
    disk_submit(disk, 0, disk_request(OP_COUNTER_INCREMENT, "c", NULL, 1));
    disk_faults.write_error = ENOSPC;
    disk_settle(disk);
    disk_faults.write_error = 0;
    assert_int_equal(disk_answer(disk, 0, first)->reply.status, STATUS_FULL);
    assert_int_equal(disk_answer(disk, 0, first + 1)->reply.status, STATUS_FULL);
    assert_reply(disk_do(disk, OP_KV_GET, "a", NULL, 0), STATUS_OK, "before");
    assert_int_equal(disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 1).number, 1);
    assert_reply(disk_do(disk, OP_KV_PUT, "a", "after", 0), STATUS_OK, "");
    disk_close(disk);
    disk_remove(&disk);
}

/* One of many cannot be written, because of the process's file size limit: it is refused, the
 * others are done, and that with a few syncs. */
static void test_one_of_a_round_cannot_be_written(void **state)
{
    enum { COUNT = 400, BAD = 123 };
    (void)state;
    struct disk_engine *disk = disk_new();
    char key[32];
    disk_open(disk);
    uint64_t first = disk->next[0];
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        disk_submit(disk, 0,
                    (struct request){.op = OP_KV_PUT,
                                     .key = bytes_of(key),
                                     .value = {filler, i == BAD ? sizeof filler : 100}});
    }
    disk_submit(disk, 0, disk_request(OP_COUNTER_INCREMENT, "c", NULL, 1));
    disk_faults.longest = 512 << 10;
    disk_faults.syncs = 0;
    disk_settle(disk);
    assert_true(disk_faults.syncs < 30);
    for (uint64_t i = 0; i <= COUNT; i++)
        assert_int_equal(disk_answer(disk, 0, first + i)->reply.status,
                         i == BAD ? STATUS_FULL : STATUS_OK);
    disk_close(disk);
    disk_open(disk); /* a successor knows the same */
    assert_int_equal(disk_engine.applied(disk->engine, 0), first + COUNT + 1);
    assert_int_equal(disk_do(disk, OP_COUNTER_GET, "c", NULL, 0).number, 1);
    assert_int_equal(get(disk, BAD), STATUS_NOT_FOUND);
    assert_int_equal(get(disk, BAD + 1), STATUS_OK);
    disk_faults.longest = 0;
    assert_int_equal(put(disk, BAD, sizeof filler), STATUS_OK);
    disk_close(disk);
    disk_remove(&disk);
}

/* All channels are new, and there is no room to write that down: reads are answered. */
static void test_a_start_without_room(void **state)
{
    (void)state;
    struct disk_engine *disk = disk_new();
    disk_open(disk);
    for (int i = 0; i < 5; i++)
        assert_int_equal(put(disk, (unsigned)i, 100), STATUS_OK);
    disk_close(disk);
    disk_faults.write_error = ENOSPC;
    disk_open(disk);
    disk_engine.forget(disk->engine, 0);
    assert_int_equal(disk_engine.applied(disk->engine, 0), 0);
    disk->next[0] = 0;
    assert_int_equal(get(disk, 1), STATUS_OK);
    assert_int_equal(put(disk, 7, 100), STATUS_FULL);
    disk_faults.write_error = 0;
    assert_int_equal(disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 1).status, STATUS_OK);
    disk_close(disk);
    disk_open(disk);
    assert_int_equal(disk_engine.applied(disk->engine, 0), 3);
    disk_close(disk);
    disk_remove(&disk);
}

/* ---- Errors that end the process ---- */

static struct {
    int write_error, sync_error;
} failing;

static void die(void)
{
    _exit(9); /* it answered */
}

static void add_and_fail(struct disk_engine *disk)
{
    disk_open(disk);
    disk_do(disk, OP_COUNTER_INCREMENT, "c", NULL, 1);
    disk->completing = die;
    log_set_level(LOG_ERROR + 1);
    disk_submit(disk, 0, disk_request(OP_COUNTER_INCREMENT, "c", NULL, 1));
    disk_faults.write_error = failing.write_error;
    disk_faults.sync_error = failing.sync_error;
    disk_settle(disk);
}

static void check_end(int write_error, int sync_error)
{
    struct disk_engine *disk = disk_new();
    failing.write_error = write_error;
    failing.sync_error = sync_error;
    int status = disk_in_child(disk, add_and_fail);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), RUN_EXIT_FAILURE);
    disk_open(disk);
    assert_int_equal(disk_engine.applied(disk->engine, 0), 1);
    assert_int_equal(disk_do(disk, OP_COUNTER_GET, "c", NULL, 0).number, 1);
    disk_close(disk);
    disk_remove(&disk);
}

static void test_io_errors(void **state)
{
    (void)state;
    check_end(EIO, 0);
    check_end(0, EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_map),
        cmocka_unit_test(test_a_full_map_in_the_middle_of_a_round),
        cmocka_unit_test(test_a_full_disk),
        cmocka_unit_test(test_a_commit_without_room),
        cmocka_unit_test(test_one_of_a_round_cannot_be_written),
        cmocka_unit_test(test_a_start_without_room),
        cmocka_unit_test(test_io_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
