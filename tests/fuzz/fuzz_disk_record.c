/*
 * fuzz_disk_record - a database whose records, items, index of times, state and results of channels
 * are any bytes: every operation on it ends, and answers something that a worker can take.
 *
 * Input: entries of table (1 byte), key (1), length (2), bytes. They are put straight into the
 * tables, in a transaction that is never committed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/set.h"
#include "store/disk/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { KEYS = 4, ENTRIES_MAX = 64, NOW_MS = 1000000 };

static struct env env;
static char directory[] = "/dev/shm/strato-fuzz-XXXXXX";

static void remove_directory(void)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "lock", "unsynced"};
    char path[ENV_PATH_MAX];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        env_path(directory, names[i], path);
        unlink(path);
    }
    rmdir(directory);
}

static void open_once(void)
{
    static struct conf conf;
    if (env.lmdb)
        return;
    if (!mkdtemp(directory))
        abort();
    atexit(remove_directory);
    log_set_level(LOG_ERROR + 1);
    conf_defaults(&conf, false);
    snprintf(conf.disk_path, sizeof conf.disk_path, "%s", directory);
    conf.disk_map_size = 64 << 20;
    conf.disk_sync = SYNC_OFF;
    env_open(&env, &conf);
}

/* ---- Planting ---- */

static const char *const keys[KEYS] = {"a", "b", "state", "channel\1\0\0\0"};

/* A key that operations will look for, or in the other tables a piece of the value. */
static struct bytes key_for(unsigned table, unsigned number, struct bytes *value)
{
    if (table == TABLE_ITEM || table == TABLE_EXPIRY) {
        size_t len = value->len < 511 ? value->len : 511;
        struct bytes key = {value->data, len};
        *value = (struct bytes){0};
        return key;
    }
    const char *key = keys[table == TABLE_META ? 2 + number % 2 : number % 2];
    return (struct bytes){(const uint8_t *)key,
                          table == TABLE_META && number % 2 ? 11 : strlen(key)};
}

/* Takes one entry off the front. False when there is no more. */
static bool plant(MDB_txn *txn, struct bytes *rest)
{
    if (rest->len < 4)
        return false;
    unsigned table = rest->data[0] % TABLE_COUNT, number = rest->data[1];
    size_t len = (size_t)rest->data[2] | (size_t)(rest->data[3] & 15) << 8;
    *rest = (struct bytes){rest->data + 4, rest->len - 4};
    struct bytes value = {rest->data, len < rest->len ? len : rest->len};
    *rest = (struct bytes){rest->data + value.len, rest->len - value.len};
    struct bytes key = key_for(table, number, &value);
    MDB_val at = env_val(key), to = env_val(value);
    if (key.len > 0 && mdb_put(txn, env.tables[table], &at, &to, 0) != MDB_SUCCESS)
        abort();
    return true;
}

/* ---- Looking ---- */

static void check_reply(const struct request *request, const struct reply *reply)
{
    if (reply->status >= STATUS_COUNT)
        abort();
    if (service_info(op_info(request->op)->service)->holds != OP_HOLDS_ITEMS)
        return;
    struct bytes rest = reply->value, item;
    while (set_next(&rest, &item))
        ;
    if (rest.len != 0)
        abort(); /* no packed items */
}

/* False when the transaction is lost. */
static bool try_operation(struct work *work, enum op op, const char *key)
{
    static struct buffer scratch;
    static struct batch batch;
    static const struct call_limits limits = {.max_set = 1 << 20};
    static struct api_pool pool;
    struct reply reply;
    struct disk_tx tx;
    const struct engine_call asked = {.request = {.op = op,
                                                  .key = {(const uint8_t *)key, strlen(key)},
                                                  .value = {(const uint8_t *)"item", 4},
                                                  .number = 1,
                                                  .expiry_ms = NOW_MS + 1}};
    struct batch_entry *entry = batch_add(&batch, &asked);
    const struct request request = batch_request(&batch, entry);
    struct call call = {
        .tx = &tx.tx, .request = &request, .limits = &limits, .scratch = &scratch, .pool = &pool};
    if (!pool.free)
        api_pool_open(&pool);
    batch_begin(&batch, entry);
    work->changed = false;
    disk_tx_write(&tx, work, &batch, entry);
    enum status status = call_carry_out(&call, &reply);
    check_reply(&request, &reply);
    batch_clear(&batch);
    return status == STATUS_OK || !work->changed;
}

static void look_at_channels(const struct work *work)
{
    struct channels *channels = channels_open(work, 3);
    for (uint32_t i = 0; i < 3; i++) {
        struct reply reply;
        uint64_t applied = channels_applied(channels, i);
        for (uint64_t sequence = applied < 520 ? 0 : applied - 520; sequence < applied; sequence++)
            if (channels_result(channels, i, sequence, &reply) && reply.status >= STATUS_COUNT)
                abort();
    }
    channels_close(&channels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes rest = {data, len};
    struct state state;
    MDB_txn *txn;
    unsigned count;
    open_once();
    if (mdb_txn_begin(env.lmdb, NULL, 0, &txn) != MDB_SUCCESS)
        abort();
    for (unsigned i = 0; i < ENTRIES_MAX && plant(txn, &rest); i++)
        ;
    struct work work = {.env = &env, .txn = txn, .state = &state, .now_ms = NOW_MS};
    record_load_state(&work, &state);
    look_at_channels(&work);
    bool whole = true;
    for (enum op op = OP_NONE + 1; whole && op < OP_COUNT; op++)
        for (unsigned i = 0; whole && i < 2; i++)
            whole = try_operation(&work, op, keys[i]);
    if (whole && record_reclaim(&work, 100, &count) == STATUS_OK)
        (void)record_next_expiry(&work);
    mdb_txn_abort(txn);
    return 0;
}
