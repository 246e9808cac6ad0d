/* What strato-inspect says of arenas, channels and databases, whole and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>

#include "proto/channel/channel.h"
#include "store/inspect/inspect.h"
#include "tests/unit/arena_memory.h"
#include "tests/unit/disk_engine.h"

enum { ARENA_SIZE = 2 << 20, RECORDS = 500 };

static const struct inspect_options plain = {0}, checked = {.check = true};

/* ---- Looking at what was reported ---- */

static struct report begin(void)
{
    struct report report;
    report_open(&report);
    return report;
}

/* The member of a member; a number in text where it is above INT64_MAX. */
static json_t *member(const struct report *report, const char *group, const char *name)
{
    json_t *value = json_object_get(json_object_get(report->root, group), name);
    if (!value)
        fail_msg("there is no %s: %s", group, name);
    return value;
}

static json_int_t number(const struct report *report, const char *group, const char *name)
{
    return json_integer_value(member(report, group, name));
}

/* A member of the row of an array in which another member has this value. */
static json_int_t in_row(const struct report *report, const char *array, const char *key,
                         const char *wanted, const char *name)
{
    size_t at;
    json_t *row;
    json_array_foreach(json_object_get(report->root, array), at, row)
    {
        const char *text = json_string_value(json_object_get(row, key));
        if (text && strcmp(text, wanted) == 0)
            return json_integer_value(json_object_get(row, name));
    }
    fail_msg("%s has no row %s", array, wanted);
    return 0;
}

static void assert_sound(const struct report *report)
{
    const json_t *trouble = json_array_get(json_object_get(report->root, "trouble"), 0);
    if (report->troubles > 0)
        fail_msg("trouble: %s", json_string_value(trouble));
}

static void assert_trouble(const struct report *report, const char *text)
{
    size_t at;
    json_t *line;
    json_array_foreach(json_object_get(report->root, "trouble"), at, line)
    {
        if (strstr(json_string_value(line), text))
            return;
    }
    fail_msg("no trouble about: %s", text);
}

/* ---- Arenas ---- */

static struct arena_writer *writer;
static struct arena_memory memory;
static struct input input;

static void put(enum service service, const char *key, struct bytes value)
{
    uint64_t revision;
    assert_int_equal(
        arena_put(writer, service, bytes_of(key), value, 0, MINE, clock_wall_ms(), &revision),
        STATUS_OK);
}

static int set_up_arena(void **state)
{
    (void)state;
    input = (struct input){memfd_create("arena", 0), ARENA_SIZE};
    assert_int_equal(ftruncate(input.fd, ARENA_SIZE), 0);
    memory.base = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, input.fd, 0);
    memory.size = ARENA_SIZE;
    writer = arena_memory_open(&memory, clock_wall_ms(), ARENA_WAS_RAW);
    for (int i = 0; i < RECORDS; i++) {
        char key[32];
        snprintf(key, sizeof key, "key-%d", i);
        put(SERVICE_KV, key, bytes_of("some value"));
    }
    int64_t minus = -5;
    put(SERVICE_COUNTER, "visits", (struct bytes){(uint8_t *)&minus, sizeof minus});
    return 0;
}

static int tear_down_arena(void **state)
{
    (void)state;
    arena_writer_close(&writer);
    arena_memory_free(&memory);
    input_close(&input);
    return 0;
}

static void test_shows_an_arena(void **state)
{
    struct report report = begin();
    (void)state;
    inspect_arena(&input, &checked, &report);
    assert_sound(&report);
    assert_string_equal(json_string_value(member(&report, "header", "state")), "ready");
    assert_int_equal(in_row(&report, "records", "service", "kv", "records"), RECORDS);
    assert_int_equal(in_row(&report, "records", "service", "kv", "value bytes"), 10 * RECORDS);
    assert_int_equal(in_row(&report, "records", "service", "counter", "records"), 1);
    assert_int_equal(in_row(&report, "applied", "worker", "grpc-0", "count"), 1);
    report_close(&report);
}

static void test_shows_one_record(void **state)
{
    struct inspect_options options = {.service = "counter", .key = bytes_of("visits")};
    struct report report = begin();
    (void)state;
    inspect_arena(&input, &options, &report);
    assert_sound(&report);
    assert_int_equal(number(&report, "record", "number"), -5);
    report_close(&report);
    report = begin();
    options.key = bytes_of("nobody");
    inspect_arena(&input, &options, &report);
    assert_string_equal(json_string_value(json_object_get(report.root, "record")),
                        "there is none in this arena");
    report_close(&report);
}

/* The first slot word that is in use. */
static _Atomic uint64_t *used_slot(void)
{
    struct arena_geometry g;
    assert_true(arena_geometry(ARENA_SIZE, &g));
    struct arena_bucket *index = (void *)(memory.base + g.index_offset);
    for (uint64_t i = 0; i < g.buckets; i++)
        if (index[i].slots[0] != 0)
            return index[i].slots;
    fail_msg("the index is empty");
    return NULL;
}

