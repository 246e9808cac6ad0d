/*
 * recency - see recency.h. Runs in a store; fails only by panic when memory runs out.
 */
#include "store/arena/recency.h"

#include <stdlib.h>

#include "proto/base/log.h"

enum {
    LEVEL_SHIFT = 3, /* a slot of level n is 8^n ticks wide */
    HEADS = 1,       /* first ring head; one per wheel slot, then one for what is due */
    DUE = HEADS + RECENCY_LEVELS * RECENCY_LEVEL_SLOTS,
    FIRST = DUE + 1,
};

static void ring_reset(struct recency *recency, uint32_t head)
{
    recency->nodes[head].next = head;
    recency->nodes[head].prev = head;
}

static void ring_remove(struct recency *recency, uint32_t node)
{
    struct recency_node *n = &recency->nodes[node];
    recency->nodes[n->prev].next = n->next;
    recency->nodes[n->next].prev = n->prev;
}

static void ring_append(struct recency *recency, uint32_t head, uint32_t node)
{
    struct recency_node *nodes = recency->nodes;
    uint32_t last = nodes[head].prev;
    nodes[node].prev = last;
    nodes[node].next = head;
    nodes[last].next = node;
    nodes[head].prev = node;
}

/* Moves all of one ring behind another's. */
static void ring_splice(struct recency *recency, uint32_t to, uint32_t from)
{
    struct recency_node *nodes = recency->nodes;
    if (nodes[from].next == from)
        return;
    uint32_t first = nodes[from].next, last = nodes[from].prev, end = nodes[to].prev;
    nodes[end].next = first;
    nodes[first].prev = end;
    nodes[last].next = to;
    nodes[to].prev = last;
    ring_reset(recency, from);
}

static void grow(struct recency *recency)
{
    uint32_t capacity = recency->capacity ? recency->capacity * 2 : 4096;
    struct recency_node *nodes = realloc(recency->nodes, capacity * sizeof *nodes);
    if (!nodes || capacity < recency->capacity)
        panic("out of memory: the eviction order of %u records", capacity);
    recency->nodes = nodes;
    recency->capacity = capacity;
}

void recency_open(struct recency *recency, uint64_t now_ms)
{
    *recency = (struct recency){.count = FIRST, .tick = now_ms / RECENCY_TICK_MS};
    grow(recency);
    recency->nodes[0] = (struct recency_node){0};
    for (uint32_t head = HEADS; head < FIRST; head++)
        ring_reset(recency, head);
}

void recency_close(struct recency *recency)
{
    free(recency->nodes);
    recency->nodes = NULL;
}

/* The ring for an expiry: the first level on which it lies within 64 slots, rounded up to the
 * slot's end, so that nothing is reclaimed early. */
static uint32_t ring_for(const struct recency *recency, uint64_t expiry_ms)
{
    uint64_t tick = expiry_ms / RECENCY_TICK_MS + 1;
    if (tick <= recency->tick)
        return DUE;
    for (unsigned level = 0; level < RECENCY_LEVELS; level++) {
        unsigned shift = level * LEVEL_SHIFT;
        uint64_t slot = (tick + ((uint64_t)1 << shift) - 1) >> shift;
        if (slot - (recency->tick >> shift) < RECENCY_LEVEL_SLOTS)
            return HEADS + level * RECENCY_LEVEL_SLOTS + (uint32_t)(slot % RECENCY_LEVEL_SLOTS);
    }
    /* Over two thousand years away: look again when the last slot of the wheel comes round. */
    uint64_t slot = (recency->tick >> ((RECENCY_LEVELS - 1) * LEVEL_SHIFT)) - 1;
    return HEADS + (RECENCY_LEVELS - 1) * RECENCY_LEVEL_SLOTS +
           (uint32_t)(slot % RECENCY_LEVEL_SLOTS);
}

/* A node that never expires is a ring of its own. */
static void enter_wheel(struct recency *recency, uint32_t node, uint64_t expiry_ms)
{
    if (expiry_ms == 0)
        ring_reset(recency, node);
    else
        ring_append(recency, ring_for(recency, expiry_ms), node);
}

static uint32_t take_node(struct recency *recency)
{
    uint32_t node = recency->free;
    if (node) {
        recency->free = recency->nodes[node].newer;
        return node;
    }
    if (recency->count == recency->capacity)
        grow(recency);
    return recency->count++;
}

static void order_append(struct recency *recency, uint32_t node)
{
    recency->nodes[node].newer = 0;
    recency->nodes[node].older = recency->newest;
    if (recency->newest)
        recency->nodes[recency->newest].newer = node;
    else
        recency->oldest = node;
    recency->newest = node;
}

static void order_remove(struct recency *recency, uint32_t node)
{
    struct recency_node *n = &recency->nodes[node];
    if (recency->hand == node)
        recency->hand = n->newer;
    if (n->older)
        recency->nodes[n->older].newer = n->newer;
    else
        recency->oldest = n->newer;
    if (n->newer)
        recency->nodes[n->newer].older = n->older;
    else
        recency->newest = n->older;
}

uint32_t recency_add(struct recency *recency, uint64_t record, uint64_t expiry_ms, bool evictable)
{
    uint32_t node = take_node(recency);
    recency->nodes[node] = (struct recency_node){.record = record, .evictable = evictable};
    if (evictable)
        order_append(recency, node);
    enter_wheel(recency, node, expiry_ms);
    return node;
}

/* ---- Rebuilding ---- */

