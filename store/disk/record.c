/*
 * record - see record.h. Runs in store-disk.
 *
 * Nothing in the database is believed before it was checked. A record that this program cannot have
 * written costs itself only: it is counted, logged and answered STATUS_DAMAGED, and can be
 * overwritten or deleted.
 */
#include "store/disk/record.h"

#include <endian.h>

#include "proto/base/clock.h"
#include "proto/run/run.h"
#include "store/disk/formats.h"

enum {
    VALUE_MAX = 64 << 20, /* what max_value may be at most */
    KEY_SIZE_MAX = 511,   /* of LMDB's keys */
    STEPS = 4096,         /* records passed over between two signs of life */
};
static const uint64_t number_max = 1ull << 62; /* revisions and ids count up from 0 */

/* ---- Keys ---- */

struct key {
    uint8_t data[KEY_SIZE_MAX];
    size_t len;
};

static MDB_val key_val(const struct key *key)
{
    return env_val((struct bytes){key->data, key->len});
}

static void part_key(uint64_t id, struct bytes name, struct key *key_r)
{
    uint64_t first = htobe64(id);
    memcpy(key_r->data, &first, sizeof first);
    if (name.len > 0)
        memcpy(key_r->data + sizeof first, name.data, name.len);
    key_r->len = sizeof first + name.len;
}

enum { NAMED = 0x80 }; /* added to a service's number in the index of times */

static void append_key(struct key *key, const void *data, size_t len)
{
    if (len > 0)
        memcpy(key->data + key->len, data, len);
    key->len += len;
}

/* Service, namespace, name: in the table of namespaces, and behind a time. */
static void append_named(struct key *key, uint8_t service, struct tx_key of)
{
    const uint16_t namespace = htobe16(of.namespace);
    append_key(key, &service, sizeof service);
    if (of.namespace != 0)
        append_key(key, &namespace, sizeof namespace);
    append_key(key, of.name.data, of.name.len);
}

/* Where a record stands. */
struct place {
    enum table table;
    MDB_val at;
    struct key key;
};

/* place_r->at may point into *place_r or be the name. */
static void find_place(struct tx_key key, struct place *place_r)
{
    if (key.namespace == 0) {
        place_r->table = (enum table)key.service;
        place_r->at = env_val(key.name);
        return;
    }
    place_r->table = TABLE_NAMED;
    place_r->key.len = 0;
    append_named(&place_r->key, (uint8_t)key.service, key);
    place_r->at = key_val(&place_r->key);
}

static void expiry_key(uint64_t expiry_ms, struct tx_key of, struct key *key_r)
{
    const uint64_t time = htobe64(expiry_ms);
    key_r->len = 0;
    append_key(key_r, &time, sizeof time);
    append_named(key_r, (uint8_t)(of.service | (of.namespace != 0 ? NAMED : 0)), of);
}

/* The record that an entry of the index of times is of. Its name points into it. */
static bool parse_expiry_key(const struct key *key, struct tx_key *of_r)
{
    uint16_t namespace = 0;
    size_t at = sizeof(uint64_t) + 1;
    *of_r = (struct tx_key){0};
    if (key->len <= at)
        return false;
    bool named = key->data[at - 1] & NAMED;
    if (named && key->len > at + sizeof namespace) {
        memcpy(&namespace, key->data + at, sizeof namespace);
        at += sizeof namespace;
    }
    of_r->service = key->data[sizeof(uint64_t)] & ~NAMED;
    of_r->namespace = be16toh(namespace);
    of_r->name = (struct bytes){key->data + at, key->len - at};
    return of_r->service < SERVICE_COUNT && named == (namespace != 0) && of_r->name.len <= KEY_MAX;
}

/* 0 for a key that is too short to have one. */
static uint64_t leading_number(MDB_val key)
{
    uint64_t number = 0;
    if (key.mv_size < sizeof number)
        return 0;
    memcpy(&number, key.mv_data, sizeof number);
    return be64toh(number);
}

/* ---- Reading ---- */

bool record_root_is_sane(const struct set_root *root)
{
    uint64_t least, most;
    return root->id >= 1 && root->id <= number_max && root->items >= 1 &&
           !__builtin_mul_overflow(root->items, 3ull, &least) &&
           !__builtin_mul_overflow(root->items, 2ull + KEY_MAX, &most) && root->packed >= least &&
           root->packed <= most;
}

