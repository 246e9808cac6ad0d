/*
 * engine - the engine's own state and its transactions, shared by disk.c (what it is asked),
 * commit.c (a batch's way to disk, arena and workers). Private to this folder.
 *
 * A read is answered at once from the last committed snapshot, unless its channel has changes
 * waiting. Changes are carried out in the one open write transaction and wait in the batch; settle
 * commits, publishes to the arena, and only then answers. So the arena never has what the disk
 * does not have, and nobody is told of anything that is not committed.
 */
#ifndef STRATO_STORE_DISK_ENGINE_H
#define STRATO_STORE_DISK_ENGINE_H

#include "store/arena/writer.h"
#include "store/disk/channels.h"
#include "store/disk/flush.h"
#include "store/disk/gone.h"
#include "store/disk/room.h"
#include "store/disk/snapshot.h"
#include "store/disk/tx.h"
#include "store/services/call.h"

struct engine {
    struct engine_callbacks callbacks;
    struct env env;
    struct arena_writer *arena;
    struct room room;
    struct channels *channels;
    unsigned channel_count;
    unsigned waiting[ARENA_CHANNELS_MAX]; /* entries of the batch, by channel */
    struct batch batch;
    size_t carried_out;   /* entries at the front of the batch that are in the transaction */
    struct buffer items;  /* a set being answered, or a value being made */
    struct api_pool pool; /* messages */
    struct call_limits limits;

    MDB_txn *reader; /* of the last commit; open while reading */
    bool reading;
    struct work view; /* of the request that reads */
    struct work work; /* its txn is the open write transaction; NULL: there is none */
    struct state state;
    struct state committed; /* what state was at the last commit */

    struct snapshot *snapshot;

    uint64_t commits, changes, refused, expired; /* since this process started */
    uint64_t commit_ns;                          /* all commits together */
    uint64_t noted_ms;                           /* the service clock, when it was written down */
    bool was_full;                               /* for the log */
};

/* A request on its way to its service. */
static inline struct call engine_call(struct engine *engine, struct tx *tx,
                                      const struct request *request)
{
    return (struct call){.tx = tx,
                         .request = request,
                         .limits = &engine->limits,
                         .scratch = &engine->items,
                         .pool = &engine->pool};
}

/* ---- commit.c ---- */

/* A work that reads the last commit. It ends with the next commit or engine_stop_reading(). */
struct work engine_read(struct engine *engine);
void engine_stop_reading(struct engine *engine);

/* Begins the write transaction if there is none. */
void engine_begin(struct engine *engine);
/* Ends it without a trace. */
void engine_abort(struct engine *engine);

/* Carries out the batch's next entry. STATUS_FULL or STATUS_DAMAGED: the transaction is lost,
 * engine_settle() does the batch again piece by piece. */
enum status engine_carry_out(struct engine *engine, struct batch_entry *entry) MUST_CHECK;
/* Commits, publishes and answers all of the batch; then it is empty. */
void engine_settle(struct engine *engine);
/* Commits what is in the open transaction, on behalf of count entries of the batch from first on.
 * STATUS_OK, or STATUS_FULL, STATUS_DAMAGED or STATUS_UNAVAILABLE (see gone.h) and it is lost. */
enum status engine_commit(struct engine *engine, size_t first, size_t count) MUST_CHECK;

/* Puts a copy of a record into the arena, or makes sure that there is none of it. */
void engine_publish(struct engine *engine, struct tx_key key, struct bytes shown,
                    uint64_t expiry_ms, uint64_t revision);

#endif
