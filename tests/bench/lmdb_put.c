/*
 * lmdb_put - the yardstick for group commit: lmdb_put DIRECTORY SECONDS. One LMDB transaction, with
 * its syncs, for each put of one key; prints the rate as wrk does.
 */
#include <err.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int code, const char *what)
{
    if (code != MDB_SUCCESS)
        errx(1, "%s: %s", what, mdb_strerror(code));
}

int main(int argc, char **argv)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi table;
    char text[52];
    MDB_val key = {3, "hot"}, value = {sizeof text, text};
    if (argc != 3)
        errx(2, "usage: lmdb_put DIRECTORY SECONDS");
    memset(text, 'v', sizeof text);
    must(mdb_env_create(&env), "mdb_env_create");
    must(mdb_env_set_maxdbs(env, 1), "mdb_env_set_maxdbs");
    must(mdb_env_set_mapsize(env, (size_t)1 << 30), "mdb_env_set_mapsize");
    must(mdb_env_open(env, argv[1], 0, 0600), argv[1]);
    must(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
    must(mdb_dbi_open(txn, "kv", MDB_CREATE, &table), "mdb_dbi_open");
    must(mdb_txn_commit(txn), "mdb_txn_commit");
    unsigned long puts = 0;
    double start = now(), seconds;
    do {
        must(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
        must(mdb_put(txn, table, &key, &value, 0), "mdb_put");
        must(mdb_txn_commit(txn), "mdb_txn_commit");
        puts++;
        seconds = now() - start;
    } while (seconds < strtod(argv[2], NULL));
    printf("Requests/sec: %.1f\n", (double)puts / seconds);
    mdb_env_close(env);
    return 0;
}
