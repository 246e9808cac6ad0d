/*
 * database - shows the tables of a data directory, what they hold, what each channel has had
 * applied with its saved results, and one record if wanted. strato-inspect; see inspect.h, pages.h
 * and store/disk/record.h.
 *
 * While a store writes, pages may be used again before they are read. Then what was found is thrown
 * away and all is read again, a bounded number of times.
 */
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "store/disk/format.h"
#include "store/disk/formats.h"
#include "store/disk/record.h"
#include "store/inspect/inspect.h"
#include "store/inspect/pages.h"

enum {
    TRIES = 10,
    MISSING_MAX = 256,      /* pages at the end that may never have been written, as in env.c */
    SHOWN = 8,              /* saved results of a channel */
    META_MAX = 4096,        /* entries of the table meta: one for each channel, and two */
    TABLES_MAX = 64,        /* more are not Strato's */
    TABLE_NAME_MAX = 64,    /* as kept here, with its NUL */
    VALUE_READ = 64 * 1024, /* bytes of a record's value that are read to show it */
    NAMED_BEFORE = 3,       /* service and namespace, before a key in the table of namespaces */
};

struct table_found {
    char name[TABLE_NAME_MAX];
    struct pages_tree tree;
};

struct database {
    const struct inspect_options *options;
    struct report *report;
    struct pages pages;
    struct table_found tables[TABLES_MAX];
    unsigned table_count;
    uint64_t now_ms;
};

static const struct pages_tree *table_named(const struct database *database, const char *name)
{
    for (unsigned i = 0; i < database->table_count; i++)
        if (strcmp(database->tables[i].name, name) == 0)
            return &database->tables[i].tree;
    return NULL;
}

static void walk(struct database *database, const struct pages_tree *tree, const char *name,
                 struct bytes from, pages_visit *visit, void *context)
{
    *database->pages.error = '\0';
    if (!pages_walk(&database->pages, tree, from, visit, context))
        report_trouble(database->report, "table %s: %s", name, database->pages.error);
}

/* ---- Tables ---- */

static bool take_table(void *context, const struct pages_item *item)
{
    struct database *database = context;
    if (item->value.len != sizeof(struct pages_tree) || !(item->flags & PAGES_LEAF_SUBDATA)) {
        report_trouble(database->report, "the main table holds what is no table");
        return true;
    }
    if (database->table_count == TABLES_MAX) {
        report_trouble(database->report, "there are more than %d tables", TABLES_MAX);
        return false;
    }
    struct table_found *table = &database->tables[database->table_count++];
    size_t len = item->key.len < TABLE_NAME_MAX - 1 ? item->key.len : TABLE_NAME_MAX - 1;
    memcpy(table->name, item->key.data, len);
    table->name[len] = '\0';
    for (size_t i = 0; i < len;
         i++) /* a name of ours is plain; another must not reach a terminal */
        if (table->name[i] < ' ' || table->name[i] > '~')
            table->name[i] = '?';
    memcpy(&table->tree, item->value.data, sizeof table->tree);
    return true;
}

struct check {
    struct database *database;
    const char *name;
    bool records;  /* of services: with a header */
    size_t before; /* bytes of a key before the client's own */
    uint64_t entries, bad, expired, bytes;
};

static bool check_item(void *context, const struct pages_item *item)
{
    struct check *check = context;
    struct record_header header;
    check->entries++;
    check->bytes += item->key.len + item->value_len;
    if (!check->records)
        return true;
    if (pages_value(&check->database->pages, item, &header, sizeof header) != sizeof header ||
        header.format != RECORD_FORMAT || item->key.len <= check->before ||
        item->key.len - check->before > KEY_MAX)
        check->bad++;
    else
        check->expired += header.expiry_ms != 0 && header.expiry_ms <= check->database->now_ms;
    return true;
}

/* Reads every page of a table. */
static void check_table(struct database *database, const struct table_found *table, json_t *row)
{
    bool named = strcmp(table->name, "named") == 0;
    struct check check = {.database = database,
                          .name = table->name,
                          .records = named || inspect_service(table->name) < SERVICE_COUNT,
                          .before = named ? NAMED_BEFORE : 0};
    walk(database, &table->tree, table->name, (struct bytes){0}, check_item, &check);
    show_number(row, "found", check.entries);
    show_number(row, "bytes", check.bytes);
    show_number(row, "expired", check.expired);
    if (check.bad > 0)
        report_trouble(database->report, "table %s: %" PRIu64 " records that Strato did not write",
                       table->name, check.bad);
    if (check.entries != table->tree.entries && !*database->pages.error)
        report_trouble(database->report, "table %s: %" PRIu64 " entries in place of %" PRIu64,
                       table->name, check.entries, table->tree.entries);
}

