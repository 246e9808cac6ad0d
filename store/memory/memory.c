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
#include "store/arena/writer.h"
#include "store/figures.h"
#include "store/services/call.h"

enum {
    BATCH = 64, /* requests of one channel before the next has its turn */
    RECLAIM_BATCH = 256,
};

struct engine {
    struct engine_callbacks callbacks;
    struct arena_writer *arena;
    struct call_limits limits;
    struct buffer scratch; /* a value being made */
};

/* ---- Transactions ---- */

enum { WRITES_MAX = 8 }; /* more than any operation makes */

/* A request's transaction: its writes are put together, and carried out in one step at its end. */
struct memory_tx {
    struct tx tx;
    struct engine *engine;
    uint64_t now_ms;
    unsigned count;
    struct arena_write writes[WRITES_MAX];
};

static struct memory_tx *memory_tx(struct tx *tx)
{
    return (struct memory_tx *)tx; /* its first member */
}

/* Whether a record can be one of the service; one of a wrong length would be read beyond its end.
 */
static bool is_sane(enum service service, struct bytes value)
{
    switch (service_info(service)->holds) {
    case OP_HOLDS_NUMBER:
        return value.len == sizeof(int64_t);
    case OP_HOLDS_FLAG:
        return value.len == 1;
    case OP_HOLDS_VALUE:
    case OP_HOLDS_ITEMS:
        break;
    }
    return true;
}

static enum status tx_damage(struct tx *tx, const char *what)
{
    (void)tx;
    log_error("the arena is damaged: %s", what);
    return STATUS_DAMAGED;
}

/* What was there before the request; no operation reads what it has written. */
static enum status tx_read(struct tx *tx, struct tx_key key, struct tx_item *item_r)
{
    struct memory_tx *self = memory_tx(tx);
    struct arena_entry entry;
    enum status status =
        arena_get(self->engine->arena, key.service, key.name, self->now_ms, &entry);
    if (status != STATUS_OK)
        return status;
    if (!is_sane(key.service, entry.value))
        return tx_damage(tx, "a record has a length that its service does not write");
    *item_r = (struct tx_item){entry.value, entry.revision, entry.expiry_ms};
    return STATUS_OK;
}

static struct arena_write *next_write(struct memory_tx *self, struct tx_key key)
{
    if (self->count == WRITES_MAX)
        panic("an operation makes more than %d writes", WRITES_MAX);
    struct arena_write *write = &self->writes[self->count++];
    *write = (struct arena_write){.service = key.service, .key = key.name};
    return write;
}

static enum status tx_write(struct tx *tx, struct tx_key key, struct bytes value,
                            uint64_t expiry_ms, uint64_t *revision_r)
{
    struct memory_tx *self = memory_tx(tx);
    struct arena_write *write = next_write(self, key);
    write->remove = false;
    write->value = value;
    write->expiry_ms = expiry_ms;
    *revision_r = arena_revision(self->engine->arena) + self->count;
    return STATUS_OK;
}

static enum status tx_erase(struct tx *tx, struct tx_key key)
{
    struct memory_tx *self = memory_tx(tx);
    struct arena_entry entry;
    enum status status =
        arena_get(self->engine->arena, key.service, key.name, self->now_ms, &entry);
    if (status == STATUS_OK)
        next_write(self, key)->remove = true;
    return status;
}

/* Without collections: nothing is kept in parts, and every record is what is shown. */
static const struct tx_ops tx_ops = {
    .get = tx_read,
    .put = tx_write,
    .remove = tx_erase,
    .damaged = tx_damage,
};

/* ---- The engine's table ---- */

/* What it answers; kept means that this is kept already. */
static struct reply carry_out(struct engine *engine, const struct engine_call *from, bool *kept_r)
{
    const struct engine_callbacks *to = &engine->callbacks;
    struct memory_tx tx;
    struct call call = {&tx.tx, &from->request, &engine->limits, &engine->scratch};
    struct reply reply;
    tx.tx.ops = &tx_ops;
    tx.engine = engine;
    tx.now_ms = clock_service_ms();
    tx.count = 0;
    enum status status = call_carry_out(&call, &reply);
    *kept_r = status == STATUS_OK && tx.count > 0;
    if (*kept_r) {
        const struct arena_origin origin = {from->channel, from->sequence};
        to->keep(to->context, from->channel, from->sequence, &reply);
        status = arena_apply(engine->arena, tx.writes, tx.count, origin, tx.now_ms);
    }
    if (status == STATUS_OK)
        return reply;
    *kept_r = false;
    return (struct reply){.status = status};
}

static void submit(struct engine *engine, const struct engine_call *call)
{
    const struct engine_callbacks *to = &engine->callbacks;
    bool kept;
    struct reply reply = carry_out(engine, call, &kept);
    to->complete(to->context, call->channel, call->sequence, kept ? NULL : &reply);
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
    engine->limits = (struct call_limits){.max_set = child->conf.max_set};
    engine->callbacks = *callbacks;
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
    buffer_free(&(*engine)->scratch);
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
    .settle = settle,
    .hit = hit,
    .tend = tend,
    .figures = set_figures,
};