/* Whether a value can be one of the service. */
static bool value_is_sane(enum service service, struct bytes value)
{
    struct set_root root;
    switch (service_info(service)->holds) {
    case OP_HOLDS_NUMBER:
        return value.len == sizeof(int64_t);
    case OP_HOLDS_FLAG:
        return value.len == 1 && value.data[0] <= 1;
    case OP_HOLDS_ITEMS:
        if (value.len != sizeof root)
            return false;
        memcpy(&root, value.data, sizeof root);
        return record_root_is_sane(&root);
    case OP_HOLDS_VALUE:
        break;
    }
    return value.len <= VALUE_MAX;
}

/* What stands in a table; false when it is no record. */
static bool parse(enum service service, MDB_val stored, struct record *record_r)
{
    struct record_header header;
    if (stored.mv_size < sizeof header)
        return false;
    memcpy(&header, stored.mv_data, sizeof header);
    record_r->revision = header.revision;
    record_r->expiry_ms = header.expiry_ms;
    record_r->value = (struct bytes){(const uint8_t *)stored.mv_data + sizeof header,
                                     stored.mv_size - sizeof header};
    return header.format == RECORD_FORMAT && header.revision >= 1 &&
           header.revision <= number_max && value_is_sane(service, record_r->value);
}

/* Also what has expired. STATUS_OK, STATUS_NOT_FOUND, STATUS_DAMAGED. */
static enum status look_up(const struct work *work, struct tx_key key, struct record *record_r)
{
    struct place place;
    MDB_val value;
    *record_r = (struct record){0};
    find_place(key, &place);
    if (work->env->tables[place.table] == 0)
        return STATUS_NOT_FOUND;
    int code = mdb_get(work->txn, work->env->tables[place.table], &place.at, &value);
    enum status status = env_status(work->env, code, "read");
    if (status == STATUS_OK && !parse(key.service, value, record_r))
        status = env_damaged(work->env, "a record of %zu bytes in %s is none that Strato wrote",
                             value.mv_size, service_name(key.service));
    return status;
}

static bool expired(const struct record *record, uint64_t now_ms)
{
    return record->expiry_ms != 0 && record->expiry_ms <= now_ms;
}

enum status record_get(const struct work *work, struct tx_key key, struct record *record_r)
{
    enum status status = look_up(work, key, record_r);
    return status == STATUS_OK && expired(record_r, work->now_ms) ? STATUS_NOT_FOUND : status;
}

/* ---- Changing ---- */

static enum status put(const struct work *work, enum table table, MDB_val key, MDB_val value)
{
    int code = mdb_put(work->txn, work->env->tables[table], &key, &value, 0);
    return env_status(work->env, code, "write");
}

static enum status drop(const struct work *work, enum table table, MDB_val key)
{
    return env_status(work->env, mdb_del(work->txn, work->env->tables[table], &key, NULL),
                      "delete");
}

static enum status drop_record(const struct work *work, struct tx_key key)
{
    struct place place;
    find_place(key, &place);
    return drop(work, place.table, place.at);
}

/* The index of times follows a record from one expiry to another; 0: it has none. */
static enum status move_expiry(const struct work *work, struct tx_key key, uint64_t from,
                               uint64_t to)
{
    struct key index;
    enum status status = STATUS_OK;
    if (from == to)
        return STATUS_OK;
    if (from != 0) {
        expiry_key(from, key, &index);
        status = drop(work, TABLE_EXPIRY, key_val(&index));
    }
    if (status == STATUS_NOT_FOUND)
        status = STATUS_OK;
    if (to == 0 || status != STATUS_OK)
        return status;
    expiry_key(to, key, &index);
    return put(work, TABLE_EXPIRY, key_val(&index), (MDB_val){0});
}

/* Room for a record of len bytes under a key. */
static enum status reserve(const struct work *work, struct tx_key key, size_t len, uint8_t **to_r)
{
    struct place place;
    MDB_val to = {len, NULL};
    find_place(key, &place);
    if (work->env->tables[place.table] == 0)
        return STATUS_FULL;
    int code = mdb_put(work->txn, work->env->tables[place.table], &place.at, &to, MDB_RESERVE);
    *to_r = to.mv_data;
    return env_status(work->env, code, "write");
}

