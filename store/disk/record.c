/*
 * record - see record.h. Runs in store-disk.
 *
 * A record that this program cannot have written ends the process, because nothing good can come
 * of going on: it says so, and so does every successor.
 */
#include "store/disk/record.h"

#include <endian.h>

static const char damaged[] = "it holds a record that Strato did not write: start from a snapshot";

/* ---- Keys ---- */

struct key {
    uint8_t data[8 + 1 + KEY_MAX];
    size_t len;
};

static MDB_val key_val(const struct key *key)
{
    return env_val((struct bytes){key->data, key->len});
}

static void item_key(uint64_t set, struct bytes item, struct key *key_r)
{
    uint64_t id = htobe64(set);
    memcpy(key_r->data, &id, sizeof id);
    if (item.len > 0)
        memcpy(key_r->data + sizeof id, item.data, item.len);
    key_r->len = sizeof id + item.len;
}

static void expiry_key(uint64_t expiry_ms, enum service service, struct bytes key,
                       struct key *key_r)
{
    uint64_t time = htobe64(expiry_ms);
    memcpy(key_r->data, &time, sizeof time);
    key_r->data[sizeof time] = (uint8_t)service;
    memcpy(key_r->data + sizeof time + 1, key.data, key.len);
    key_r->len = sizeof time + 1 + key.len;
}

static uint64_t leading_number(MDB_val key)
{
    uint64_t number;
    memcpy(&number, key.mv_data, sizeof number);
    return be64toh(number);
}

/* ---- Reading ---- */

/* Also what has expired. */
static enum status look_up(const struct work *work, enum service service, struct bytes key,
                           struct record *record_r)
{
    struct record_header header;
    MDB_val at = env_val(key), value;
    int code = mdb_get(work->txn, work->env->tables[service], &at, &value);
    enum status status = env_status(work->env, code, "read");
    if (status != STATUS_OK)
        return STATUS_NOT_FOUND;
    if (value.mv_size < sizeof header)
        env_fatal(work->env, "use", damaged);
    memcpy(&header, value.mv_data, sizeof header);
    if (header.format != RECORD_FORMAT)
        env_fatal(work->env, "use", damaged);
    record_r->revision = header.revision;
    record_r->expiry_ms = header.expiry_ms;
    record_r->value = (struct bytes){(const uint8_t *)value.mv_data + sizeof header,
                                     value.mv_size - sizeof header};
    return STATUS_OK;
}

static bool expired(const struct record *record, uint64_t now_ms)
{
    return record->expiry_ms != 0 && record->expiry_ms <= now_ms;
}

