/*
 * memory - the engine whose data is the arena itself. Runs in store-memory.
 *
 * Every request is carried out and answered at once. The data outlives the process (the memfd is
 * the supervisor's) but not the machine. What is damaged in it is given up, and the log says so.
 */
#include "store/memory/memory.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/run/epoch.h"
#include "store/figures.h"
#include "store/memory/tx.h"
#include "store/services/call.h"

enum {
    BATCH = 64, /* requests of one channel before the next has its turn */
    RECLAIM_BATCH = 256,
};

struct engine {
    struct engine_callbacks callbacks;
    struct arena_writer *arena;
    struct call_limits limits;
    struct memory_writes *writes;
    bool collections;      /* workers of 0.2.0 read sets in the arena, and know packed ones only */
    struct buffer scratch; /* a value being made */
    struct api_pool pool;  /* messages */
};

/* ---- The engine's table ---- */

/* What it answers; kept means that this is kept already. */
static struct reply carry_out(struct engine *engine, const struct engine_call *from, bool *kept_r)
{
    const struct engine_callbacks *to = &engine->callbacks;
    struct memory_tx tx;
    struct call call = {.tx = &tx.tx,
                        .request = &from->request,
                        .limits = &engine->limits,
                        .scratch = &engine->scratch,
                        .pool = &engine->pool};
    struct reply reply;
    memory_tx_begin(&tx, engine->arena, engine->writes, engine->collections, clock_service_ms());
    enum status status = call_carry_out(&call, &reply);
    *kept_r = false;
    if (status != STATUS_OK || memory_tx_is_empty(&tx))
        return reply;
    *kept_r = true;
    if (!to->keep(to->context, from->channel, from->sequence, &reply))
        return reply; /* a refusal is kept */
    status = memory_tx_commit(&tx, (struct arena_origin){from->channel, from->sequence});
    *kept_r = status == STATUS_OK;
    return *kept_r ? reply : (struct reply){.status = status};
}

static void submit(struct engine *engine, const struct engine_call *call)
{
    const struct engine_callbacks *to = &engine->callbacks;
    bool kept;
    struct reply reply = carry_out(engine, call, &kept);
    to->complete(to->context, call->channel, call->sequence, kept ? NULL : &reply);
}

/* A change of a store of 0.2.0, which kept no answers: nothing has changed since, so what it
 * answers is what is read now, but for the value that a change of a value does not answer with. */
static void replay(struct engine *engine, const struct engine_call *call)
{
    const struct engine_callbacks *to = &engine->callbacks;
    const struct service_info *service = service_info(op_info(call->request.op)->service);
    struct engine_call read = *call;
    struct reply reply = {0};
    bool kept;
    read.request = (struct request){.op = service->read, .key = call->request.key};
    if (call->sequence + 1 != arena_applied(engine->arena, call->channel))
        reply.status = STATUS_UNKNOWN;
    else if (service->holds != OP_HOLDS_VALUE)
        reply = carry_out(engine, &read, &kept);
    to->complete(to->context, call->channel, call->sequence, &reply);
}

static void settle(struct engine *engine)
{
    (void)engine; /* every request was answered when it was submitted */
}

static uint64_t applied(const struct engine *engine, uint32_t channel)
{
    return arena_applied(engine->arena, channel);
}

static void forget(struct engine *engine, uint32_t channel)
{
    arena_forget(engine->arena, channel);
}

static void hit(struct engine *engine, uint64_t word)
{
    arena_hit(engine->arena, word);
}

static bool tend(struct engine *engine, uint64_t now_wall_ms)
{
    return arena_reclaim(engine->arena, now_wall_ms, RECLAIM_BATCH) == RECLAIM_BATCH;
}

static void set_figures(const struct engine *engine, struct figures_page *page)
{
    figures_set_arena(page, engine->arena);
}

static void report(const struct arena_report *found)
{
    unsigned long long records = found->records, ms = found->elapsed_ns / 1000000;
    if (found->found_as == ARENA_WAS_SOUND)
        log_info("took over the arena: %llu records verified in %llu ms", records, ms);
    else if (found->found_as == ARENA_WAS_MENDED)
        log_error("the arena was damaged (%s): %llu records are given up and %llu words put right; "
                  "%llu records verified in %llu ms are taken over",
                  found->damage, (unsigned long long)found->quarantined,
                  (unsigned long long)found->mended, records, ms);
    else if (found->found_as == ARENA_WAS_DAMAGED)
        log_error("THE ARENA WAS DAMAGED (%s): it is abandoned, everything that the memory backend "
                  "held is lost, and a new generation is begun",
                  found->damage);
}

static struct engine *open_engine(const struct run_child *child,
                                  const struct engine_callbacks *callbacks)
{
    struct engine *engine = calloc(1, sizeof *engine);
    struct arena_report found;
    char reason[256];
    if (!engine)
        panic("out of memory");
    engine->limits =
        (struct call_limits){.max_set = child->conf.max_set, .max_value = child->conf.max_value};
    api_pool_open(&engine->pool);
    engine->callbacks = *callbacks;
    engine->writes = memory_writes_open();
    engine->collections = !child->parent_is_0_2;
    engine->arena = arena_writer_open(RUN_FD_ARENA, ARENA_DATA, clock_service_ms(), &found, reason,
                                      sizeof reason);
    if (!engine->arena)
        run_child_fail(RUN_EXIT_FAILURE, "%s", reason);
    report(&found);
    struct epoch epoch = epoch_now();
    arena_note_clock(engine->arena, epoch.offset_ms, epoch.boot);
    return engine;
}

static void close_engine(struct engine **engine)
{
    arena_writer_close(&(*engine)->arena);
    memory_writes_close(&(*engine)->writes);
    buffer_free(&(*engine)->scratch);
    api_pool_reset(&(*engine)->pool);
    free(*engine);
    *engine = NULL;
}

const struct engine_ops memory_engine = {
    .backend = BACKEND_MEMORY,
    .batch = BATCH,
    .at_once = true,
    .open = open_engine,
    .close = close_engine,
    .applied = applied,
    .forget = forget,
    .submit = submit,
    .replay = replay,
    .settle = settle,
    .hit = hit,
    .tend = tend,
    .figures = set_figures,
};
