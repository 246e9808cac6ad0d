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
#include "proto/base/set.h"
#include "proto/run/epoch.h"
#include "store/arena/writer.h"
#include "store/figures.h"

enum {
    BATCH = 64, /* requests of one channel before the next has its turn */
    RECLAIM_BATCH = 256,
};

struct engine {
    struct engine_callbacks callbacks;
    struct arena_writer *arena;
    uint64_t max_set;      /* bytes of a set's packed items */
    struct buffer scratch; /* a set being changed */
};

static struct arena_origin origin_of(const struct engine_call *call)
{
    return (struct arena_origin){call->channel, call->sequence};
}

static enum status put(struct engine *engine, const struct engine_call *call, struct bytes value,
                       uint64_t *revision_r)
{
    const struct request *request = &call->request;
    return arena_put(engine->arena, op_info(request->op)->service, request->key, value,
                     request->expiry_ms, origin_of(call), clock_service_ms(), revision_r);
}

static enum status get(struct engine *engine, const struct engine_call *call,
                       struct arena_entry *entry_r)
{
    const struct request *request = &call->request;
    return arena_get(engine->arena, op_info(request->op)->service, request->key, clock_service_ms(),
                     entry_r);
}

/* ---- Values: cache and kv ---- */

static struct reply get_value(struct engine *engine, const struct engine_call *call)
{
    struct arena_entry entry;
    enum status status = get(engine, call, &entry);
    if (status != STATUS_OK)
        return (struct reply){.status = status};
    return (struct reply){.revision = entry.revision, .value = entry.value};
}

static struct reply put_value(struct engine *engine, const struct engine_call *call)
{
    struct reply reply = {0};
    reply.status = put(engine, call, call->request.value, &reply.revision);
    return reply;
}

static struct reply delete_value(struct engine *engine, const struct engine_call *call)
{
    return (struct reply){.status = arena_delete(engine->arena, SERVICE_KV, call->request.key,
                                                 origin_of(call), clock_service_ms())};
}

/* ---- Numbers: counters and flags ---- */

/* A counter is eight bytes, a flag one; a missing one is 0. */
static struct reply get_number(struct engine *engine, const struct engine_call *call)
{
    struct arena_entry entry;
    struct reply reply = {0};
    if (get(engine, call, &entry) == STATUS_OK) {
        memcpy(&reply.number, entry.value.data,
               entry.value.len < sizeof reply.number ? entry.value.len : sizeof reply.number);
        reply.revision = entry.revision;
    }
    return reply;
}

static struct reply increment(struct engine *engine, const struct engine_call *call)
{
    struct reply reply = get_number(engine, call);
    int64_t sum;
    if (__builtin_add_overflow(reply.number, call->request.number, &sum)) {
        reply.status = STATUS_OUT_OF_RANGE;
        return reply;
    }
    reply.number = sum;
    reply.status = put(engine, call, (struct bytes){(uint8_t *)&sum, sizeof sum}, &reply.revision);
    return reply;
}

static struct reply set_flag(struct engine *engine, const struct engine_call *call)
{
    const uint8_t flag = call->request.number != 0;
    struct reply reply = {.number = flag};
    reply.status = put(engine, call, (struct bytes){&flag, 1}, &reply.revision);
    return reply;
}

/* ---- Sets ---- */

static struct reply get_set(struct engine *engine, const struct engine_call *call)
{
    struct reply reply = get_value(engine, call);
    if (reply.status == STATUS_NOT_FOUND)
        reply.status = STATUS_OK;
    return reply;
}

/* Where the item stands in the packed items, its length bytes included. */
static bool find_item(struct bytes items, struct bytes item, struct bytes *at_r)
{
    struct bytes rest = items, next;
    while (set_next(&rest, &next))
        if (bytes_equal(next, item)) {
            *at_r = (struct bytes){next.data - 2, next.len + 2};
            return true;
        }
    return false;
}

/* Stores what scratch holds as the set. */
static struct reply put_set(struct engine *engine, const struct engine_call *call)
{
    struct reply reply = {.value = buffer_bytes(&engine->scratch)};
    if (engine->scratch.len > 0)
        reply.status = put(engine, call, reply.value, &reply.revision);
    else
        reply.status = arena_delete(engine->arena, SERVICE_SET, call->request.key, origin_of(call),
                                    clock_service_ms());
    if (reply.status != STATUS_OK)
        reply.value = (struct bytes){0};
    return reply;
}

static struct reply add_item(struct engine *engine, const struct engine_call *call)
{
    struct reply old = get_set(engine, call);
    struct bytes item = call->request.value, at;
    uint8_t prefix[2];
    if (find_item(old.value, item, &at))
        return old;
    if (old.value.len + sizeof prefix + item.len > engine->max_set)
        return (struct reply){.status = STATUS_TOO_LARGE};
    set_prefix(item.len, prefix);
    engine->scratch.len = 0;
    buffer_append(&engine->scratch, old.value.data, old.value.len);
    buffer_append(&engine->scratch, prefix, sizeof prefix);
    buffer_append(&engine->scratch, item.data, item.len);
    return put_set(engine, call);
}

static struct reply remove_item(struct engine *engine, const struct engine_call *call)
{
    struct reply old = get_set(engine, call);
    struct bytes at;
    if (!find_item(old.value, call->request.value, &at))
        return old;
    size_t before = (size_t)(at.data - old.value.data);
    engine->scratch.len = 0;
    buffer_append(&engine->scratch, old.value.data, before);
    buffer_append(&engine->scratch, at.data + at.len, old.value.len - before - at.len);
    return put_set(engine, call);
}

/* ---- The engine's table ---- */

static struct reply answer_ok(struct engine *engine, const struct engine_call *call)
{
    (void)engine;
    return (struct reply){.number = call->request.number};
}

/* What an operation does, and what it answers when it is known to have been done just before. */
static const struct {
    struct reply (*carry_out)(struct engine *engine, const struct engine_call *call);
    struct reply (*answer_again)(struct engine *engine, const struct engine_call *call);
} operations[OP_COUNT] = {
    [OP_CACHE_GET] = {get_value, get_value},     [OP_CACHE_SET] = {put_value, answer_ok},
    [OP_COUNTER_GET] = {get_number, get_number}, [OP_COUNTER_INCREMENT] = {increment, get_number},
    [OP_FLAG_GET] = {get_number, get_number},    [OP_FLAG_SET] = {set_flag, answer_ok},
    [OP_KV_GET] = {get_value, get_value},        [OP_KV_PUT] = {put_value, answer_ok},
    [OP_KV_DELETE] = {delete_value, answer_ok},  [OP_SET_GET] = {get_set, get_set},
    [OP_SET_ADD] = {add_item, get_set},          [OP_SET_REMOVE] = {remove_item, get_set},
};

static void submit(struct engine *engine, const struct engine_call *call)
{
    struct reply reply = operations[call->request.op].carry_out(engine, call);
    engine->callbacks.complete(engine->callbacks.context, call->channel, call->sequence, &reply);
}

static void replay(struct engine *engine, const struct engine_call *call)
{
    struct reply reply = operations[call->request.op].answer_again(engine, call);
    engine->callbacks.complete(engine->callbacks.context, call->channel, call->sequence, &reply);
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

static void stats(const struct engine *engine, struct stats *stats)
{
    figures_add_arena(stats, engine->arena, BACKEND_MEMORY);
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
    engine->max_set = child->conf.max_set;
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
    .replay = replay,
    .settle = settle,
    .hit = hit,
    .tend = tend,
    .stats = stats,
};
