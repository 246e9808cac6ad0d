/*
 * commit - a batch's way to the disk, to the arena and to those who wait; see engine.h.
 *
 * Fails only for want of room, or for damage: then the batch is done again in smaller and smaller
 * pieces, and what cannot be done is refused alone. Whatever else goes wrong ends the process
 * before anything was answered.
 */
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/failpoint.h"
#include "store/disk/engine.h"

/* ---- Transactions ---- */

struct work engine_read(struct engine *engine)
{
    if (!engine->reading) {
        int code = engine->reader ? mdb_txn_renew(engine->reader)
                                  : env_begin_read(&engine->env, &engine->reader);
        env_must(&engine->env, code, "begin to read");
        engine->reading = true;
    }
    return (struct work){.env = &engine->env, .txn = engine->reader, .now_ms = clock_service_ms()};
}

void engine_stop_reading(struct engine *engine)
{
    if (engine->reading)
        mdb_txn_reset(engine->reader);
    engine->reading = false;
}

void engine_begin(struct engine *engine)
{
    struct work *work = &engine->work;
    if (work->txn)
        return;
    *work =
        (struct work){.env = &engine->env, .state = &engine->state, .now_ms = clock_service_ms()};
    env_must(&engine->env, mdb_txn_begin(engine->env.lmdb, NULL, 0, &work->txn), "begin to write");
    room_begin(&engine->room, &engine->env);
}

void engine_abort(struct engine *engine)
{
    if (engine->work.txn)
        mdb_txn_abort(engine->work.txn);
    engine->work = (struct work){0};
    engine->state = engine->committed;
}

static enum status save(struct engine *engine, size_t first, size_t count)
{
    enum status status = record_save_state(&engine->work);
    if (status == STATUS_OK)
        status = channels_save(engine->channels, &engine->work, &engine->batch, first, count);
    return status;
}

enum status engine_commit(struct engine *engine, size_t first, size_t count)
{
    uint64_t start = clock_ns();
    enum status status = gone_look(&engine->env) ? STATUS_UNAVAILABLE : save(engine, first, count);
    if (status != STATUS_OK) {
        engine_abort(engine);
        return status;
    }
    failpoint("disk.before_commit");
    engine_stop_reading(engine);
    flush_before_commit(engine->env.flush);
    int code = mdb_txn_commit(engine->work.txn); /* it is gone in any case */
    flush_after_commit(engine->env.flush);
    engine->work = (struct work){0};
    status = env_status(&engine->env, code, "commit to");
    if (status != STATUS_OK) {
        engine_abort(engine);
        return status;
    }
    failpoint("disk.after_commit");
    channels_saved(engine->channels);
    engine->committed = engine->state;
    engine->commits++;
    engine->commit_ns += clock_ns() - start;
    return STATUS_OK;
}

/* ---- The arena ---- */

void engine_publish(struct engine *engine, struct tx_key key, struct bytes shown,
                    uint64_t expiry_ms, uint64_t revision)
{
    uint8_t room[ARENA_KEY_MAX];
    unsigned table;
    struct bytes at = arena_key(key.service, key.namespace, key.name, room, &table);
    /* A set is shown as its items, of which it has at least one. */
    bool wanted = service_info(key.service)->holds != OP_HOLDS_ITEMS || shown.len > 0;
    if (wanted && revision != 0 &&
        arena_load(engine->arena, table, at, shown, expiry_ms, revision, clock_service_ms()) ==
            STATUS_OK)
        return;
    /* Also one that has expired: the clock may be set back. */
    static const struct arena_origin nobody = {.channel = ARENA_NOBODY};
    (void)!arena_delete(engine->arena, table, at, nobody, 0);
}

/* What was put is what is shown. */
static void publish(struct engine *engine, const struct batch_entry *entry)
{
    for (size_t i = 0; i < entry->write_count; i++) {
        struct batch_wrote wrote = batch_write(&engine->batch, entry->first_write + i);
        engine_publish(engine, wrote.key, wrote.shown, wrote.expiry_ms, wrote.revision);
    }
}

/* ---- The batch ---- */

/* Whether it makes what is stored under its key larger. */
static bool enlarges(const struct work *work, const struct request *request)
{
    struct record old;
    const struct tx_key key = request_key(request);
    enum op_holds holds = service_info(key.service)->holds;
    bool unknown = holds == OP_HOLDS_ITEMS || op_info(request->op)->takes == OP_TAKES_MESSAGE;
    if (unknown || record_get(work, key, &old) != STATUS_OK)
        return true;
    return holds == OP_HOLDS_VALUE && request->value.len > old.value.len;
}

static bool has_room(struct engine *engine, const struct request *request)
{
    return op_info(request->op)->kind != OP_GROWS ||
           room_take(&engine->room, &engine->env, engine_read(engine).txn, request->value.len) ||
           !enlarges(&engine->work, request);
}

/* STATUS_OK, also when it is refused without having changed anything; else the transaction is lost
 * and *reply is not to be used. */
static enum status carry_out_one(struct engine *engine, struct batch_entry *entry,
                                 const struct request *request, struct reply *reply)
{
    struct work *work = &engine->work;
    struct disk_tx tx;
    struct call call = engine_call(engine, &tx.tx, request);
    bool changed = work->changed;
    disk_tx_write(&tx, work, &engine->batch, entry);
    work->changed = false;
    enum status status = call_carry_out(&call, reply);
    entry->changed = work->changed;
    work->changed |= changed;
    return entry->changed ? status : STATUS_OK;
}

