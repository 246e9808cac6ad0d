/*
 * window - which chunks of the heap are cheapest to empty, and what is in them. Runs in a store;
 * pure.
 */
#include "store/arena/heap.h"

static uint32_t capacity(unsigned class)
{
    return ARENA_CHUNK / heap_block_size(class);
}

static uint64_t chunk_offset(const struct heap *heap, uint32_t chunk)
{
    return heap->geometry.heap_offset + (uint64_t)chunk * ARENA_CHUNK;
}

/* The first chunk of the run that this one is in. */
static const struct heap_chunk *run_of(const struct heap *heap, uint32_t index)
{
    const struct heap_chunk *chunk = &heap->chunks[index];
    return chunk->kind == HEAP_RUN ? chunk : &heap->chunks[index - chunk->run];
}

/* Bytes to move to empty a chunk of a window of n; UINT64_MAX when it cannot be. A run goes as a
 * whole, and only for a longer one: where it would fit, the longer one would not need its place. */
static uint64_t cost_of(const struct heap *heap, uint32_t index, uint32_t n)
{
    const struct heap_chunk *chunk = &heap->chunks[index];
    bool alone = n == 1;
    if (chunk->kind == HEAP_RUN || chunk->kind == HEAP_RUN_TAIL) {
        const struct heap_chunk *run = run_of(heap, index);
        return run->run < n && run->pins == 0 ? ARENA_CHUNK : UINT64_MAX;
    }
    if (chunk->kind == HEAP_FREE)
        return alone ? UINT64_MAX : 0;
    if (chunk->kind != HEAP_SLAB || chunk->class == HEAP_CLASS_BUCKET || chunk->pins > 0)
        return UINT64_MAX;
    uint64_t own_free = capacity(chunk->class) - chunk->used;
    if (alone && heap->free_blocks[chunk->class] - own_free < chunk->used)
        return UINT64_MAX;
    return (uint64_t)chunk->used * heap_block_size(chunk->class);
}

/* Windows are tried in the order of their cost, equal ones from the bottom. */
static bool comes_after(const struct heap_window *last, uint64_t cost, int64_t first)
{
    return cost > last->cost || (cost == last->cost && first > last->first);
}

bool heap_next_window(const struct heap *heap, uint32_t n, struct heap_window *window)
{
    struct heap_window best = {.cost = UINT64_MAX};
    uint64_t sum = 0;
    uint32_t length = 0;
    for (uint32_t i = 0; i < heap->geometry.chunks; i++) {
        uint64_t cost = cost_of(heap, i, n);
        if (cost == UINT64_MAX) {
            length = 0;
            sum = 0;
            continue;
        }
        sum += cost;
        if (++length > n) {
            sum -= cost_of(heap, i - n, n);
            length = n;
        }
        int64_t first = (int64_t)i + 1 - n;
        if (length == n && sum < best.cost && comes_after(window, sum, first))
            best = (struct heap_window){sum, first};
    }
    *window = best;
    return best.cost != UINT64_MAX;
}

uint64_t heap_next_used(const struct heap *heap, uint32_t index, uint32_t *cursor)
{
    const struct heap_chunk *chunk = &heap->chunks[index];
    if (chunk->kind == HEAP_RUN)
        return (*cursor)++ == 0 ? chunk_offset(heap, index) : 0;
    if (chunk->kind == HEAP_RUN_TAIL)
        return (*cursor)++ == 0 ? chunk_offset(heap, index - chunk->run) : 0;
    if (chunk->kind != HEAP_SLAB)
        return 0;
    for (uint32_t block = *cursor; block < capacity(chunk->class); block++)
        if (chunk->bitmap[block / 64] >> (block % 64) & 1) {
            *cursor = block + 1;
            return chunk_offset(heap, index) + (uint64_t)block * heap_block_size(chunk->class);
        }
    return 0;
}
