/*
 * load - writes over HTTP and remembers what was acknowledged, to check it afterwards.
 *
 * Several clients, each a thread with one keep-alive connection and one request under way, or some
 * increments together. Each keeps a model of its own keys, sets and flags; counters are shared too.
 * A request whose connection broke is unknown: it may have been applied, or still be, or not.
 */
#ifndef STRATO_TESTS_INTEGRATION_LOAD_LOAD_H
#define STRATO_TESTS_INTEGRATION_LOAD_LOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "tests/integration/load/wire.h"

enum {
    CLIENTS_MAX = 64,
    COUNTERS = 9, /* per client: shared ones, and behind them its own */
    COUNTER_OWN = COUNTERS - 1,
    UNKNOWN_MAX = 4096, /* unknown increments of one client */
    KEYS = 500,
    CACHE_KEYS = 64,
    SETS = 2000,
    ITEMS = 30,
    FLAGS = 16,
    VERSIONS_UNKNOWN = 6,
    VALUE_MAX = 40000,
    LATENCY_BUCKETS = 128, /* four for each power of two of microseconds */
};

/* What a key may hold: the acknowledged version (0: no such key), or an unknown one. */
struct versions {
    uint32_t last; /* highest version ever sent */
    uint32_t acknowledged;
    uint32_t unknown[VERSIONS_UNKNOWN];
    unsigned unknown_count; /* over VERSIONS_UNKNOWN: anything goes */
};

enum presence { ABSENT = 0, PRESENT = 1, EITHER = 2 };

struct client {
    pthread_t thread;
    unsigned number;
    const char *prefix; /* of every key */
    struct wire wire;
    uint64_t random;
    atomic_bool *stop;

    int64_t counted[COUNTERS]; /* acknowledged sum */
    struct {
        unsigned counter;
        int64_t amount;
    } unknown[UNKNOWN_MAX];
    unsigned unknown_count;
    struct versions kv[KEYS];
    struct versions cache[CACHE_KEYS];
    uint8_t items[SETS][ITEMS];
    unsigned set_steps; /* adds and removes made so far */
    uint8_t flags[FLAGS];

    uint64_t writes; /* acknowledged */
    uint64_t reads;
    uint64_t failures; /* answers that are no success */
    uint64_t disconnects;
    uint64_t wrong; /* answers that contradict the model */
    uint64_t latency_max_us;
    uint64_t latency[LATENCY_BUCKETS];
};

/* Runs one client until *stop; pthread start routine. */
void *load_client(void *client);

/* Looks everything up again and adds to wrong what is not as acknowledged. */
void load_verify(struct client *clients, unsigned count);

/* Counts and, for the first few, prints something wrong. */
void load_wrong(struct client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- The model, used by both ---- */

/* The value that a key has in a version: text without anything to escape. Returns its length. */
size_t load_value(const struct client *client, bool cache, unsigned key, uint32_t version,
                  char value[VALUE_MAX]);
/* Whether an answer shows one of the versions that the key may have. */
bool load_matches(struct client *client, bool cache, unsigned key,
                  const struct wire_answer *answer);
void load_key_path(const struct client *client, bool cache, unsigned key, char path[512]);
void load_set_path(const struct client *client, unsigned set, char path[512]);
void load_counter_path(const struct client *client, unsigned counter, char path[512]);
void load_flag_path(const struct client *client, unsigned flag, char path[512]);
/* Whether a set's answer has exactly the items that it may have. */
bool load_set_matches(struct client *client, unsigned set, const struct wire_answer *answer);
/* The integer behind "value": in an answer. */
int64_t load_number(const struct wire_answer *answer);

#endif
