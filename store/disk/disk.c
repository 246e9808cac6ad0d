/*
 * disk - the engine's table: what the store's loop asks of it. Runs in store-disk; see engine.h.
 *
 * DIAGNOSTICS  env.h says when it ends the process. Without room it answers STATUS_FULL, logs that
 * once, and goes on as soon as there is room.
 */
#include "store/disk/disk.h"

#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/channel/channel.h"
#include "proto/run/epoch.h"
#include "store/disk/engine.h"
#include "store/disk/steps.h"
#include "store/figures.h"

enum {
    BATCH_BYTES_MAX = 8 << 20, /* then it is committed within a round */
    RECLAIM_BATCH = 256,       /* records, in a transaction of their own */
    ARENA_RECLAIM_BATCH = 256,
    CLOCK_NOTE_MS = 10000,
};

/* ---- Reading ---- */

static void complete(struct engine *engine, const struct engine_call *call,
                     const struct reply *reply)
{
    engine->callbacks.complete(engine->callbacks.context, call->channel, call->sequence, reply);
}

/* A record of the arena as the answer to a read. */
static struct reply reply_of(enum service service, const struct arena_entry *entry)
{
    struct reply reply = {.revision = entry->revision};
    switch (service_info(service)->holds) {
    case OP_HOLDS_NUMBER:
    case OP_HOLDS_FLAG:
        memcpy(&reply.number, entry->value.data,
               entry->value.len < sizeof reply.number ? entry->value.len : sizeof reply.number);
        break;
    case OP_HOLDS_VALUE:
    case OP_HOLDS_ITEMS:
        reply.value = entry->value;
        break;
    }
    return reply;
}

/* From the arena, which has what was committed last if it has the key at all. */
static bool read_arena(struct engine *engine, const struct engine_call *call)
{
    const struct request *request = &call->request;
    enum service service = op_info(request->op)->service;
    struct arena_entry entry;
    uint8_t room[ARENA_KEY_MAX];
    unsigned table;
    struct bytes key = arena_key(service, request->namespace, request->key, room, &table);
    if (request->op != service_info(service)->read)
        return false; /* it does not answer with the record as it is */
    if (arena_get(engine->arena, table, key, clock_service_ms(), &entry) != STATUS_OK)
        return false;
    struct reply reply = reply_of(service, &entry);
    complete(engine, call, &reply);
    return true;
}

/* Carries out a request that only reads, in the last commit. The reply is valid until the next. */
static struct reply read_commit(struct engine *engine, const struct request *request,
                                struct disk_tx *tx_r)
{
    struct reply reply;
    struct call call = engine_call(engine, &tx_r->tx, request);
    engine->view = engine_read(engine);
    disk_tx_read(tx_r, &engine->view);
    (void)!call_carry_out(&call, &reply);
    return reply;
}

/* Answers a read from the last commit, and keeps what was found for those that follow. */
static void read_now(struct engine *engine, const struct engine_call *call)
{
    const struct request *request = &call->request;
    struct disk_tx tx;
    if (engine->env.gone && gone_concerns(request)) {
        struct reply refused = gone_reply();
        complete(engine, call, &refused);
        return;
    }
    if (read_arena(engine, call))
        return;
    struct reply reply = read_commit(engine, request, &tx);
    complete(engine, call, &reply);
    if (reply.status == STATUS_DAMAGED)
        engine_stop_reading(engine); /* LMDB may have given the transaction up */
    else if (tx.found.revision != 0)
        engine_publish(engine, request_key(request), tx.shown, tx.found.expiry_ms,
                       tx.found.revision);
}

/* ---- The engine's table: requests ---- */

static void submit(struct engine *engine, const struct engine_call *call)
{
    struct batch *batch = &engine->batch;
    if (!op_info(call->request.op)->write && engine->waiting[call->channel] == 0) {
        read_now(engine, call);
        return;
    }
    bool whole = engine->carried_out == batch->count;
    struct batch_entry *entry = batch_add(batch, call);
    engine->waiting[call->channel]++;
    if (whole && engine_carry_out(engine, entry) == STATUS_OK)
        engine->carried_out = batch->count;
    if (batch->bytes.len > BATCH_BYTES_MAX)
        engine_settle(engine);
}

