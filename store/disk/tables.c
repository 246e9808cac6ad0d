/*
 * tables - see tables.h. Runs in store-disk when it starts.
 */
#include "store/disk/tables.h"

#include "proto/run/run.h"
#include "store/disk/formats.h"

static const char *const table_names[TABLE_COUNT] = {
#define SERVICE(number, symbol, name, holds, absent, rpc, format, help) [number] = (name),
#include "proto/api/operations.def"
    [TABLE_ITEM] = "item",
    [TABLE_EXPIRY] = "expiry",
    [TABLE_META] = "meta",
    [TABLE_NAMED] = "named",
};

/* Whether the main table has nothing in it: new, or its first start was cut off. */
static bool is_empty(MDB_txn *txn)
{
    MDB_dbi main_table;
    MDB_stat stat;
    return mdb_dbi_open(txn, NULL, 0, &main_table) == MDB_SUCCESS &&
           mdb_stat(txn, main_table, &stat) == MDB_SUCCESS && stat.ms_entries == 0;
}

/* What this release has and the one that wrote the database had not, has no table yet. */
static bool may_be_missing(unsigned table)
{
    return table < SERVICE_COUNT || table == TABLE_NAMED;
}

static void open_table(struct env *env, MDB_txn *txn, unsigned table)
{
    int code = mdb_dbi_open(txn, table_names[table], 0, &env->tables[table]);
    if (code == MDB_NOTFOUND && may_be_missing(table))
        env->tables[table] = 0;
    else if (code == MDB_NOTFOUND || code == MDB_INCOMPATIBLE)
        run_child_fail(RUN_EXIT_CONFIG, "the database in %s is not one of Strato", env->path);
    else
        env_check_open(env, code);
}

static int make_table(struct env *env, MDB_txn *txn, unsigned table)
{
    return mdb_dbi_open(txn, table_names[table], MDB_CREATE, &env->tables[table]);
}

static void lay_out(struct env *env)
{
    MDB_txn *txn;
    env_check_open(env, mdb_txn_begin(env->lmdb, NULL, 0, &txn));
    for (unsigned i = 0; i < TABLE_COUNT; i++)
        env_check_open(env, make_table(env, txn, i));
    if (formats_lay_out(env, txn) != STATUS_OK)
        env_check_open(env, MDB_MAP_FULL);
    env_check_open(env, mdb_txn_commit(txn));
    env_check_open(env, mdb_env_sync(env->lmdb, 1));
    log_info("made a database in %s", env->path);
}

/* Makes the tables that are missing. Release 0.2.0 does not know what will be in them. */
static int make_missing(struct env *env, MDB_txn *txn)
{
    int code = MDB_SUCCESS;
    for (unsigned i = 0; i < TABLE_COUNT && code == MDB_SUCCESS; i++) {
        if (env->tables[i] != 0)
            continue;
        code = make_table(env, txn, i);
        if (code == MDB_SUCCESS && i < SERVICE_COUNT &&
            (formats_raise(env, txn) != STATUS_OK ||
             formats_put(env, txn, i, service_info(i)->format, (struct bytes){0}) != STATUS_OK))
            code = MDB_MAP_FULL;
    }
    return code;
}

/* Without room for them, what is in the others can be used all the same. */
static void add_tables(struct env *env)
{
    MDB_dbi before[TABLE_COUNT];
    MDB_txn *txn;
    memcpy(before, env->tables, sizeof before);
    env_check_open(env, mdb_txn_begin(env->lmdb, NULL, 0, &txn));
    int code = make_missing(env, txn);
    if (code == MDB_SUCCESS)
        code = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    if (!env_is_room(code)) {
        env_check_open(env, code);
        return;
    }
    memcpy(env->tables, before, sizeof before);
    log_warn("no room in %s for the tables that this release adds: what would be in them is "
             "refused until there is room and the store is started again",
             env->path);
}

static bool has_all(const struct env *env)
{
    for (unsigned i = 0; i < TABLE_COUNT; i++)
        if (env->tables[i] == 0)
            return false;
    return true;
}

void tables_open(struct env *env)
{
    MDB_txn *txn;
    env_check_open(env, env_begin_read(env, &txn));
    bool empty = is_empty(txn);
    if (!empty) {
        open_table(env, txn, TABLE_META);
        formats_check(env, txn);
        for (unsigned i = 0; i < TABLE_COUNT; i++)
            if (i != TABLE_META)
                open_table(env, txn, i);
    }
    env_check_open(env, mdb_txn_commit(txn)); /* an abort would close the tables again */
    if (empty)
        lay_out(env);
    else if (!has_all(env))
        add_tables(env);
}