static void test_names_damage_in_an_arena(void **state)
{
    _Atomic uint64_t *slot = used_slot();
    uint64_t word = *slot;
    uint8_t *record = memory.base + arena_word_offset(word);
    struct arena_header *header = (void *)memory.base;
    struct report report = begin();
    (void)state;
    record[sizeof(struct arena_record)] ^= 1;
    inspect_arena(&input, &plain, &report);
    assert_sound(&report); /* only a check reads keys and values */
    inspect_arena(&input, &checked, &report);
    assert_trouble(&report, "does not match its checksum");
    record[sizeof(struct arena_record)] ^= 1;
    *slot = UINT64_MAX;
    header->applied[5].count = 77;
    header->generation++;
    inspect_arena(&input, &plain, &report);
    assert_trouble(&report, "points outside of the heap");
    assert_trouble(&report, "the mark of channel 5 is damaged");
    assert_trouble(&report, "the header does not match its checksum");
    *slot = word;
    slot[ARENA_BUCKET_SLOTS] = ((uint8_t *)slot - memory.base) / ARENA_GRAIN;
    inspect_arena(&input, &plain, &report);
    assert_trouble(&report, "bad overflow link");
    report_close(&report);
}

static void test_refuses_what_is_too_small(void **state)
{
    struct input small = {.fd = memfd_create("small", 0)};
    struct report report = begin();
    (void)state;
    inspect_arena(&small, &plain, &report);
    assert_trouble(&report, "0 bytes are no arena");
    inspect_channel(&small, &plain, &report);
    assert_trouble(&report, "0 bytes are no channel");
    inspect_database(&small, &plain, &report);
    assert_trouble(&report, "neither meta page is whole");
    report_close(&report);
    input_close(&small);
}

/* ---- Channels ---- */

static struct channel_memory *channel;

static int set_up_channel(void **state)
{
    char reason[200];
    (void)state;
    input = (struct input){memfd_create("channel", 0), channel_memory_size()};
    assert_int_equal(ftruncate(input.fd, (off_t)input.size), 0);
    channel = channel_map(input.fd, true, reason, sizeof reason);
    assert_non_null(channel);
    channel_lay_out(channel);
    return 0;
}

static int tear_down_channel(void **state)
{
    (void)state;
    channel_unmap(&channel);
    input_close(&input);
    return 0;
}

static void submit(struct channel_worker *worker, enum op op, const char *key)
{
    uint64_t sequence;
    struct channel_submission *slot = channel_worker_slot(worker, &sequence);
    memset(slot, 0, sizeof *slot);
    slot->op = (uint8_t)op;
    slot->key_len = (uint16_t)strlen(key);
    memcpy(slot->payload, key, strlen(key));
    channel_worker_commit(worker);
}

/* Three submissions, of which the store has answered one. */
static void use(void)
{
    struct channel_worker worker;
    struct channel_store store;
    static struct channel_taken taken;
    uint64_t sequence;
    channel_worker_open(&worker, channel, -1);
    channel_store_open(&store, channel, -1);
    submit(&worker, OP_KV_PUT, "a");
    submit(&worker, OP_KV_GET, "b\n");
    submit(&worker, OP_KV_GET, "c");
    channel_worker_flush(&worker);
    assert_true(channel_store_take(&store, &taken, &sequence));
    channel_store_slot(&store, store.completed)->status = STATUS_NOT_FOUND;
    channel_store_keep(&store, store.completed);
    channel_store_commit(&store, store.completed);
}

static void test_shows_a_channel(void **state)
{
    struct report report = begin();
    (void)state;
    use();
    inspect_channel(&input, &plain, &report);
    assert_sound(&report);
    assert_int_equal(number(&report, "positions", "submitted"), 3);
    assert_int_equal(number(&report, "positions", "completed"), 1);
    assert_int_equal(number(&report, "positions", "consumed"), 0);
    assert_int_equal(in_row(&report, "waiting for the store", "operation", "KVGet", "waiting"), 2);
    assert_int_equal(in_row(&report, "submissions", "key", "b\\x0a", "sequence"), 1);
    assert_int_equal(in_row(&report, "waiting for the worker", "status", "not_found", "sequence"),
                     0);
    report_close(&report);
}

static void test_names_damage_in_a_channel(void **state)
{
    struct report report = begin();
    (void)state;
    use();
    channel->submissions[1].op = 200;
    channel->completions[0].sequence = 9;
    inspect_channel(&input, &plain, &report);
    assert_trouble(&report, "submission 1 is no request");
    assert_trouble(&report, "completion 0 says that it is 9");
    channel->completed = UINT64_MAX;
    channel->slots = 3;
    inspect_channel(&input, &plain, &report);
    assert_trouble(&report, "does not hold");
    assert_trouble(&report, "this program knows version");
    report_close(&report);
}

/* ---- Databases ---- */

static struct disk_engine *disk;

static void open_database(void)
{
    char path[200], reason[300];
    snprintf(path, sizeof path, "%s/data/data.mdb", disk->directory);
    assert_true(input_open(&input, path, reason, sizeof reason));
}