/* A change of a store of 0.2.0, whose answers are not kept in the channel: it wrote them down, but
 * for a set, which is now as it was then. What nothing was done for is to be sent again. */
static void replay(struct engine *engine, const struct engine_call *call)
{
    struct reply reply = {.status = STATUS_RESTAGE};
    const struct service_info *service = service_info(op_info(call->request.op)->service);
    if (call->sequence < channels_first(engine->channels, call->channel))
        reply.status = STATUS_UNKNOWN;
    else if (channels_result(engine->channels, call->channel, call->sequence, &reply) &&
             reply.status == STATUS_OK && service->holds == OP_HOLDS_ITEMS) {
        const struct request request = {.op = service->read, .key = call->request.key};
        struct disk_tx tx;
        struct reply now = read_commit(engine, &request, &tx);
        reply.status = now.status;
        reply.value = now.value;
    }
    complete(engine, call, &reply);
}

static uint64_t applied(const struct engine *engine, uint32_t channel)
{
    return channels_applied(engine->channels, channel);
}

static void forget(struct engine *engine, uint32_t channel)
{
    if (!channels_forget(engine->channels, channel))
        return;
    engine_begin(engine);
    if (engine_commit(engine, 0, 0) != STATUS_OK) /* no room: reads are answered all the same */
        log_warn("cannot write down in %s that channel %u is a new one; the next change does it",
                 engine->env.path, channel);
}

static void hit(struct engine *engine, uint64_t word)
{
    arena_hit(engine->arena, word);
}

/* ---- The engine's table: housekeeping ---- */

static bool reclaim(struct engine *engine, uint64_t now_ms)
{
    unsigned count = 0;
    struct work work = engine_read(engine);
    uint64_t next_ms = record_next_expiry(&work);
    engine_stop_reading(engine);
    if (next_ms == 0 || next_ms > now_ms)
        return false;
    engine_begin(engine);
    engine->work.now_ms = now_ms;
    if (record_reclaim(&engine->work, RECLAIM_BATCH, &count) != STATUS_OK || count == 0) {
        engine_abort(engine);
        return false;
    }
    if (engine_commit(engine, 0, 0) != STATUS_OK)
        return false;
    engine->expired += count;
    return count == RECLAIM_BATCH;
}

static bool tend(struct engine *engine, uint64_t now_wall_ms)
{
    if (now_wall_ms - engine->noted_ms >= CLOCK_NOTE_MS) {
        engine->noted_ms = now_wall_ms;
        epoch_note(engine->env.path, now_wall_ms);
    }
    gone_tend(&engine->env, clock_ms());
    snapshot_tend(engine->snapshot);
    readers_tend(&engine->env.readers, engine->env.lmdb, clock_ms());
    bool more =
        arena_reclaim(engine->arena, now_wall_ms, ARENA_RECLAIM_BATCH) == ARENA_RECLAIM_BATCH;
    return reclaim(engine, now_wall_ms) || more;
}

static enum status snapshot(struct engine *engine, const char *name,
                            struct engine_snapshot *result_r)
{
    return snapshot_make(engine->snapshot, name, result_r);
}

static void set_figures(const struct engine *engine, struct figures_page *page)
{
    const struct env *env = &engine->env;
    MDB_envinfo info;
    mdb_env_info(env->lmdb, &info);
    figures_set_arena(page, engine->arena);
    figures_set(page, FIGURE_DISK_COMMITS, engine->commits);
    figures_set(page, FIGURE_DISK_COMMIT, engine->commit_ns);
    figures_set(page, FIGURE_DISK_CHANGES, engine->changes);
    figures_set(page, FIGURE_DISK_REFUSED, engine->refused);
    figures_set(page, FIGURE_DISK_EXPIRED, engine->expired);
    figures_set(page, FIGURE_DISK_SYNC, flush_last_ns(env->flush));
    figures_set(page, FIGURE_DISK_DAMAGED, env->damaged);
    figures_set(page, FIGURE_DISK_DEAD_READERS, atomic_load(&env->readers.dead));
    figures_set(page, FIGURE_DISK_READERS, env->readers.open);
    figures_set(page, FIGURE_DISK_OLDEST_READER, env->readers.age_ms * 1000000);
    figures_set(page, FIGURE_DISK_OLDEST_READER_PID, (uint64_t)env->readers.pid);
    figures_set(page, FIGURE_DISK_MAP, env->pages_max * env->page_size);
    figures_set(page, FIGURE_DISK_FILE, (info.me_last_pgno + 1) * env->page_size);
}