void recency_loader_open(struct recency_loader *loader, uint64_t nodes, unsigned threads)
{
    uint64_t most = (UINT32_MAX - FIRST) / RECENCY_BATCH;
    uint64_t limit = nodes / RECENCY_BATCH + threads;
    *loader = (struct recency_loader){.limit = (uint32_t)(limit < most ? limit : most)};
    loader->batches = calloc(loader->limit, sizeof(struct recency_batch *));
    if (!loader->batches)
        panic("out of memory: %u batches of records", loader->limit);
}

static struct recency_batch *new_batch(struct recency_loader *loader)
{
    uint32_t number = __atomic_fetch_add(&loader->count, 1, __ATOMIC_RELAXED);
    struct recency_batch *batch = malloc(sizeof *batch);
    if (!batch || number >= loader->limit)
        panic("out of memory: the eviction order's batch %u", number);
    batch->first = FIRST + number * RECENCY_BATCH;
    batch->count = 0;
    loader->batches[number] = batch;
    return batch;
}

uint32_t recency_load(struct recency_loader *loader, struct recency_batch **batch, uint64_t record,
                      uint64_t expiry_ms, bool evictable)
{
    if (!*batch || (*batch)->count == RECENCY_BATCH)
        *batch = new_batch(loader);
    uint32_t row = (*batch)->count++;
    (*batch)->rows[row].record = record;
    (*batch)->rows[row].evictable = evictable;
    (*batch)->rows[row].expiry_ms = expiry_ms;
    return (*batch)->first + row;
}

/* Links the nodes of a batch; those that it has not filled are free. */
static void link_batch(struct recency *recency, const struct recency_batch *batch)
{
    for (uint32_t row = 0; row < RECENCY_BATCH; row++) {
        uint32_t node = batch->first + row;
        if (row >= batch->count) {
            recency->nodes[node] = (struct recency_node){.newer = recency->free};
            recency->free = node;
            continue;
        }
        bool evictable = batch->rows[row].evictable;
        recency->nodes[node] =
            (struct recency_node){.record = batch->rows[row].record, .evictable = evictable};
        if (evictable)
            order_append(recency, node);
        enter_wheel(recency, node, batch->rows[row].expiry_ms);
    }
}

void recency_loaded(struct recency *recency, struct recency_loader *loader, void (*beat)(void))
{
    uint32_t count = FIRST + loader->count * RECENCY_BATCH;
    while (recency->capacity < count)
        grow(recency);
    recency->count = count;
    for (uint32_t i = 0; i < loader->count; i++) {
        link_batch(recency, loader->batches[i]);
        free(loader->batches[i]);
        beat();
    }
    free(loader->batches);
    *loader = (struct recency_loader){0};
}

void recency_move(struct recency *recency, uint32_t node, uint64_t record)
{
    recency->nodes[node].record = record;
}

void recency_renew(struct recency *recency, uint32_t node, uint64_t record, uint64_t expiry_ms)
{
    recency->nodes[node].record = record;
    recency->nodes[node].visited = 1;
    ring_remove(recency, node);
    enter_wheel(recency, node, expiry_ms);
}

void recency_remove(struct recency *recency, uint32_t node)
{
    ring_remove(recency, node);
    if (recency->nodes[node].evictable)
        order_remove(recency, node);
    recency->nodes[node] = (struct recency_node){.newer = recency->free};
    recency->free = node;
}

bool recency_evictable(const struct recency *recency, uint32_t node)
{
    return recency->nodes[node].evictable;
}

bool recency_is(const struct recency *recency, uint32_t node, uint64_t record)
{
    return node >= FIRST && node < recency->count && record != 0 &&
           recency->nodes[node].record == record;
}

void recency_hit(struct recency *recency, uint32_t node, uint64_t record)
{
    if (recency_is(recency, node, record))
        recency->nodes[node].visited = 1;
}

uint64_t recency_victim(struct recency *recency)
{
    uint32_t node = recency->hand ? recency->hand : recency->oldest;
    if (!node)
        return 0;
    /* Ends: each step clears a mark, and after a whole round there is none left. */
    while (recency->nodes[node].visited) {
        recency->nodes[node].visited = 0;
        node = recency->nodes[node].newer ? recency->nodes[node].newer : recency->oldest;
    }
    recency->hand = node;
    return recency->nodes[node].record;
}

/* Turns the wheel to a tick: every slot whose time ends is linked to the due ring. */
static void turn(struct recency *recency, uint64_t tick)
{
    /* After a long sleep every slot of a level is due at most once. */
    for (unsigned level = 0; level < RECENCY_LEVELS; level++) {
        unsigned shift = level * LEVEL_SHIFT;
        uint64_t from = recency->tick >> shift, to = tick >> shift;
        if (to - from > RECENCY_LEVEL_SLOTS)
            from = to - RECENCY_LEVEL_SLOTS;
        for (uint64_t slot = from + 1; slot <= to; slot++)
            ring_splice(recency, DUE,
                        HEADS + level * RECENCY_LEVEL_SLOTS +
                            (uint32_t)(slot % RECENCY_LEVEL_SLOTS));
    }
    recency->tick = tick;
}

uint64_t recency_due(struct recency *recency, uint64_t now_ms)
{
    uint64_t tick = now_ms / RECENCY_TICK_MS;
    if (tick > recency->tick)
        turn(recency, tick);
    uint32_t node = recency->nodes[DUE].next;
    return node == DUE ? 0 : recency->nodes[node].record;
}