enum status record_put(struct work *work, struct tx_key key, struct bytes value, uint64_t expiry_ms,
                       uint64_t *revision_r)
{
    struct record old = {0};
    uint8_t *to;
    work->changed = true;
    if (look_up(work, key, &old) != STATUS_OK)
        old = (struct record){0};
    if (old.revision > work->state->revision) /* a key's revisions grow, whatever state has lost */
        work->state->revision = old.revision;
    struct record_header header = {RECORD_FORMAT, ++work->state->revision, expiry_ms};
    enum status status = key.namespace != 0 ? formats_raise(work->env, work->txn) : STATUS_OK;
    if (status == STATUS_OK)
        status = move_expiry(work, key, old.expiry_ms, expiry_ms);
    if (status == STATUS_OK)
        status = reserve(work, key, sizeof header + value.len, &to);
    if (status != STATUS_OK)
        return status;
    memcpy(to, &header, sizeof header);
    if (value.len > 0)
        memcpy(to + sizeof header, value.data, value.len);
    *revision_r = header.revision;
    return STATUS_OK;
}

enum status record_delete(struct work *work, struct tx_key key)
{
    struct record old;
    enum status status = record_get(work, key, &old);
    if (status == STATUS_NOT_FOUND)
        return STATUS_NOT_FOUND;
    work->changed = true;
    work->state->revision++;
    status = move_expiry(work, key, status == STATUS_OK ? old.expiry_ms : 0, 0);
    return status == STATUS_OK ? drop_record(work, key) : status;
}

/* ---- Expiry ---- */

/* The first of the index. STATUS_OK, STATUS_NOT_FOUND: it is empty, STATUS_DAMAGED. */
static enum status first_expiry(const struct work *work, MDB_val *key_r)
{
    MDB_cursor *cursor;
    MDB_val value;
    int code = mdb_cursor_open(work->txn, work->env->tables[TABLE_EXPIRY], &cursor);
    if (code == MDB_SUCCESS) {
        code = mdb_cursor_get(cursor, key_r, &value, MDB_FIRST);
        mdb_cursor_close(cursor);
    }
    return env_status(work->env, code, "read");
}

uint64_t record_next_expiry(const struct work *work)
{
    MDB_val key = {0};
    if (first_expiry(work, &key) != STATUS_OK)
        return 0;
    uint64_t expiry_ms = leading_number(key);
    return expiry_ms ? expiry_ms : 1; /* none was written so: it is to be removed */
}

/* Removes an entry of the index, and its record if that is the one that it is of. */
static enum status reclaim_one(struct work *work, const struct key *index, uint64_t expiry_ms)
{
    enum status status = STATUS_OK;
    struct record record;
    struct tx_key key;
    work->changed = true;
    if (parse_expiry_key(index, &key)) {
        if (look_up(work, key, &record) == STATUS_OK && record.expiry_ms == expiry_ms)
            status = drop_record(work, key);
    } else {
        (void)!env_damaged(work->env, "the index of times has an entry of %zu bytes", index->len);
    }
    if (status == STATUS_OK || status == STATUS_NOT_FOUND)
        status = drop(work, TABLE_EXPIRY, key_val(index));
    return status;
}

enum status record_reclaim(struct work *work, unsigned limit, unsigned *count_r)
{
    MDB_val at = {0};
    for (*count_r = 0; *count_r < limit; ++*count_r) {
        struct key index;
        enum status status = first_expiry(work, &at);
        if (status != STATUS_OK)
            return status == STATUS_NOT_FOUND ? STATUS_OK : status;
        uint64_t expiry_ms = leading_number(at);
        if (expiry_ms > work->now_ms)
            break;
        index.len = at.mv_size < sizeof index.data ? at.mv_size : sizeof index.data;
        if (index.len > 0)
            memcpy(index.data, at.mv_data, index.len);
        status = reclaim_one(work, &index, expiry_ms);
        if (status != STATUS_OK)
            return status == STATUS_NOT_FOUND ? STATUS_DAMAGED : status;
    }
    return STATUS_OK;
}

/* ---- Collections ---- */

struct walk {
    const struct work *work;
    enum service service;
    enum table table;
    bool parts;          /* of a collection: without revision and expiry */
    size_t before;       /* bytes of a key before the name */
    struct key from, to; /* empty: none */
    bool reverse;
};

/* The key in the walk's table of a name; of an empty one: where its collection or namespace begins.
 */
static void range_key(struct tx_key at, struct key *key_r)
{
    key_r->len = 0;
    if (at.collection != 0)
        part_key(at.collection, at.name, key_r);
    else if (at.namespace != 0)
        append_named(key_r, (uint8_t)at.service, at);
    else
        append_key(key_r, at.name.data, at.name.len);
}

