/*
 * steps - see steps.h. Runs in store-disk when it starts, before it serves anybody.
 *
 * Fails for want of room only. A record that makes no sense stays as it is and is counted.
 */
#include "store/disk/steps.h"

#include <endian.h>

#include "proto/base/clock.h"
#include "proto/base/failpoint.h"
#include "store/disk/formats.h"

enum { BATCH = 1000 }; /* records of one transaction */

/* Where it goes on: whether in the table of namespaces, and the least key that comes next there. */
struct position {
    uint8_t data[1 + 1 + sizeof(uint16_t) + KEY_MAX + 1];
    size_t len;
};

static struct position position_of(bool named, struct bytes key)
{
    struct position position = {.data = {named}, .len = 1 + key.len};
    if (position.len > sizeof position.data - 1)
        position.len = sizeof position.data - 1;
    if (key.len > 0)
        memcpy(position.data + 1, key.data, position.len - 1);
    return position;
}

static const struct step *step_from(const struct step *steps, enum service service, uint32_t from)
{
    for (; steps->take; steps++)
        if (steps->service == service && steps->from == from)
            return steps;
    return NULL;
}

/* The key at a position or the next behind it; false when the service has none there. */
static bool find_key(struct engine *engine, enum service service, const struct position *at,
                     struct bytes *key_r)
{
    const struct work *work = &engine->work;
    bool named = at->data[0];
    MDB_dbi table = work->env->tables[named ? TABLE_NAMED : (enum table)service];
    MDB_cursor *cursor;
    MDB_val key = {at->len - 1, (void *)(uintptr_t)(at->data + 1)}, value;
    if (table == 0)
        return false;
    env_must(work->env, mdb_cursor_open(work->txn, table, &cursor), "read");
    int code = mdb_cursor_get(cursor, &key, &value, at->len > 1 ? MDB_SET_RANGE : MDB_FIRST);
    mdb_cursor_close(cursor);
    if (env_status(work->env, code, "read") != STATUS_OK)
        return false;
    *key_r = env_bytes(key);
    return !named || key_r->data[0] == service;
}

/* Moves to the table of namespaces, or on to the next record. False when there are no more. */
static bool find_record(struct engine *engine, enum service service, struct position *at,
                        struct bytes *key_r)
{
    const uint8_t prefix = (uint8_t)service;
    if (find_key(engine, service, at, key_r))
        return true;
    if (at->data[0])
        return false;
    *at = position_of(true, (struct bytes){&prefix, 1});
    return find_key(engine, service, at, key_r);
}

/* The record's key, from its key in its table; it stands in the position. */
static struct tx_key key_in(const struct position *at, enum service service)
{
    struct tx_key key = {.service = service, .name = {at->data + 1, at->len - 1}};
    if (at->data[0] && key.name.len > sizeof key.namespace + 1) {
        uint16_t namespace;
        memcpy(&namespace, key.name.data + 1, sizeof namespace);
        key.namespace = be16toh(namespace);
        key.name.data += 1 + sizeof namespace;
        key.name.len -= 1 + sizeof namespace;
    }
    return key;
}

static enum status take_one(struct engine *engine, const struct step *step, struct tx_key key)
{
    struct batch_entry entry = {0};
    struct disk_tx tx;
    struct tx_item item;
    disk_tx_write(&tx, &engine->work, &engine->batch, &entry);
    if (tx_get(&tx.tx, key, &item) != STATUS_OK)
        return STATUS_OK; /* it has expired, or makes no sense */
    enum status status = step->take(&tx.tx, key, &item);
    batch_clear(&engine->batch);
    return status;
}

/* Some records. *at moves on; *done_r says whether there are no more. */
static enum status take_some(struct engine *engine, const struct step *step, struct position *at,
                             bool *done_r)
{
    enum status status = STATUS_OK;
    struct bytes found;
    *done_r = false;
    for (int i = 0; i < BATCH && status == STATUS_OK; i++) {
        if (!find_record(engine, step->service, at, &found)) {
            *done_r = true;
            break;
        }
        *at = position_of(at->data[0], found);
        status = take_one(engine, step, key_in(at, step->service));
        at->data[at->len++] = '\0'; /* the next is behind this one */
    }
    return status;
}

_Noreturn static void fail(const struct engine *engine, enum service service, uint32_t number)
{
    run_child_fail(RUN_EXIT_FAILURE,
                   "no room in %s to bring the data of %s to format %u: give it a larger map_size, "
                   "or the disk more room; nothing is lost",
                   engine->env.path, service_name(service), number);
}

/* One transaction: a batch, and how far it is now. False when the step is done. */
static bool advance(struct engine *engine, enum service service, uint32_t from,
                    const struct step *step)
{
    bool done = true;
    enum status status = STATUS_OK;
    struct position at = position_of(false, (struct bytes){0});
    engine_begin(engine);
    struct bytes noted = formats_position(&engine->env, engine->work.txn, service);
    if (noted.len > 0 && noted.len <= sizeof at.data) {
        memcpy(at.data, noted.data, noted.len);
        at.len = noted.len;
    }
    if (step)
        status = take_some(engine, step, &at, &done);
    const struct bytes position = {at.data, done ? 0 : at.len};
    if (status == STATUS_OK)
        status =
            formats_put(&engine->env, engine->work.txn, service, done ? from + 1 : from, position);
    if (status != STATUS_OK)
        engine_abort(engine);
    if (status != STATUS_OK || engine_commit(engine, 0, 0) != STATUS_OK)
        fail(engine, service, from + 1);
    failpoint("disk.after_step");
    run_child_beat(clock_ms());
    return !done;
}

static uint32_t format_now(struct engine *engine, enum service service)
{
    struct work work = engine_read(engine);
    uint32_t number = formats_of(&engine->env, work.txn, service);
    engine_stop_reading(engine);
    return number;
}

void steps_take(struct engine *engine, const uint32_t newest[SERVICE_COUNT],
                const struct step *steps)
{
    for (enum service service = 0; service < SERVICE_COUNT; service++) {
        uint32_t from;
        while ((from = format_now(engine, service)) < newest[service]) {
            log_info("bringing the data of %s in %s from format %u to %u", service_name(service),
                     engine->env.path, from, from + 1);
            while (advance(engine, service, from, step_from(steps, service, from)))
                ;
        }
    }
}
