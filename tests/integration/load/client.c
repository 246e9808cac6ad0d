/*
 * client - one client of the load generator. Test program; what fails is counted and shown.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/integration/load/load.h"

#define RAW_TYPE   "Content-Type: application/octet-stream\r\n"
#define RAW_ACCEPT "Accept: application/octet-stream\r\n"

enum { BURST = 32 };

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static unsigned pick(struct client *client, unsigned below)
{
    client->random ^= client->random << 13;
    client->random ^= client->random >> 7;
    client->random ^= client->random << 17;
    return (unsigned)((client->random >> 16) % below);
}

/* Four buckets for each power of two of microseconds. */
static unsigned latency_bucket(uint64_t us)
{
    if (us < 4)
        return (unsigned)us;
    unsigned log2 = 63 - (unsigned)__builtin_clzll(us);
    unsigned bucket = log2 * 4 - 4 + (unsigned)(us >> (log2 - 2) & 3);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static void note_latency(struct client *client, uint64_t start)
{
    uint64_t took = now_us() - start;
    if (took > client->latency_max_us)
        client->latency_max_us = took;
    client->latency[latency_bucket(took)]++;
}

static void connect_again(struct client *client)
{
    client->disconnects++;
    wire_open(&client->wire);
}

/* Asks; false when the outcome is unknown. Connects again for the next one. */
static bool ask(struct client *client, const char *method, const char *target, const char *headers,
                const void *body, size_t body_len, struct wire_answer *answer_r)
{
    uint64_t start = now_us();
    if (!wire_ask(&client->wire, method, target, headers, body, body_len, answer_r)) {
        connect_again(client);
        return false;
    }
    note_latency(client, start);
    return true;
}

/* Whether an answer is a success; counts and shows one that is not. */
static bool success(struct client *client, const struct wire_answer *answer, const char *method,
                    const char *target)
{
    if (answer->status == 200 || answer->status == 204)
        return true;
    if (client->failures++ < 3)
        fprintf(stderr, "failed: client %u: %s %s: %d %.200s\n", client->number, method, target,
                answer->status, answer->body);
    return false;
}

struct increment {
    unsigned counter;
    int64_t amount;
    char target[600];
};

static void pick_increment(struct client *client, struct increment *increment_r)
{
    increment_r->counter = pick(client, 3) ? pick(client, COUNTER_OWN) : COUNTER_OWN;
    increment_r->amount = 1 + pick(client, 50);
    load_counter_path(client, increment_r->counter, increment_r->target);
    snprintf(increment_r->target + strlen(increment_r->target), 64, "?increment=%" PRId64,
             increment_r->amount);
}

static void increment_unknown(struct client *client, const struct increment *increment)
{
    if (client->unknown_count == UNKNOWN_MAX) {
        load_wrong(client, "more than %d increments of unknown outcome", UNKNOWN_MAX);
        return;
    }
    client->unknown[client->unknown_count].counter = increment->counter;
    client->unknown[client->unknown_count++].amount = increment->amount;
}

static void increment_done(struct client *client, const struct increment *increment,
                           const struct wire_answer *answer)
{
    if (!success(client, answer, "POST", increment->target))
        return;
    client->writes++;
    client->counted[increment->counter] += increment->amount;
    if (increment->counter == COUNTER_OWN && client->unknown_count == 0 &&
        load_number(answer) != client->counted[COUNTER_OWN])
        load_wrong(client, "%s gave %" PRId64 ", not %" PRId64, increment->target,
                   load_number(answer), client->counted[COUNTER_OWN]);
}

/* Several increments at once: so the store has many of one client's in hand when it dies. */
static void increment(struct client *client)
{
    struct increment burst[BURST];
    struct wire_answer answer;
    unsigned count = pick(client, 4) ? 1 : 1 + pick(client, BURST);
    uint64_t start = now_us();
    for (unsigned i = 0; i < count; i++) {
        pick_increment(client, &burst[i]);
        wire_queue(&client->wire, "POST", burst[i].target, "", NULL, 0);
    }
    bool alive = client->wire.fd >= 0 && wire_flush(&client->wire);
    unsigned known = 0;
    while (alive && known < count && (alive = wire_receive(&client->wire, &answer)))
        increment_done(client, &burst[known++], &answer);
    if (alive || client->wire.ended) {
        note_latency(client, start);
        return;
    }
    for (; known < count; known++)
        increment_unknown(client, &burst[known]);
    connect_again(client);
}

static void settle(struct versions *versions, uint32_t version, bool known)
{
    if (known)
        versions->acknowledged = version;
    else if (versions->unknown_count++ < VERSIONS_UNKNOWN)
        versions->unknown[versions->unknown_count - 1] = version;
}

static void put(struct client *client, bool cache)
{
    char target[1024];
    char value[VALUE_MAX];
    struct wire_answer answer;
    unsigned key = pick(client, cache ? CACHE_KEYS : KEYS);
    struct versions *versions = cache ? &client->cache[key] : &client->kv[key];
    uint32_t version = ++versions->last;
    size_t len = load_value(client, cache, key, version, value);
    load_key_path(client, cache, key, target);
    if (cache)
        snprintf(target + strlen(target), 512, "?ttl=3600&value=%.*s", (int)len, value);
    bool known =
        ask(client, "PUT", target, cache ? "" : RAW_TYPE, cache ? NULL : value, len, &answer);
    if (known && !success(client, &answer, "PUT", target))
        return;
    client->writes += known;
    settle(versions, version, known);
}

/* Deleting what is there must say so: a deletion that was applied twice would not. */
static void delete (struct client *client)
{
    char target[512];
    struct wire_answer answer;
    unsigned key = pick(client, KEYS);
    struct versions *versions = &client->kv[key];
    load_key_path(client, false, key, target);
    bool known = ask(client, "DELETE", target, "", NULL, 0, &answer);
    if (known && answer.status != 404 && !success(client, &answer, "DELETE", target))
        return;
    if (known && versions->unknown_count == 0 &&
        (answer.status == 404) != (versions->acknowledged == 0))
        load_wrong(client, "DELETE %s gave %d", target, answer.status);
    client->writes += known;
    settle(versions, 0, known);
}

static void get(struct client *client)
{
    char target[512];
    struct wire_answer answer;
    unsigned key = pick(client, KEYS);
    load_key_path(client, false, key, target);
    if (!ask(client, "GET", target, RAW_ACCEPT, NULL, 0, &answer))
        return;
    client->reads++;
    if (answer.status != 404 && !success(client, &answer, "GET", target))
        return;
    if (!load_matches(client, false, key, &answer))
        load_wrong(client, "GET %s gave %d, %zu bytes; acknowledged was version %u", target,
                   answer.status, answer.body_len, client->kv[key].acknowledged);
}

/* Each set in turn gets all its items, then loses every third. */
static void change_set(struct client *client)
{
    char target[600];
    struct wire_answer answer;
    unsigned set = client->set_steps / (2 * ITEMS);
    unsigned item = client->set_steps % ITEMS;
    bool add = client->set_steps % (2 * ITEMS) < ITEMS;
    if (set == SETS)
        return;
    client->set_steps++;
    if (!add && item % 3 != 0)
        return;
    load_set_path(client, set, target);
    snprintf(target + strlen(target), 64, "?item=item-%u", item);
    if (!ask(client, add ? "PUT" : "DELETE", target, "", NULL, 0, &answer)) {
        client->items[set][item] = EITHER;
        return;
    }
    if (!success(client, &answer, add ? "PUT" : "DELETE", target))
        return;
    client->writes++;
    /* One that is unknown may still be on its way, so it stays unknown. */
    if (client->items[set][item] != EITHER)
        client->items[set][item] = add ? PRESENT : ABSENT;
    if (!load_set_matches(client, set, &answer))
        load_wrong(client, "%s gave %.300s", target, answer.body);
}

static void change_flag(struct client *client)
{
    char target[600];
    struct wire_answer answer;
    unsigned flag = pick(client, FLAGS);
    bool value = pick(client, 2);
    load_flag_path(client, flag, target);
    strcat(target, value ? "?value=true" : "?value=false");
    if (!ask(client, "PUT", target, "", NULL, 0, &answer)) {
        client->flags[flag] = EITHER;
        return;
    }
    if (!success(client, &answer, "PUT", target))
        return;
    client->writes++;
    if (client->flags[flag] != EITHER)
        client->flags[flag] = value;
}

void *load_client(void *argument)
{
    struct client *client = argument;
    if (!wire_open(&client->wire)) {
        client->failures++;
        return NULL;
    }
    while (!atomic_load(client->stop)) {
        unsigned choice = pick(client, 100);
        if (choice < 40)
            increment(client);
        else if (choice < 60)
            put(client, false);
        else if (choice < 65)
            delete (client);
        else if (choice < 80)
            change_set(client);
        else if (choice < 85)
            change_flag(client);
        else if (choice < 90)
            put(client, true);
        else
            get(client);
    }
    return NULL;
}
