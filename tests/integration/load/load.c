/*
 * load - the load generator's program: load PORT CLIENTS SECONDS [PREFIX].
 *
 * Runs for SECONDS or until SIGTERM, then checks everything that was acknowledged and prints one
 * line of JSON. Exits 0 when it could do that; whether the figures are good is the test's to judge.
 */
#include <err.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/integration/load/load.h"

static atomic_bool stop;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&stop, true);
}

static bool look_up(struct client *client, const char *target, const char *headers,
                    struct wire_answer *answer_r)
{
    for (int tries = 0; tries < 3; tries++) {
        if (wire_ask(&client->wire, "GET", target, headers, NULL, 0, answer_r))
            return true;
        wire_open(&client->wire);
    }
    load_wrong(client, "GET %s: no answer", target);
    return false;
}

/* Whether extra is the sum of some of the unknown increments of this counter. */
static bool explained(const struct client *clients, unsigned count, const struct client *owner,
                      unsigned counter, int64_t extra)
{
    enum { SUM_MAX = 200000 };
    static bool possible[SUM_MAX + 1];
    if (extra < 0 || extra > SUM_MAX)
        return false;
    memset(possible, 0, sizeof possible);
    possible[0] = true;
    for (unsigned c = 0; c < count; c++) {
        if (counter == COUNTER_OWN && &clients[c] != owner)
            continue;
        for (unsigned i = 0; i < clients[c].unknown_count; i++) {
            int64_t amount = clients[c].unknown[i].amount;
            if (clients[c].unknown[i].counter != counter)
                continue;
            for (int64_t sum = SUM_MAX; sum >= amount; sum--)
                possible[sum] |= possible[sum - amount];
        }
    }
    return possible[extra];
}

static void verify_counter(struct client *clients, unsigned count, struct client *owner,
                           unsigned counter)
{
    char target[512];
    struct wire_answer answer;
    int64_t sum = 0;
    for (unsigned c = 0; c < count; c++)
        if (counter != COUNTER_OWN || &clients[c] == owner)
            sum += clients[c].counted[counter];
    load_counter_path(owner, counter, target);
    if (!look_up(owner, target, "", &answer))
        return;
    int64_t value = load_number(&answer);
    if (!explained(clients, count, owner, counter, value - sum))
        load_wrong(owner, "%s is %" PRId64 ", but %" PRId64 " was acknowledged", target, value,
                   sum);
}

static void verify_keys(struct client *client, bool cache)
{
    char target[512];
    struct wire_answer answer;
    for (unsigned key = 0; key < (cache ? CACHE_KEYS : KEYS); key++) {
        load_key_path(client, cache, key, target);
        if (look_up(client, target, cache ? "" : "Accept: application/octet-stream\r\n", &answer) &&
            !load_matches(client, cache, key, &answer))
            load_wrong(client, "%s gives %d, %zu bytes %.40s; acknowledged was version %u", target,
                       answer.status, answer.body_len, answer.body,
                       (cache ? client->cache : client->kv)[key].acknowledged);
    }
}

static void verify_sets_and_flags(struct client *client)
{
    char target[512];
    struct wire_answer answer;
    for (unsigned set = 0; set < SETS && set <= client->set_steps / (2 * ITEMS); set++) {
        load_set_path(client, set, target);
        if (look_up(client, target, "", &answer) && !load_set_matches(client, set, &answer))
            load_wrong(client, "%s gives %.300s", target, answer.body);
    }
    for (unsigned flag = 0; flag < FLAGS; flag++) {
        load_flag_path(client, flag, target);
        if (!look_up(client, target, "", &answer) || client->flags[flag] == EITHER)
            continue;
        if ((strstr(answer.body, "true") != NULL) != client->flags[flag])
            load_wrong(client, "%s gives %.100s", target, answer.body);
    }
}

void load_verify(struct client *clients, unsigned count)
{
    for (unsigned counter = 0; counter < COUNTER_OWN; counter++)
        verify_counter(clients, count, &clients[0], counter);
    for (unsigned c = 0; c < count; c++) {
        verify_counter(clients, count, &clients[c], COUNTER_OWN);
        verify_keys(&clients[c], false);
        verify_keys(&clients[c], true);
        verify_sets_and_flags(&clients[c]);
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Upper bound in microseconds of a latency bucket; see latency_bucket(). */
static uint64_t bucket_us(unsigned bucket)
{
    return bucket < 4 ? bucket : (uint64_t)(5 + bucket % 4) << (bucket / 4 - 1);
}

static uint64_t percentile_us(const uint64_t *buckets, double share)
{
    uint64_t all = 0;
    uint64_t below = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        all += buckets[i];
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        below += buckets[i];
        if ((double)below >= share * (double)all)
            return bucket_us(i);
    }
    return 0;
}

static void report(const struct client *clients, unsigned count, double seconds)
{
    struct client all = {0};
    for (unsigned c = 0; c < count; c++) {
        all.writes += clients[c].writes;
        all.reads += clients[c].reads;
        all.failures += clients[c].failures;
        all.disconnects += clients[c].disconnects;
        all.wrong += clients[c].wrong;
        if (clients[c].latency_max_us > all.latency_max_us)
            all.latency_max_us = clients[c].latency_max_us;
        for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
            all.latency[i] += clients[c].latency[i];
    }
    printf("{\"seconds\": %.3f, \"writes\": %" PRIu64 ", \"reads\": %" PRIu64
           ", \"writes_per_second\": %.0f, \"failures\": %" PRIu64 ", \"disconnects\": %" PRIu64
           ", \"wrong\": %" PRIu64 ", \"max_ms\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n",
           seconds, all.writes, all.reads, (double)all.writes / seconds, all.failures,
           all.disconnects, all.wrong, (double)all.latency_max_us / 1e3,
           (double)percentile_us(all.latency, 0.5) / 1e3,
           (double)percentile_us(all.latency, 0.99) / 1e3);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        errx(2, "usage: load PORT CLIENTS SECONDS [PREFIX]");
    unsigned count = (unsigned)strtoul(argv[2], NULL, 10);
    double length = strtod(argv[3], NULL);
    if (count == 0 || count > CLIENTS_MAX)
        errx(2, "1 to %d clients", CLIENTS_MAX);
    struct client *clients = calloc(count, sizeof *clients);
    if (!clients)
        err(1, "calloc");
    signal(SIGTERM, on_signal);
    double start = now();
    for (unsigned c = 0; c < count; c++) {
        clients[c].number = c;
        clients[c].prefix = argc > 4 ? argv[4] : "";
        clients[c].wire = (struct wire){.port = atoi(argv[1]), .fd = -1};
        clients[c].random = 0x9e3779b97f4a7c15u * (c + 1) ^ (uint64_t)getpid();
        clients[c].stop = &stop;
        if (pthread_create(&clients[c].thread, NULL, load_client, &clients[c]) != 0)
            err(1, "pthread_create");
    }
    while (!atomic_load(&stop) && now() - start < length)
        usleep(5000);
    atomic_store(&stop, true);
    for (unsigned c = 0; c < count; c++)
        pthread_join(clients[c].thread, NULL);
    double seconds = now() - start;
    load_verify(clients, count);
    report(clients, count, seconds);
    for (unsigned c = 0; c < count; c++)
        wire_free(&clients[c].wire);
    free(clients);
    return 0;
}