enum status record_get(const struct work *work, enum service service, struct bytes key,
                       struct record *record_r)
{
    enum status status = look_up(work, service, key, record_r);
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

/* The index of times follows a record from one expiry to another; 0: it has none. */
static enum status move_expiry(const struct work *work, enum service service, struct bytes key,
                               uint64_t from, uint64_t to)
{
    struct key index;
    enum status status = STATUS_OK;
    if (from == to)
        return STATUS_OK;
    if (from != 0) {
        expiry_key(from, service, key, &index);
        status = drop(work, TABLE_EXPIRY, key_val(&index));
    }
    if (to == 0 || status == STATUS_FULL)
        return status == STATUS_FULL ? STATUS_FULL : STATUS_OK;
    expiry_key(to, service, key, &index);
    return put(work, TABLE_EXPIRY, key_val(&index), (MDB_val){0});
}

enum status record_put(struct work *work, enum service service, struct bytes key,
                       struct bytes value, uint64_t expiry_ms, uint64_t *revision_r)
{
    struct record old = {0};
    struct record_header header = {RECORD_FORMAT, ++work->state->revision, expiry_ms};
    work->changed = true;
    if (look_up(work, service, key, &old) != STATUS_OK)
        old.expiry_ms = 0;
    if (move_expiry(work, service, key, old.expiry_ms, expiry_ms) != STATUS_OK)
        return STATUS_FULL;
    MDB_val at = env_val(key), to = {sizeof header + value.len, NULL};
    int code = mdb_put(work->txn, work->env->tables[service], &at, &to, MDB_RESERVE);
    enum status status = env_status(work->env, code, "write");
    if (status != STATUS_OK)
        return status;
    memcpy(to.mv_data, &header, sizeof header);
    if (value.len > 0)
        memcpy((uint8_t *)to.mv_data + sizeof header, value.data, value.len);
    *revision_r = header.revision;
    return STATUS_OK;
}

enum status record_delete(struct work *work, enum service service, struct bytes key)
{
    struct record old;
    if (record_get(work, service, key, &old) != STATUS_OK)
        return STATUS_NOT_FOUND;
    work->changed = true;
    work->state->revision++;
    if (move_expiry(work, service, key, old.expiry_ms, 0) != STATUS_OK)
        return STATUS_FULL;
    return drop(work, (enum table)service, env_val(key));
}

/* ---- Expiry ---- */

/* The first of the index. False when it is empty. */
static bool first_expiry(const struct work *work, MDB_val *key_r)
{
    MDB_cursor *cursor;
    MDB_val value;
    env_must(work->env, mdb_cursor_open(work->txn, work->env->tables[TABLE_EXPIRY], &cursor),
             "read");
    enum status status =
        env_status(work->env, mdb_cursor_get(cursor, key_r, &value, MDB_FIRST), "read");
    mdb_cursor_close(cursor);
    return status == STATUS_OK;
}

uint64_t record_next_expiry(const struct work *work)
{
    MDB_val key;
    return first_expiry(work, &key) ? leading_number(key) : 0;
}

enum status record_reclaim(struct work *work, unsigned limit, unsigned *count_r)
{
    MDB_val at;
    enum status status = STATUS_OK;
    for (*count_r = 0; *count_r < limit && first_expiry(work, &at); ++*count_r) {
        struct key index = {.len = at.mv_size};
        uint64_t expiry_ms = leading_number(at);
        if (expiry_ms > work->now_ms)
            break;
        if (at.mv_size <= 9 || at.mv_size > sizeof index.data)
            env_fatal(work->env, "use", damaged);
        memcpy(index.data, at.mv_data, at.mv_size);
        enum service service = index.data[8];
        struct bytes key = {index.data + 9, index.len - 9};
        struct record record;
        if (service >= SERVICE_COUNT)
            env_fatal(work->env, "use", damaged);
        work->changed = true;
        if (look_up(work, service, key, &record) == STATUS_OK && record.expiry_ms == expiry_ms)
            status = drop(work, (enum table)service, env_val(key));
        if (status != STATUS_FULL)
            status = drop(work, TABLE_EXPIRY, key_val(&index));
        if (status == STATUS_FULL)
            return STATUS_FULL;
    }
    return STATUS_OK;
}

/* ---- Items of sets ---- */

void record_items(const struct work *work, const struct set_root *root, struct buffer *items)
{
    struct key prefix;
    MDB_cursor *cursor;
    MDB_val key, value;
    item_key(root->id, (struct bytes){0}, &prefix);
    key = key_val(&prefix);
    buffer_reserve(items, root->packed);
    env_must(work->env, mdb_cursor_open(work->txn, work->env->tables[TABLE_ITEM], &cursor), "read");
    int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (; code == MDB_SUCCESS && leading_number(key) == root->id;
         code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        uint8_t length[2];
        set_prefix(key.mv_size - 8, length);
        buffer_append(items, length, sizeof length);
        buffer_append(items, (const uint8_t *)key.mv_data + 8, key.mv_size - 8);
    }
    if (code != MDB_NOTFOUND)
        env_must(work->env, code, "read");
    mdb_cursor_close(cursor);
}

bool record_has_item(const struct work *work, uint64_t set, struct bytes item)
{
    struct key key;
    MDB_val value;
    item_key(set, item, &key);
    MDB_val at = key_val(&key);
    int code = mdb_get(work->txn, work->env->tables[TABLE_ITEM], &at, &value);
    return env_status(work->env, code, "read") == STATUS_OK;
}

enum status record_add_item(const struct work *work, uint64_t set, struct bytes item)
{
    struct key key;
    MDB_val nothing = {0};
    item_key(set, item, &key);
    MDB_val at = key_val(&key);
    int code = mdb_put(work->txn, work->env->tables[TABLE_ITEM], &at, &nothing, MDB_NOOVERWRITE);
    return code == MDB_KEYEXIST ? STATUS_NOT_FOUND : env_status(work->env, code, "write");
}

enum status record_remove_item(const struct work *work, uint64_t set, struct bytes item)
{
    struct key key;
    item_key(set, item, &key);
    return drop(work, TABLE_ITEM, key_val(&key));
}

/* ---- State ---- */

static const struct bytes state_key = {(const uint8_t *)"state", 5};

void record_load_state(const struct work *work, struct state *state_r)
{
    MDB_val key = env_val(state_key), value;
    int code = mdb_get(work->txn, work->env->tables[TABLE_META], &key, &value);
    *state_r = (struct state){0};
    if (env_status(work->env, code, "read") != STATUS_OK)
        return; /* a new database */
    if (value.mv_size != sizeof *state_r)
        env_fatal(work->env, "use", damaged);
    memcpy(state_r, value.mv_data, sizeof *state_r);
}

enum status record_save_state(const struct work *work)
{
    return put(work, TABLE_META, env_val(state_key),
               env_val((struct bytes){(const uint8_t *)work->state, sizeof *work->state}));
}
