/* LMDB's files are read as LMDB itself reads them, and damaged ones are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/disk/env.h"
#include "store/inspect/pages.h"

enum { RECORDS = 3000, VALUE_MAX = 20000 };

static char directory[64];

static void must(int code)
{
    if (code != MDB_SUCCESS)
        fail_msg("%s", mdb_strerror(code));
}

static size_t value_len(unsigned i)
{
    return i % 50 == 0 ? VALUE_MAX - i : i % 97;
}

static void put_all(MDB_env *env)
{
    static uint8_t value[VALUE_MAX];
    MDB_txn *txn;
    MDB_dbi table;
    must(mdb_txn_begin(env, NULL, 0, &txn));
    must(mdb_dbi_open(txn, "kv", MDB_CREATE, &table));
    for (unsigned i = 0; i < RECORDS; i++) {
        char key[32];
        int len = snprintf(key, sizeof key, "key-%u", i * 7919 % RECORDS);
        memset(value, (int)i, sizeof value);
        MDB_val k = {(size_t)len, key}, v = {value_len(i), value};
        must(mdb_put(txn, table, &k, &v, 0));
    }
    must(mdb_txn_commit(txn));
    must(mdb_txn_begin(env, NULL, 0, &txn));
    for (unsigned i = 0; i < RECORDS; i += 3) {
        char key[32];
        int len = snprintf(key, sizeof key, "key-%u", i);
        MDB_val k = {(size_t)len, key};
        must(mdb_del(txn, table, &k, NULL));
    }
    must(mdb_txn_commit(txn));
}

static MDB_env *open_database(void)
{
    MDB_env *env;
    must(mdb_env_create(&env));
    must(mdb_env_set_maxdbs(env, 4));
    must(mdb_env_set_mapsize(env, 64 << 20));
    must(mdb_env_open(env, directory, MDB_NOSYNC, 0600));
    return env;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/strato-pages-XXXXXX");
    assert_non_null(mkdtemp(directory));
    return 0;
}

static int tear_down(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

static struct input open_input(void)
{
    char path[100], reason[200] = "";
    struct input input;
    snprintf(path, sizeof path, "%s/data.mdb", directory);
    if (!input_open(&input, path, reason, sizeof reason))
        fail_msg("%s", reason);
    return input;
}

static bool take_tree(void *context, const struct pages_item *item)
{
    assert_int_equal(item->value.len, sizeof(struct pages_tree));
    memcpy(context, item->value.data, sizeof(struct pages_tree));
    return true;
}

struct comparison {
    const struct pages *pages;
    MDB_cursor *cursor;
    MDB_cursor_op next;
    unsigned count;
};

static bool same(void *context, const struct pages_item *item)
{
    static uint8_t value[VALUE_MAX];
    struct comparison *comparison = context;
    MDB_val key, expected;
    must(mdb_cursor_get(comparison->cursor, &key, &expected, comparison->next));
    comparison->next = MDB_NEXT;
    comparison->count++;
    assert_int_equal(item->key.len, key.mv_size);
    assert_memory_equal(item->key.data, key.mv_data, key.mv_size);
    assert_int_equal(item->value_len, expected.mv_size);
    assert_int_equal(pages_value(comparison->pages, item, value, sizeof value), expected.mv_size);
    assert_memory_equal(value, expected.mv_data, expected.mv_size);
    return true;
}

static void test_reads_what_lmdb_reads(void **state)
{
    MDB_env *env = open_database();
    MDB_txn *txn;
    MDB_dbi table;
    MDB_stat stat;
    char reason[200];
    struct pages pages;
    struct pages_tree tree;
    (void)state;
    put_all(env);
    struct input input = open_input();
    assert_true(pages_open(&pages, &input, reason, sizeof reason));
    assert_true(pages_find(&pages, &pages.main, bytes_of("kv"), take_tree, &tree));
    assert_false(pages_find(&pages, &pages.main, bytes_of("kw"), take_tree, &tree));
    must(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
    must(mdb_dbi_open(txn, "kv", 0, &table));
    must(mdb_stat(txn, table, &stat));
    assert_int_equal(tree.entries, stat.ms_entries);
    assert_int_equal(tree.depth, stat.ms_depth);
    assert_int_equal(pages.transaction, mdb_txn_id(txn));
    struct comparison comparison = {.pages = &pages, .next = MDB_FIRST};
    must(mdb_cursor_open(txn, table, &comparison.cursor));
    assert_true(pages_walk(&pages, &tree, (struct bytes){0}, same, &comparison));
    assert_int_equal(comparison.count, stat.ms_entries);
    mdb_cursor_close(comparison.cursor);
    mdb_txn_abort(txn);
    input_close(&input);
    mdb_env_close(env);
}

static bool count(void *context, const struct pages_item *item)
{
    (void)item;
    ++*(unsigned *)context;
    return true;
}

/* Each key that is there is found from the root, and the walk from a key begins with it. */
static void test_finds_each_key(void **state)
{
    MDB_env *env = open_database();
    char reason[200];
    struct pages pages;
    struct pages_tree tree;
    (void)state;
    put_all(env);
    struct input input = open_input();
    assert_true(pages_open(&pages, &input, reason, sizeof reason));
    assert_true(pages_find(&pages, &pages.main, bytes_of("kv"), take_tree, &tree));
    for (unsigned i = 0; i < RECORDS; i++) {
        char key[32];
        unsigned calls = 0;
        snprintf(key, sizeof key, "key-%u", i);
        assert_int_equal(pages_find(&pages, &tree, bytes_of(key), count, &calls), i % 3 != 0);
        assert_int_equal(calls, i % 3 != 0);
    }
    input_close(&input);
    mdb_env_close(env);
}