static int set_up_database(void **state)
{
    (void)state;
    disk = disk_new();
    disk_open(disk);
    for (int i = 0; i < RECORDS; i++) {
        char key[32];
        snprintf(key, sizeof key, "key-%d", i);
        (void)disk_do(disk, OP_KV_PUT, key, "some value", 0);
    }
    (void)disk_do(disk, OP_COUNTER_INCREMENT, "visits", NULL, -5);
    (void)disk_do(disk, OP_SET_ADD, "set", "one", 0);
    (void)disk_do(disk, OP_SET_ADD, "set", "two", 0);
    open_database();
    return 0;
}

static int tear_down_database(void **state)
{
    (void)state;
    input_close(&input);
    disk_close(disk);
    disk_remove(&disk);
    return 0;
}

static void test_shows_a_database(void **state)
{
    struct report report = begin();
    (void)state;
    inspect_database(&input, &checked, &report);
    assert_sound(&report);
    assert_int_equal(json_integer_value(json_object_get(report.root, "format")), FORMAT_FIRST);
    assert_int_equal(in_row(&report, "tables", "table", "kv", "records"), RECORDS);
    assert_int_equal(in_row(&report, "tables", "table", "kv", "found"), RECORDS);
    assert_int_equal(in_row(&report, "tables", "table", "item", "records"), 2);
    assert_int_equal(in_row(&report, "channels", "worker", "http-0", "applied"), RECORDS + 3);
    assert_int_equal(in_row(&report, "channels", "worker", "http-0", "saved"), 0);
    report_close(&report);
}

static void test_shows_one_record_of_a_database(void **state)
{
    struct inspect_options options = {.service = "counter", .key = bytes_of("visits")};
    struct report report = begin();
    (void)state;
    inspect_database(&input, &options, &report);
    assert_int_equal(number(&report, "record", "number"), -5);
    options = (struct inspect_options){.service = "set", .key = bytes_of("set")};
    inspect_database(&input, &options, &report);
    assert_int_equal(number(&report, "record", "items"), 2);
    assert_int_equal(json_array_size(json_object_get(report.root, "first items")), 2);
    assert_sound(&report);
    options.key = bytes_of("nobody");
    inspect_database(&input, &options, &report);
    assert_string_equal(json_string_value(json_object_get(report.root, "record")),
                        "there is none in this database");
    report_close(&report);
}

/* Each page but the meta pages in turn is overwritten: what was there is missed, nothing else. */
static void test_names_damage_in_a_database(void **state)
{
    static uint8_t page[4096], nonsense[4096];
    unsigned noticed = 0;
    (void)state;
    memset(nonsense, 0xa5, sizeof nonsense);
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", input.fd);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_true(input_measure(&input));
    for (uint64_t at = 2 * sizeof page; at < input.size; at += sizeof page) {
        struct report report = begin();
        assert_true(input_read(&input, at, page, sizeof page));
        assert_int_equal(pwrite(fd, nonsense, sizeof nonsense, (off_t)at), sizeof nonsense);
        inspect_database(&input, &checked, &report);
        noticed += report.troubles > 0;
        assert_int_equal(pwrite(fd, page, sizeof page, (off_t)at), sizeof page);
        report_close(&report);
    }
    close(fd);
    assert_true(noticed > 5); /* the others are free pages */
    struct report report = begin();
    inspect_database(&input, &checked, &report);
    assert_sound(&report);
    report_close(&report);
}

/* ---- Text ---- */

static void test_unescapes_what_it_escapes(void **state)
{
    uint8_t all[256];
    struct buffer back = {0};
    struct report report = begin();
    (void)state;
    for (unsigned i = 0; i < sizeof all; i++)
        all[i] = (uint8_t)i;
    show_bytes(report.root, "all", (struct bytes){all, sizeof all}, sizeof all);
    const char *text = json_string_value(json_object_get(report.root, "all"));
    for (const char *c = text; *c; c++)
        assert_true(*c >= ' ' && *c <= '~');
    assert_true(show_unescape(text, &back));
    assert_true(bytes_equal(buffer_bytes(&back), (struct bytes){all, sizeof all}));
    assert_false(show_unescape("\\x4", &back));
    assert_false(show_unescape("\\n", &back));
    buffer_free(&back);
    report_close(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shows_an_arena, set_up_arena, tear_down_arena),
        cmocka_unit_test_setup_teardown(test_shows_one_record, set_up_arena, tear_down_arena),
        cmocka_unit_test_setup_teardown(test_names_damage_in_an_arena, set_up_arena,
                                        tear_down_arena),
        cmocka_unit_test(test_refuses_what_is_too_small),
        cmocka_unit_test_setup_teardown(test_shows_a_channel, set_up_channel, tear_down_channel),
        cmocka_unit_test_setup_teardown(test_names_damage_in_a_channel, set_up_channel,
                                        tear_down_channel),
        cmocka_unit_test_setup_teardown(test_shows_a_database, set_up_database, tear_down_database),
        cmocka_unit_test_setup_teardown(test_shows_one_record_of_a_database, set_up_database,
                                        tear_down_database),
        cmocka_unit_test_setup_teardown(test_names_damage_in_a_database, set_up_database,
                                        tear_down_database),
        cmocka_unit_test(test_unescapes_what_it_escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