/* What comes behind all keys of a collection or namespace. */
static struct tx_key next_range(struct tx_key at)
{
    if (at.collection != 0)
        at.collection++;
    else if (at.namespace != 0 && ++at.namespace == 0)
        at = (struct tx_key){.service = at.service + 1, .namespace = 1};
    return at;
}

static void begin_walk(const struct work *work, const struct tx_range *range, struct walk *walk_r)
{
    const struct tx_key *from = &range->from;
    bool parts = from->collection != 0, named = from->namespace != 0;
    struct tx_key to = *from;
    *walk_r = (struct walk){.work = work,
                            .service = from->service,
                            .table = parts   ? TABLE_ITEM
                                     : named ? TABLE_NAMED
                                             : (enum table)from->service,
                            .parts = parts,
                            .reverse = range->reverse};
    to.name = range->to;
    if (to.name.len == 0)
        to = next_range(to);
    range_key(*from, &walk_r->from);
    range_key(to, &walk_r->to);
    walk_r->before = walk_r->from.len - from->name.len;
}

static int first_of(const struct walk *walk, MDB_cursor *cursor, MDB_val *key_r, MDB_val *value_r)
{
    const struct key *edge = walk->reverse ? &walk->to : &walk->from;
    *key_r = key_val(edge);
    if (edge->len == 0)
        return mdb_cursor_get(cursor, key_r, value_r, walk->reverse ? MDB_LAST : MDB_FIRST);
    int code = mdb_cursor_get(cursor, key_r, value_r, MDB_SET_RANGE);
    if (!walk->reverse || (code != MDB_SUCCESS && code != MDB_NOTFOUND))
        return code;
    return mdb_cursor_get(cursor, key_r, value_r, code == MDB_SUCCESS ? MDB_PREV : MDB_LAST);
}

static bool is_inside(const struct walk *walk, MDB_val key)
{
    const struct bytes at = {key.mv_data, key.mv_size};
    const struct bytes from = {walk->from.data, walk->from.len}, to = {walk->to.data, walk->to.len};
    return walk->reverse ? bytes_compare(at, from) >= 0 : to.len == 0 || bytes_compare(at, to) < 0;
}

/* STATUS_OK: it is to be visited; STATUS_NOT_FOUND: it has expired; STATUS_DAMAGED. */
static enum status look_at(const struct walk *walk, MDB_val key, MDB_val value,
                           struct bytes *name_r, struct tx_item *item_r)
{
    struct record record = {.value = {value.mv_data, value.mv_size}};
    *name_r =
        (struct bytes){(const uint8_t *)key.mv_data + walk->before, key.mv_size - walk->before};
    if (name_r->len < 1 || name_r->len > KEY_MAX)
        return env_damaged(walk->work->env, "a record or part has a name of %zu bytes",
                           name_r->len);
    if (!walk->parts && !parse(walk->service, value, &record))
        return env_damaged(walk->work->env, "a record of %zu bytes in %s is none that Strato wrote",
                           value.mv_size, service_name(walk->service));
    *item_r = (struct tx_item){record.value, record.revision, record.expiry_ms};
    return expired(&record, walk->work->now_ms) ? STATUS_NOT_FOUND : STATUS_OK;
}