/* ---- The engine's table: opening and closing ---- */

static void open_arena(struct engine *engine)
{
    struct arena_report found;
    char reason[256];
    engine->arena = arena_writer_open(RUN_FD_ARENA, ARENA_CACHE, clock_service_ms(), &found, reason,
                                      sizeof reason);
    if (!engine->arena)
        run_child_fail(RUN_EXIT_FAILURE, "%s", reason);
}

static void report(struct engine *engine, uint64_t start_ns)
{
    static const char *const promises[] = {
        [SYNC_COMMIT] = "commit", [SYNC_INTERVAL] = "interval", [SYNC_OFF] = "off"};
    unsigned long long records = 0;
    struct work work = engine_read(engine);
    for (int i = 0; i < TABLE_COUNT; i++) {
        MDB_stat table = {0};
        bool holds = i < SERVICE_COUNT || i == TABLE_NAMED;
        if (holds && engine->env.tables[i] != 0)
            env_must(&engine->env, mdb_stat(work.txn, engine->env.tables[i], &table), "read");
        records += table.ms_entries;
    }
    engine_stop_reading(engine);
    log_info("%s has %llu records, sync = %s, opened in %llu ms", engine->env.path, records,
             promises[engine->env.sync], (unsigned long long)(clock_ns() - start_ns) / 1000000);
}

static void take_steps(struct engine *engine)
{
    uint32_t newest[SERVICE_COUNT];
    for (enum service service = 0; service < SERVICE_COUNT; service++)
        newest[service] = service_info(service)->format;
    steps_take(engine, newest, service_steps);
}

static struct engine *open_engine(const struct run_child *child,
                                  const struct engine_callbacks *callbacks)
{
    uint64_t start = clock_ns();
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        panic("out of memory");
    engine->callbacks = *callbacks;
    engine->limits =
        (struct call_limits){.max_set = child->conf.max_set, .max_value = child->conf.max_value};
    api_pool_open(&engine->pool);
    engine->channel_count = run_channel_count(&child->conf);
    env_open(&engine->env, &child->conf);
    room_open(&engine->room, &engine->env);
    struct work work = engine_read(engine);
    record_load_state(&work, &engine->state);
    engine->committed = engine->state;
    engine->channels = channels_open(&work, engine->channel_count);
    take_steps(engine);
    engine->snapshot = snapshot_open(&engine->env);
    open_arena(engine);
    report(engine, start);
    return engine;
}

static void close_engine(struct engine **engine)
{
    struct engine *closing = *engine;
    *engine = NULL;
    engine_settle(closing);
    flush_close(&closing->env.flush);
    mdb_txn_abort(closing->reader);
    if (!snapshot_close(&closing->snapshot))
        return; /* its thread still reads; all is on disk */
    env_close(&closing->env);
    arena_writer_close(&closing->arena);
    channels_close(&closing->channels);
    batch_free(&closing->batch);
    buffer_free(&closing->items);
    api_pool_reset(&closing->pool);
    free(closing);
}

const struct engine_ops disk_engine = {
    .backend = BACKEND_DISK,
    .batch = CHANNEL_SLOTS,
    .open = open_engine,
    .close = close_engine,
    .applied = applied,
    .forget = forget,
    .submit = submit,
    .replay = replay,
    .settle = engine_settle,
    .hit = hit,
    .tend = tend,
    .snapshot = snapshot,
    .figures = set_figures,
};