static void need_table(struct database *database, const char *name)
{
    if (!table_named(database, name))
        report_trouble(database->report, "there is no table %s", name);
}

static void show_tables(struct database *database)
{
    json_t *array = show_array(database->report->root, "tables");
    for (unsigned i = 0; i < database->table_count; i++) {
        const struct table_found *table = &database->tables[i];
        json_t *row = show_row(array);
        show_text(row, "table", "%s", table->name);
        show_number(row, "records", table->tree.entries);
        show_number(row, "levels", table->tree.depth);
        show_number(row, "branch pages", table->tree.branch_pages);
        show_number(row, "leaf pages", table->tree.leaf_pages);
        show_number(row, "value pages", table->tree.overflow_pages);
        if (table->tree.flags != PAGES_TREE_PLAIN)
            report_trouble(database->report, "table %s has LMDB's flags %x, Strato uses none",
                           table->name, table->tree.flags);
        if (database->options->check)
            check_table(database, table, row);
    }
    /* One of a service may be missing: the release that wrote it had none. */
    static const char *const others[] = {"item", "expiry", "meta"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        need_table(database, others[i]);
}

/* ---- Free pages ---- */

static bool count_free(void *context, const struct pages_item *item)
{
    struct check *check = context;
    uint64_t count = 0;
    if (pages_value(&check->database->pages, item, &count, sizeof count) == sizeof count &&
        count <= check->database->pages.last_page)
        check->entries += count;
    return true;
}

static void show_file(struct database *database)
{
    const struct pages *pages = &database->pages;
    struct check check = {.database = database};
    json_t *to = show_object(database->report->root, "file");
    walk(database, &pages->free, "of free pages", (struct bytes){0}, count_free, &check);
    show_number(to, "bytes", pages->input->size);
    show_number(to, "page size", pages->page_size);
    show_number(to, "map size", pages->map_size);
    show_number(to, "pages", pages->last_page + 1);
    show_number(to, "free pages", check.entries);
    show_number(to, "transaction", pages->transaction);
    for (int i = 0; i < 2; i++)
        if (!pages->whole[i])
            report_trouble(database->report, "meta page %d is damaged", i);
    if (pages->last_page >= pages->input->size / pages->page_size + MISSING_MAX)
        report_trouble(database->report,
                       "it should have %" PRIu64 " pages of %u bytes and has fewer",
                       pages->last_page + 1, pages->page_size);
}

/* ---- The table meta ---- */

struct meta {
    struct database *database;
    json_t *channels, *results, *formats;
    unsigned count;
};

static uint8_t *take_value(const struct database *database, const struct pages_item *item,
                           size_t *len_r)
{
    static uint8_t value[VALUE_READ];
    *len_r = pages_value(&database->pages, item, value, sizeof value);
    return value;
}

static void show_results(const struct meta *meta, uint32_t channel, uint64_t first,
                         const uint8_t *results, uint64_t count)
{
    uint64_t shown = meta->database->options->all || count < SHOWN ? count : SHOWN;
    for (uint64_t i = count - shown; i < count; i++) {
        struct channel_result result;
        memcpy(&result, results + i * sizeof result, sizeof result);
        json_t *row = show_row(meta->results);
        show_number(row, "channel", channel);
        show_number(row, "sequence", first + i);
        show_text(row, "status", "%s",
                  result.status == CHANNEL_NO_RESULT
                      ? "nothing done"
                      : status_info((enum status)result.status)->name);
        show_signed(row, "number", result.number);
        show_number(row, "revision", result.revision);
    }
}

static void show_channel(const struct meta *meta, uint32_t channel, const uint8_t *value,
                         size_t len)
{
    struct channel_entry entry;
    json_t *row = show_row(meta->channels);
    inspect_show_worker(row, channel);
    if (len < sizeof entry) {
        report_trouble(meta->database->report, "what channel %u has had applied is cut short",
                       channel);
        return;
    }
    memcpy(&entry, value, sizeof entry);
    uint64_t count = (len - sizeof entry) / sizeof(struct channel_result);
    show_number(row, "applied", entry.applied);
    show_number(row, "first saved", entry.first);
    show_number(row, "saved", count);
    if (entry.first + count != entry.applied ||
        len != sizeof entry + count * sizeof(struct channel_result))
        report_trouble(meta->database->report,
                       "channel %u: the saved results do not end at what was applied", channel);
    show_results(meta, channel, entry.first, value + sizeof entry, count);
}

/* The number of a service, or of all of it. */
static void show_format(const struct meta *meta, struct bytes what, const uint8_t *value,
                        size_t len)
{
    struct format_entry entry;
    struct report *report = meta->database->report;
    json_t *row = show_row(meta->formats);
    char text[TABLE_NAME_MAX];
    snprintf(text, sizeof text, "%.*s", (int)what.len, (const char *)what.data);
    show_bytes(row, "of", what, KEY_MAX);
    if (len < sizeof entry) {
        report_trouble(report, "a format's entry is cut short");
        return;
    }
    memcpy(&entry, value, sizeof entry);
    size_t release = strnlen(entry.release, sizeof entry.release);
    unsigned service = inspect_service(text);
    show_number(row, "format", entry.number);
    show_bytes(row, "written by release", (struct bytes){(uint8_t *)entry.release, release}, 64);
    if (len > sizeof entry)
        show_bytes(row, "brought to the next up to",
                   (struct bytes){value + sizeof entry, len - sizeof entry}, KEY_MAX);
    if (service < SERVICE_COUNT && entry.number > service_info((enum service)service)->format)
        report_trouble(report, "%s has format %u; this program knows formats up to %u", text,
                       entry.number, service_info((enum service)service)->format);
}

static bool has_prefix(struct bytes key, const char *prefix, struct bytes *behind_r)
{
    size_t len = strlen(prefix);
    if (key.len < len || memcmp(key.data, prefix, len) != 0)
        return false;
    *behind_r = (struct bytes){key.data + len, key.len - len};
    return true;
}

static bool show_meta_item(void *context, const struct pages_item *item)
{
    struct meta *meta = context;
    struct report *report = meta->database->report;
    size_t len;
    const uint8_t *value = take_value(meta->database, item, &len);
    uint32_t number;
    struct state state;
    struct bytes what = bytes_of("all");
    if (meta->count++ == META_MAX) {
        report_trouble(report, "table meta: there are more than %d entries", META_MAX);
        return false;
    }
    if (bytes_equal(item->key, bytes_of("STRATO-DISK")) && len == sizeof number) {
        memcpy(&number, value, sizeof number);
        show_number(report->root, "format", number);
        if (number < FORMAT_FIRST || number > FORMAT_NEWEST)
            report_trouble(report, "format %u; this program knows formats up to %d", number,
                           FORMAT_NEWEST);
    } else if (bytes_equal(item->key, bytes_of("format")) ||
               has_prefix(item->key, "format.", &what)) {
        show_format(meta, what, value, len);
    } else if (bytes_equal(item->key, bytes_of("state")) && len == sizeof state) {
        memcpy(&state, value, sizeof state);
        show_number(report->root, "revision", state.revision);
        show_number(report->root, "sets made", state.set_id);
    } else if (item->key.len == 7 + sizeof number && memcmp(item->key.data, "channel", 7) == 0) {
        memcpy(&number, item->key.data + 7, sizeof number);
        show_channel(meta, number, value, len);
    } else {
        json_t *to = json_object_get(report->root, "unknown in meta");
        show_bytes(show_row(to ? to : show_array(report->root, "unknown in meta")), "key",
                   item->key, KEY_MAX);
    }
    return true;
}

static void show_meta(struct database *database)
{
    const struct pages_tree *tree = table_named(database, "meta");
    if (!tree)
        return;
    struct meta meta = {database, json_array(), json_array(), json_array(), 0};
    walk(database, tree, "meta", (struct bytes){0}, show_meta_item, &meta);
    json_object_set_new(database->report->root, "formats", meta.formats);
    json_object_set_new(database->report->root, "channels", meta.channels);
    json_object_set_new(database->report->root, "saved results", meta.results);
    if (!json_object_get(database->report->root, "format"))
        report_trouble(database->report, "it does not say that it is a database of Strato");
}

/* ---- One record ---- */

struct items {
    uint64_t set;
    uint64_t count, bytes;
    json_t *shown;
};

static bool count_set_item(void *context, const struct pages_item *item)
{
    struct items *items = context;
    uint64_t set;
    if (item->key.len <= sizeof set)
        return true;
    memcpy(&set, item->key.data, sizeof set);
    if (be64toh(set) != items->set)
        return false;
    struct bytes name = {item->key.data + sizeof set, item->key.len - sizeof set};
    if (items->count++ < SHOWN)
        show_bytes(show_row(items->shown), "item", name, KEY_MAX);
    items->bytes += name.len + 2;
    return true;
}

static void show_set(struct database *database, json_t *to, const uint8_t *value, size_t len)
{
    const struct pages_tree *tree = table_named(database, "item");
    struct set_root root;
    if (len != sizeof root || !tree) {
        report_trouble(database->report, "the set's record is damaged");
        return;
    }
    memcpy(&root, value, sizeof root);
    uint64_t prefix = htobe64(root.id);
    struct items items = {root.id, 0, 0, show_array(database->report->root, "first items")};
    show_number(to, "set id", root.id);
    show_number(to, "items", root.items);
    show_number(to, "packed bytes", root.packed);
    walk(database, tree, "item", (struct bytes){(const uint8_t *)&prefix, sizeof prefix},
         count_set_item, &items);
    if (items.count != root.items || items.bytes != root.packed)
        report_trouble(database->report,
                       "the set has %" PRIu64 " items of %" PRIu64 " bytes in the table",
                       items.count, items.bytes);
}

static bool show_record(void *context, const struct pages_item *item)
{
    struct database *database = context;
    struct record_header header;
    size_t len;
    const uint8_t *value = take_value(database, item, &len);
    json_t *to = show_object(database->report->root, "record");
    unsigned service = inspect_service(database->options->service);
    show_text(to, "service", "%s", database->options->service);
    show_bytes(to, "key", database->options->key, KEY_MAX);
    if (len < sizeof header) {
        report_trouble(database->report, "the record is too short");
        return false;
    }
    memcpy(&header, value, sizeof header);
    show_number(to, "format", header.format);
    show_number(to, "revision", header.revision);
    show_time(to, "expires", header.expiry_ms);
    if (header.format != RECORD_FORMAT)
        report_trouble(database->report, "the record has an unknown format");
    else if (service_info((enum service)service)->holds == OP_HOLDS_ITEMS)
        show_set(database, to, value + sizeof header, len - sizeof header);
    else
        inspect_show_value(to, service, (struct bytes){value + sizeof header, len - sizeof header},
                           item->value_len - sizeof header);
    return false;
}

static void find_record(struct database *database)
{
    const struct inspect_options *options = database->options;
    const struct pages_tree *tree =
        table_named(database, options->namespace ? "named" : options->service);
    const uint8_t before[NAMED_BEFORE] = {(uint8_t)inspect_service(options->service),
                                          (uint8_t)(options->namespace >> 8),
                                          (uint8_t)options->namespace};
    struct buffer key = {0};
    buffer_append(&key, before, options->namespace ? sizeof before : 0);
    buffer_append(&key, options->key.data, options->key.len);
    bool found =
        tree && pages_find(&database->pages, tree, buffer_bytes(&key), show_record, database);
    buffer_free(&key);
    if (found)
        return;
    if (*database->pages.error)
        report_trouble(database->report, "%s", database->pages.error);
    show_text(database->report->root, "record", "there is none in this database");
}

/* ---- All of it ---- */

static void look(struct database *database)
{
    walk(database, &database->pages.main, "main", (struct bytes){0}, take_table, database);
    if (database->options->service) {
        find_record(database);
        return;
    }
    show_file(database);
    show_tables(database);
    show_meta(database);
}

void inspect_database(const struct input *input, const struct inspect_options *options,
                      struct report *report)
{
    char reason[200] = "it cannot be measured";
    bool moved = true;
    json_t *before = json_deep_copy(report->root);
    for (int i = 0; i < TRIES && moved; i++) {
        static struct database database;
        struct input now = *input; /* a live file grows */
        database =
            (struct database){.options = options, .report = report, .now_ms = clock_wall_ms()};
        if (i > 0) {
            report_close(report);
            report_open(report);
            json_object_update(report->root, before);
        }
        /* Measured again, because the state that was read may be newer than the first size. */
        if (!input_measure(&now) || !pages_open(&database.pages, &now, reason, sizeof reason) ||
            !input_measure(&now)) {
            report_trouble(report, "%s", reason);
            moved = false;
            break;
        }
        look(&database);
        moved = report->troubles > 0 && pages_moved(&database.pages);
    }
    json_decref(before);
    if (report->troubles > 0 && moved)
        report_trouble(report, "it is written to while it is read: some of this may not be damage; "
                               "look at a snapshot (stratoctl backup)");
}