static enum status visit_range(const struct walk *walk, MDB_cursor *cursor,
                               bool (*visit)(void *context, struct bytes name,
                                             const struct tx_item *item),
                               void *context)
{
    MDB_val key, value;
    struct bytes name;
    struct tx_item item;
    int code = first_of(walk, cursor, &key, &value);
    for (uint64_t number = 1; code == MDB_SUCCESS && is_inside(walk, key); number++) {
        enum status status = look_at(walk, key, value, &name, &item);
        if (status == STATUS_DAMAGED)
            return status;
        if (status == STATUS_OK && !visit(context, name, &item))
            return STATUS_OK;
        if (number % STEPS == 0)
            run_child_beat(clock_ms());
        code = mdb_cursor_get(cursor, &key, &value, walk->reverse ? MDB_PREV : MDB_NEXT);
    }
    enum status status = env_status(walk->work->env, code, "read");
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status record_walk(const struct work *work, const struct tx_range *range,
                        bool (*visit)(void *context, struct bytes name, const struct tx_item *item),
                        void *context)
{
    MDB_cursor *cursor;
    struct walk walk;
    begin_walk(work, range, &walk);
    if (work->env->tables[walk.table] == 0)
        return STATUS_OK;
    int code = mdb_cursor_open(work->txn, work->env->tables[walk.table], &cursor);
    if (code != MDB_SUCCESS)
        return env_status(work->env, code, "read");
    enum status status = visit_range(&walk, cursor, visit, context);
    mdb_cursor_close(cursor);
    return status;
}

enum status record_get_part(const struct work *work, uint64_t id, struct bytes name,
                            struct bytes *value_r)
{
    struct key key;
    MDB_val value = {0};
    part_key(id, name, &key);
    MDB_val at = key_val(&key);
    int code = mdb_get(work->txn, work->env->tables[TABLE_ITEM], &at, &value);
    *value_r = (struct bytes){value.mv_data, value.mv_size};
    return env_status(work->env, code, "read");
}

enum status record_put_part(struct work *work, uint64_t id, struct bytes name, struct bytes value)
{
    struct key key;
    part_key(id, name, &key);
    work->changed = true;
    return put(work, TABLE_ITEM, key_val(&key), env_val(value));
}

enum status record_remove_part(struct work *work, uint64_t id, struct bytes name)
{
    struct key key;
    part_key(id, name, &key);
    enum status status = drop(work, TABLE_ITEM, key_val(&key));
    work->changed |= status != STATUS_NOT_FOUND;
    return status;
}

/* ---- State ---- */

static const struct bytes state_key = {(const uint8_t *)"state", 5};

/* ---- The state, found again ---- */

static void survey_one(enum service service, MDB_val stored, struct state *state)
{
    struct record record;
    struct set_root root = {0};
    if (service >= SERVICE_COUNT || !parse(service, stored, &record))
        return;
    if (service_info(service)->holds == OP_HOLDS_ITEMS)
        memcpy(&root, record.value.data, sizeof root);
    if (record.revision > state->revision)
        state->revision = record.revision;
    if (root.id > state->set_id)
        state->set_id = root.id;
}

/* The largest revision and set id of a table's records. */
static void survey(const struct work *work, enum table table, struct state *state)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t number = 0;
    if (work->env->tables[table] == 0 ||
        mdb_cursor_open(work->txn, work->env->tables[table], &cursor) != MDB_SUCCESS)
        return;
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS) {
        survey_one(table == TABLE_NAMED ? *(const uint8_t *)key.mv_data : (enum service)table,
                   value, state);
        if (++number % STEPS == 0)
            run_child_beat(clock_ms());
    }
    mdb_cursor_close(cursor);
}

/* The largest id that has items. */
static uint64_t last_set_id(const struct work *work)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t id = 0;
    if (mdb_cursor_open(work->txn, work->env->tables[TABLE_ITEM], &cursor) != MDB_SUCCESS)
        return 0;
    if (mdb_cursor_get(cursor, &key, &value, MDB_LAST) == MDB_SUCCESS)
        id = leading_number(key);
    mdb_cursor_close(cursor);
    return id <= number_max ? id : 0;
}

void record_load_state(const struct work *work, struct state *state_r)
{
    MDB_val key = env_val(state_key), value;
    *state_r = (struct state){0};
    int code = mdb_get(work->txn, work->env->tables[TABLE_META], &key, &value);
    enum status status = env_status(work->env, code, "read");
    uint64_t last_id = last_set_id(work);
    if (status == STATUS_OK && value.mv_size == sizeof *state_r)
        memcpy(state_r, value.mv_data, sizeof *state_r);
    else if (status == STATUS_OK)
        status = STATUS_DAMAGED;
    bool sane = status == STATUS_OK && state_r->revision <= number_max &&
                state_r->set_id <= number_max && state_r->set_id >= last_id;
    if (sane)
        return;
    *state_r = (struct state){.set_id = last_id};
    for (enum service service = 0; service < SERVICE_COUNT; service++)
        survey(work, (enum table)service, state_r);
    survey(work, TABLE_NAMED, state_r);
    if (status != STATUS_NOT_FOUND || state_r->revision > 0)
        (void)!env_damaged(work->env, "its own counters make no sense; they are made anew from the "
                                      "records");
}

enum status record_save_state(const struct work *work)
{
    return put(work, TABLE_META, env_val(state_key),
               env_val((struct bytes){(const uint8_t *)work->state, sizeof *work->state}));
}