/* A database in use gives pages back after two further commits. */
static void test_notices_that_it_moved(void **state)
{
    MDB_env *env = open_database();
    char reason[200];
    struct pages pages;
    (void)state;
    put_all(env);
    struct input input = open_input();
    assert_true(pages_open(&pages, &input, reason, sizeof reason));
    assert_false(pages_moved(&pages));
    put_all(env);
    assert_true(pages_moved(&pages));
    input_close(&input);
    mdb_env_close(env);
}

static void write_at(off_t offset, const void *data, size_t len)
{
    char path[100];
    snprintf(path, sizeof path, "%s/data.mdb", directory);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, data, len, offset), len);
    close(fd);
}

static void test_lives_with_one_meta_page(void **state)
{
    MDB_env *env = open_database();
    char reason[200];
    struct pages pages;
    const uint8_t nothing[4096] = {0};
    (void)state;
    put_all(env);
    mdb_env_close(env);
    write_at(0, nothing, sizeof nothing);
    struct input input = open_input();
    assert_true(pages_open(&pages, &input, reason, sizeof reason));
    assert_false(pages.whole[0]);
    assert_true(pages.whole[1]);
    write_at(4096, nothing, sizeof nothing);
    assert_false(pages_open(&pages, &input, reason, sizeof reason));
    assert_non_null(strstr(reason, "neither meta page"));
    input_close(&input);
}

/* A page that leads to itself, and a tree that is deeper than it says, come to an end. */
static void test_ends_in_a_circle(void **state)
{
    MDB_env *env = open_database();
    char reason[200];
    struct pages pages;
    struct pages_tree tree;
    unsigned calls = 0;
    (void)state;
    put_all(env);
    struct input input = open_input();
    assert_true(pages_open(&pages, &input, reason, sizeof reason));
    assert_true(pages_find(&pages, &pages.main, bytes_of("kv"), take_tree, &tree));
    tree.depth = 32;
    assert_false(pages_walk(&pages, &tree, (struct bytes){0}, count, &calls));
    assert_true(*pages.error);
    tree.depth = 33;
    *pages.error = '\0';
    assert_false(pages_walk(&pages, &tree, (struct bytes){0}, count, &calls));
    assert_non_null(strstr(pages.error, "33 levels"));
    tree.depth = 1;
    tree.root = pages.input->size;
    *pages.error = '\0';
    assert_false(pages_walk(&pages, &tree, (struct bytes){0}, count, &calls));
    assert_non_null(strstr(pages.error, "beyond the end"));
    input_close(&input);
    mdb_env_close(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_what_lmdb_reads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_finds_each_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_notices_that_it_moved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lives_with_one_meta_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ends_in_a_circle, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
