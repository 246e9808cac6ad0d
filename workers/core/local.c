/*
 * local - reads answered in the worker, from its read-only mapping of a store's arena.
 *
 * It never waits and never writes; whatever it cannot answer for sure goes to the store.
 */
#include "proto/base/clock.h"
#include "proto/base/set.h"
#include "workers/core/internal.h"

/* What it means that an arena has no record of a key, by the backend it belongs to. */
static const bool absent_is_final[BACKEND_COUNT] = {
    [BACKEND_MEMORY] = true, /* the arena is the data */
    [BACKEND_DISK] = false,  /* a read-through cache: ask the store */
    [BACKEND_REDIS] = false, /* has no arena */
};

bool core_absent_is_final(enum backend backend)
{
    return absent_is_final[backend];
}

static enum status found_counter(struct bytes value, struct reply *reply)
{
    if (value.len != sizeof reply->number)
        return STATUS_RETRY;
    memcpy(&reply->number, value.data, sizeof reply->number); /* little-endian, as layout.h says */
    return STATUS_OK;
}

static enum status found_flag(struct bytes value, struct reply *reply)
{
    if (value.len != 1 || value.data[0] > 1)
        return STATUS_RETRY;
    reply->number = value.data[0];
    return STATUS_OK;
}

/* A sample of the hits tells the store which records are in use. By chance, because reads that come
 * round in a fixed order would otherwise always have the same ones sampled. */
static void report_hit(struct core_store *store, uint64_t word)
{
    store->chance = store->chance * 1664525u + 1013904223u;
    if (store->chance >> 16 < 65536 / CORE_HIT_SAMPLE)
        channel_worker_hit(&store->channel, word);
}

static enum status found(struct core_store *store, enum service service,
                         const struct arena_found *record, struct reply *reply)
{
    reply->revision = record->revision;
    if (service == SERVICE_CACHE || !store->absent_is_final)
        report_hit(store, record->word);
    switch (service_info(service)->holds) {
    case OP_HOLDS_NUMBER:
        return found_counter(record->value, reply);
    case OP_HOLDS_FLAG:
        return found_flag(record->value, reply);
    case OP_HOLDS_ITEMS:
        if (set_is_root(record->value))
            return STATUS_RETRY;
        break;
    case OP_HOLDS_VALUE:
        break;
    }
    reply->value = record->value;
    return STATUS_OK;
}

enum status core_read_local(struct core_store *store, const struct request *request,
                            struct reply *reply_r)
{
    enum service service = op_info(request->op)->service;
    struct arena_found record;
    uint8_t room[ARENA_KEY_MAX];
    unsigned table;
    if (!store->reader.base)
        return STATUS_RETRY; /* a backend without an arena */
    const struct bytes key = arena_key(service, request->namespace, request->key, room, &table);
    enum status status =
        arena_read(&store->reader, table, key, clock_service_ms(), &store->core->scratch, &record);
    if (status == STATUS_OK)
        return found(store, service, &record, reply_r);
    if (status == STATUS_NOT_FOUND && store->absent_is_final)
        return service_info(service)->absent;
    return STATUS_RETRY;
}