/* Keeps what the entry is to be answered. STATUS_OK, or what was changed for it cannot stay. */
static enum status keep(struct engine *engine, struct batch_entry *entry, const struct reply *reply)
{
    const struct engine_callbacks *to = &engine->callbacks;
    bool kept = to->keep(to->context, entry->channel, entry->sequence, reply);
    entry->status = kept ? reply->status : STATUS_UNAVAILABLE;
    return kept || !entry->changed ? STATUS_OK : STATUS_UNAVAILABLE;
}

enum status engine_carry_out(struct engine *engine, struct batch_entry *entry)
{
    struct request request = batch_request(&engine->batch, entry);
    struct reply reply = {.status = STATUS_FULL};
    enum status status = STATUS_OK;
    batch_begin(&engine->batch, entry);
    if (engine->env.gone && gone_concerns(&request)) {
        reply = gone_reply();
        return keep(engine, entry, &reply);
    }
    engine_begin(engine);
    if (has_room(engine, &request))
        status = carry_out_one(engine, entry, &request, &reply);
    return status == STATUS_OK ? keep(engine, entry, &reply) : status;
}

/* Shows and answers entries that are committed, or changed nothing. */
static void finish(struct engine *engine, size_t first, size_t count)
{
    const struct batch_entry *entries = &engine->batch.entries[first];
    for (size_t i = 0; i < count; i++)
        if (entries[i].changed) {
            publish(engine, &entries[i]);
            engine->changes++;
        }
    failpoint("disk.after_publish");
    for (size_t i = 0; i < count; i++) {
        engine->refused += entries[i].status == STATUS_FULL;
        engine->callbacks.complete(engine->callbacks.context, entries[i].channel,
                                   entries[i].sequence, NULL);
    }
}

/* Commits what was carried out for entries of the batch, and answers them. */
static enum status commit_and_finish(struct engine *engine, size_t first, size_t count)
{
    enum status status = STATUS_OK;
    if (engine->work.changed)
        status = engine_commit(engine, first, count);
    engine_abort(engine);
    if (status == STATUS_OK)
        finish(engine, first, count);
    return status;
}

static enum status carry_out(struct engine *engine, size_t first, size_t count)
{
    enum status status = STATUS_OK;
    for (size_t i = first; status == STATUS_OK && i < first + count; i++)
        status = engine_carry_out(engine, &engine->batch.entries[i]);
    return status;
}

/*
 * Entries of the batch of which one at least could not be done with the others: each half in a
 * transaction of its own, down to the one that is refused. So one that cannot be written costs the
 * others a few commits, and not one each.
 */
static void settle_apart(struct engine *engine, size_t first, size_t count)
{
    struct batch *batch = &engine->batch;
    struct batch_mark mark = batch_mark(batch);
    run_child_beat(clock_ms());
    enum status status = carry_out(engine, first, count);
    if (status == STATUS_OK)
        status = commit_and_finish(engine, first, count);
    if (status == STATUS_OK)
        return;
    engine_abort(engine);
    batch_return(batch, mark); /* what a lost transaction wrote needs no room */
    if (count > 1) {
        settle_apart(engine, first, count / 2);
        settle_apart(engine, first + count / 2, count - count / 2);
        return;
    }
    const struct reply refused = {.status = status};
    batch_begin(batch, &batch->entries[first]);
    (void)!keep(engine, &batch->entries[first], &refused);
    finish(engine, first, 1);
}

/* All of it in one transaction, if it can be. */
static void settle(struct engine *engine)
{
    size_t count = engine->batch.count;
    if (engine->carried_out == count && commit_and_finish(engine, 0, count) == STATUS_OK)
        return;
    engine_abort(engine);
    readers_clear(&engine->env.readers, engine->env.lmdb);
    settle_apart(engine, 0, count);
}

/* Logs when the database becomes full, and when it has room again. */
static void note_room(struct engine *engine, uint64_t refused)
{
    bool full = engine->refused > refused;
    const struct env *env = &engine->env;
    if (full && !engine->was_full) {
        log_warn("no more room in %s: what needs more is refused until something is deleted, or "
                 "the disk has room again (map_size is %llu bytes)",
                 env->path, (unsigned long long)(env->pages_max * env->page_size));
        if (env->readers.pid != 0 && env->readers.pid != getpid())
            log_warn("process %d reads the database as it was %llu s ago or more, so that pages "
                     "freed since are not used again; end it",
                     env->readers.pid, (unsigned long long)env->readers.age_ms / 1000);
    }
    engine->was_full = full;
}

void engine_settle(struct engine *engine)
{
    if (engine->batch.count > 0) {
        uint64_t refused = engine->refused, changes = engine->changes;
        settle(engine);
        if (engine->refused > refused || engine->changes > changes)
            note_room(engine, refused);
        memset(engine->waiting, 0, engine->channel_count * sizeof engine->waiting[0]);
        batch_clear(&engine->batch);
        engine->carried_out = 0;
    }
    engine_stop_reading(engine);
}
