/*
 * recency - which records expire next and which may be evicted first. Private memory of the store,
 * 24 bytes for each record that has an expiry or may be evicted; rebuilt after a crash.
 *
 * Eviction is SIEVE: a queue in order of arrival and a hand that moves from the oldest to the
 * newest, sparing (once) what was hit since it last passed. Expiry is a timer wheel without
 * cascades: the further away, the coarser its slot (at most 12.5 % late), so no moment has more to
 * do than to link a list. Readers judge expiry themselves; this only reclaims the room.
 */
#ifndef STRATO_STORE_ARENA_RECENCY_H
#define STRATO_STORE_ARENA_RECENCY_H

#include <stdbool.h>
#include <stdint.h>

enum {
    RECENCY_NONE = 0, /* no node; node numbers start above the wheel's list heads */
    RECENCY_TICK_MS = 1000,
    RECENCY_LEVELS = 11,
    RECENCY_LEVEL_SLOTS = 64,
};

struct recency_node {
    uint64_t record : 62; /* offset of its record */
    uint64_t visited : 1;
    uint64_t evictable : 1;
    uint32_t older, newer; /* SIEVE order; free nodes are chained by newer */
    uint32_t next, prev;   /* ring of its wheel slot */
};

struct recency {
    struct recency_node *nodes; /* [0] ends the order, then the wheel's ring heads */
    uint32_t count, capacity;
    uint32_t free;
    uint32_t oldest, newest, hand;
    uint64_t tick; /* the wheel has been turned to here */
};

/*
 * For rebuilding with several threads: each fills batches of its own, numbers its nodes at once and
 * leaves the linking to recency_loaded().
 */
enum { RECENCY_BATCH = 4096 };
struct recency_batch {
    uint32_t first; /* node number of rows[0] */
    uint32_t count;
    struct {
        uint64_t record : 63;
        uint64_t evictable : 1;
        uint64_t expiry_ms;
    } rows[RECENCY_BATCH];
};
struct recency_loader {
    struct recency_batch **batches;
    uint32_t limit;
    uint32_t count; /* atomic; may pass limit */
};
/* For at most this many nodes by this many threads. */
void recency_loader_open(struct recency_loader *loader, uint64_t nodes, unsigned threads);
/* The number of a new node. *batch is the thread's own, NULL at first. */
uint32_t recency_load(struct recency_loader *loader, struct recency_batch **batch, uint64_t record,
                      uint64_t expiry_ms, bool evictable);
/* Makes recency, just opened, of all batches, and closes the loader. Calls beat() now and then. */
void recency_loaded(struct recency *recency, struct recency_loader *loader, void (*beat)(void));

void recency_open(struct recency *recency, uint64_t now_ms);
void recency_close(struct recency *recency);

/* A node for the record at this offset that expires at expiry_ms (0: never). */
uint32_t recency_add(struct recency *recency, uint64_t record, uint64_t expiry_ms, bool evictable);
/* The record moved, or was replaced by one with another expiry. It keeps its place in the order. */
void recency_move(struct recency *recency, uint32_t node, uint64_t record);
void recency_renew(struct recency *recency, uint32_t node, uint64_t record, uint64_t expiry_ms);
void recency_remove(struct recency *recency, uint32_t node);
/* A hit on a record. Ignored when node is not that record's. */
void recency_hit(struct recency *recency, uint32_t node, uint64_t record);
/* Of a record's own node. */
bool recency_evictable(const struct recency *recency, uint32_t node);
/* Whether node is this record's. node may be anything. */
bool recency_is(const struct recency *recency, uint32_t node, uint64_t record);

/* The record to evict next, or 0 when there is none. It stays until recency_remove(). */
uint64_t recency_victim(struct recency *recency);
/* A record whose time has come, or 0. It stays until recency_remove(). */
uint64_t recency_due(struct recency *recency, uint64_t now_ms);

#endif
