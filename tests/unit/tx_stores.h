/*
 * tx_stores - a store over the arena and one over LMDB, each with a transaction (store/tx.h) that
 * is begun and ended by hand.
 */
#ifndef STRATO_TESTS_UNIT_TX_STORES_H
#define STRATO_TESTS_UNIT_TX_STORES_H

#include "store/memory/tx.h"
#include "tests/unit/arena_memory.h"
#include "tests/unit/disk_engine.h"

static const uint64_t NOW = 1700000000000;

static uint64_t seed = 1;

static inline uint64_t chance(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

struct store {
    struct tx *tx; /* the open transaction */
    void (*begin)(struct store *store);
    void (*end)(struct store *store, bool commit);

    struct arena_writer *arena;
    struct memory_writes *writes;
    struct memory_tx memory;
    uint64_t sequence;

    struct env env;
    struct state state, committed;
    struct work work;
    struct batch batch;
    struct disk_tx disk;
};

static inline void begin_memory(struct store *store)
{
    memory_tx_begin(&store->memory, store->arena, store->writes, true, NOW);
    store->tx = &store->memory.tx;
}

static inline void end_memory(struct store *store, bool commit)
{
    const struct arena_origin origin = {3, store->sequence++};
    if (commit)
        assert_int_equal(memory_tx_commit(&store->memory, origin), STATUS_OK);
}

static inline void begin_disk(struct store *store)
{
    static const struct engine_call nothing = {.request = {.op = OP_KV_GET}};
    store->work = (struct work){.env = &store->env, .state = &store->state, .now_ms = NOW};
    assert_int_equal(mdb_txn_begin(store->env.lmdb, NULL, 0, &store->work.txn), MDB_SUCCESS);
    struct batch_entry *entry = batch_add(&store->batch, &nothing);
    batch_begin(&store->batch, entry);
    disk_tx_write(&store->disk, &store->work, &store->batch, entry);
    store->tx = &store->disk.tx;
}

static inline void end_disk(struct store *store, bool commit)
{
    if (commit)
        assert_int_equal(mdb_txn_commit(store->work.txn), MDB_SUCCESS);
    else
        mdb_txn_abort(store->work.txn);
    if (commit)
        store->committed = store->state;
    store->state = store->committed;
    batch_clear(&store->batch);
}

static inline void open_both(struct store stores[2], struct arena_memory *memory,
                             struct disk_engine *disk)
{
    memset(stores, 0, 2 * sizeof *stores);
    stores[0].begin = begin_memory;
    stores[0].end = end_memory;
    stores[0].arena = arena_memory_open(memory, NOW, ARENA_WAS_RAW);
    stores[0].writes = memory_writes_open();
    stores[1].begin = begin_disk;
    stores[1].end = end_disk;
    disk->child.conf.disk_sync = SYNC_OFF;
    env_open(&stores[1].env, &disk->child.conf);
}

static inline void close_both(struct store stores[2])
{
    memory_writes_close(&stores[0].writes);
    arena_writer_close(&stores[0].arena);
    batch_free(&stores[1].batch);
    env_close(&stores[1].env);
}

#endif
