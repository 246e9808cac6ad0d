/*
 * heap - see heap.h. Runs in a store. Running out of room is an answer (0), never an error here.
 */
#include "store/arena/heap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"

/*
 * Block sizes: every 16 bytes up to 256, then eight steps per doubling up to 8 KiB (at most 12 %
 * unused), then the largest of which n fit a chunk. Class 0 is the overflow bucket.
 */
static uint32_t class_size[HEAP_CLASSES_MAX];
static unsigned class_count;
static uint8_t class_of_grains[ARENA_CHUNK / ARENA_GRAIN + 1];

enum {
    COMMIT_CHUNKS = 16, /* pages are allocated 1 MiB at a time */
    REFUSALS_PER_LINE = 10000,
};

static void add_class(uint32_t size)
{
    class_size[class_count++] = size;
}

static void make_classes(void)
{
    if (class_count)
        return;
    add_class(sizeof(struct arena_bucket));
    for (uint32_t size = HEAP_BLOCK_MIN; size <= 256; size += ARENA_GRAIN)
        add_class(size);
    for (uint32_t base = 256; base < 8192; base *= 2)
        for (uint32_t step = 1; step <= 8; step++)
            add_class(base + base / 8 * step);
    for (uint32_t n = 7; n >= 1; n--)
        add_class(ARENA_CHUNK / n / ARENA_GRAIN * ARENA_GRAIN);
    unsigned class = 1;
    for (uint32_t grains = 0; grains <= ARENA_CHUNK / ARENA_GRAIN; grains++) {
        while (class_size[class] < grains * ARENA_GRAIN)
            class ++;
        class_of_grains[grains] = (uint8_t) class;
    }
}

static unsigned class_for(uint64_t size)
{
    return class_of_grains[(size + ARENA_GRAIN - 1) / ARENA_GRAIN];
}

static uint32_t capacity(unsigned class)
{
    return ARENA_CHUNK / class_size[class];
}

uint32_t heap_block_size(unsigned class)
{
    return class_size[class];
}

static uint64_t chunk_offset(const struct heap *heap, uint32_t chunk)
{
    return heap->geometry.heap_offset + (uint64_t)chunk * ARENA_CHUNK;
}

void heap_open(struct heap *heap, const struct arena_geometry *geometry, int fd)
{
    make_classes();
    *heap = (struct heap){.fd = fd, .geometry = *geometry};
    heap->chunks = calloc(geometry->chunks, sizeof *heap->chunks);
    if (!heap->chunks)
        panic("out of memory: the table of %llu chunks", (unsigned long long)geometry->chunks);
    heap_reset(heap);
}

void heap_close(struct heap *heap)
{
    free(heap->chunks);
    heap->chunks = NULL;
}

void heap_reset(struct heap *heap)
{
    for (uint64_t i = 0; i < heap->geometry.chunks; i++) {
        bool committed = heap->chunks[i].committed;
        if (heap->chunks[i].kind != HEAP_FREE)
            heap->chunks[i] = (struct heap_chunk){.committed = committed};
    }
    heap->free_chunks = (uint32_t)heap->geometry.chunks;
    heap->lowest_free = 0;
    heap->used = 0;
    for (unsigned i = 0; i < HEAP_CLASSES_MAX; i++) {
        heap->partial[i] = HEAP_NONE;
        heap->free_blocks[i] = 0;
    }
}

/* ---- Lists of slabs with a free block ---- */

static void partial_push(struct heap *heap, uint32_t index)
{
    struct heap_chunk *chunk = &heap->chunks[index];
    uint32_t head = heap->partial[chunk->class];
    chunk->next = head;
    chunk->prev = HEAP_NONE;
    if (head != HEAP_NONE)
        heap->chunks[head].prev = index;
    heap->partial[chunk->class] = index;
}

static void partial_remove(struct heap *heap, uint32_t index)
{
    struct heap_chunk *chunk = &heap->chunks[index];
    if (chunk->prev == HEAP_NONE)
        heap->partial[chunk->class] = chunk->next;
    else
        heap->chunks[chunk->prev].next = chunk->next;
    if (chunk->next != HEAP_NONE)
        heap->chunks[chunk->next].prev = chunk->prev;
}

/* ---- Chunks ---- */

bool heap_allocate_pages(int fd, uint64_t offset, uint64_t len)
{
    do {
        errno = posix_fallocate(fd, (off_t)offset, (off_t)len);
    } while (errno == EINTR);
    return errno == 0;
}

/* Allocates the pages around a chunk, for touching an unallocated page may be the end of us. */
static bool commit(struct heap *heap, uint32_t index)
{
    if (heap->chunks[index].committed || heap->fd < 0)
        return true;
    uint32_t first = index / COMMIT_CHUNKS * COMMIT_CHUNKS;
    uint32_t end = first + COMMIT_CHUNKS;
    if (end > heap->geometry.chunks)
        end = (uint32_t)heap->geometry.chunks;
    if (!heap_allocate_pages(heap->fd, chunk_offset(heap, first),
                             (uint64_t)(end - first) * ARENA_CHUNK)) {
        if (heap->refusals++ % REFUSALS_PER_LINE == 0)
            log_warn("cannot allocate memory for the arena: %s", strerror(errno));
        return false;
    }
    for (uint32_t i = first; i < end; i++)
        heap->chunks[i].committed = true;
    return true;
}

static bool is_free(const struct heap *heap, uint32_t index)
{
    return heap->chunks[index].kind == HEAP_FREE && !heap->chunks[index].held;
}

static uint32_t take_slab(struct heap *heap, unsigned class)
{
    uint32_t index = heap->lowest_free;
    if (heap->free_chunks <= heap->reserve)
        return HEAP_NONE;
    while (index < heap->geometry.chunks && !is_free(heap, index))
        index++;
    if (index == heap->geometry.chunks || !commit(heap, index))
        return HEAP_NONE;
    /* Held chunks were stepped over, so the bound moves only when there were none. */
    if (heap->lowest_free == index)
        heap->lowest_free = index + 1;
    struct heap_chunk *chunk = &heap->chunks[index];
    *chunk = (struct heap_chunk){.kind = HEAP_SLAB, .class = (uint8_t) class, .committed = true};
    heap->free_chunks--;
    heap->free_blocks[class] += capacity(class);
    partial_push(heap, index);
    return index;
}

static void release_chunks(struct heap *heap, uint32_t index, uint32_t count)
{
    for (uint32_t i = index; i < index + count; i++)
        heap->chunks[i] = (struct heap_chunk){.committed = heap->chunks[i].committed,
                                              .held = heap->chunks[i].held};
    heap->free_chunks += count;
    if (index < heap->lowest_free)
        heap->lowest_free = index;
}

/* ---- Blocks ---- */

static void mark_used(struct heap *heap, uint32_t index, uint32_t block)
{
    struct heap_chunk *chunk = &heap->chunks[index];
    chunk->bitmap[block / 64] |= (uint64_t)1 << (block % 64);
    chunk->used++;
    heap->free_blocks[chunk->class]--;
    heap->used += class_size[chunk->class];
}

static uint64_t alloc_class(struct heap *heap, unsigned class)
{
    uint32_t index = heap->partial[class];
    if (index == HEAP_NONE)
        index = take_slab(heap, class);
    if (index == HEAP_NONE)
        return 0;
    struct heap_chunk *chunk = &heap->chunks[index];
    while (chunk->bitmap[chunk->hint] == UINT64_MAX)
        chunk->hint++;
    uint32_t block = chunk->hint * 64u + (uint32_t)__builtin_ctzll(~chunk->bitmap[chunk->hint]);
    mark_used(heap, index, block);
    if (chunk->used == capacity(class))
        partial_remove(heap, index);
    return chunk_offset(heap, index) + (uint64_t)block * class_size[class];
}

static void set_run(struct heap *heap, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        heap->chunks[i].kind = i == first ? HEAP_RUN : HEAP_RUN_TAIL;
        heap->chunks[i].run = i == first ? count : i - first;
    }
}

static uint64_t take_run(struct heap *heap, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        if (!commit(heap, i))
            return 0;
    set_run(heap, first, count);
    heap->free_chunks -= count;
    heap->used += (uint64_t)count * ARENA_CHUNK;
    return chunk_offset(heap, first);
}

static uint64_t alloc_run(struct heap *heap, uint32_t count)
{
    if (count + heap->reserve > heap->free_chunks)
        return 0;
    uint32_t found = 0;
    for (uint32_t i = (uint32_t)heap->geometry.chunks; i-- > 0;) {
        found = is_free(heap, i) ? found + 1 : 0;
        if (found == count)
            return take_run(heap, i, count);
    }
    return 0;
}

uint32_t heap_chunks_for(uint64_t size)
{
    return (uint32_t)((size + ARENA_CHUNK - 1) / ARENA_CHUNK);
}

uint64_t heap_alloc(struct heap *heap, uint64_t size)
{
    if (size <= ARENA_CHUNK)
        return alloc_class(heap, class_for(size));
    if (size > heap->geometry.chunks * ARENA_CHUNK)
        return 0;
    return alloc_run(heap, heap_chunks_for(size));
}

uint64_t heap_alloc_bucket(struct heap *heap)
{
    return alloc_class(heap, HEAP_CLASS_BUCKET);
}

uint64_t heap_alloc_reserved(struct heap *heap, uint64_t size)
{
    uint32_t reserve = heap->reserve;
    heap->reserve = 0;
    uint64_t offset = heap_alloc(heap, size);
    heap->reserve = reserve;
    return offset;
}

bool heap_fits(uint64_t size, uint64_t block_size)
{
    if (size <= ARENA_CHUNK && block_size <= ARENA_CHUNK)
        return class_for(size) <= class_for(block_size);
    return heap_chunks_for(size) <= heap_chunks_for(block_size);
}

uint32_t heap_slab_of(const struct heap *heap, uint64_t offset)
{
    uint32_t index = (uint32_t)((offset - heap->geometry.heap_offset) / ARENA_CHUNK);
    return heap->chunks[index].kind == HEAP_SLAB ? index : HEAP_NONE;
}

static void free_block(struct heap *heap, uint32_t index, uint32_t block)
{
    struct heap_chunk *chunk = &heap->chunks[index];
    uint64_t bit = (uint64_t)1 << (block % 64);
    if (!(chunk->bitmap[block / 64] & bit))
        panic("heap: block %u of chunk %u is free already", block, index);
    chunk->bitmap[block / 64] &= ~bit;
    if (block / 64 < chunk->hint)
        chunk->hint = (uint16_t)(block / 64);
    heap->free_blocks[chunk->class]++;
    heap->used -= class_size[chunk->class];
    bool was_full = chunk->used-- == capacity(chunk->class);
    if (was_full && !chunk->held)
        partial_push(heap, index);
    if (chunk->used > 0)
        return;
    if (!chunk->held)
        partial_remove(heap, index);
    heap->free_blocks[chunk->class] -= capacity(chunk->class);
    release_chunks(heap, index, 1);
}

void heap_free(struct heap *heap, uint64_t offset)
{
    uint64_t from = offset - heap->geometry.heap_offset;
    uint32_t index = (uint32_t)(from / ARENA_CHUNK);
    uint32_t within = (uint32_t)(from % ARENA_CHUNK);
    if (offset < heap->geometry.heap_offset || index >= heap->geometry.chunks)
        panic("heap: offset %llu is outside", (unsigned long long)offset);
    struct heap_chunk *chunk = &heap->chunks[index];
    if (chunk->kind == HEAP_SLAB && within % class_size[chunk->class] == 0) {
        free_block(heap, index, within / class_size[chunk->class]);
    } else if (chunk->kind == HEAP_RUN && within == 0) {
        heap->used -= (uint64_t)chunk->run * ARENA_CHUNK;
        release_chunks(heap, index, chunk->run);
    } else {
        panic("heap: offset %llu is no block", (unsigned long long)offset);
    }
}

/* ---- Rebuilding ---- */

/* Makes a free chunk what it is claimed as, or sees that it is that already. Whoever comes first
 * decides. */
static bool claim_chunk(struct heap_chunk *chunk, enum heap_kind kind, unsigned class)
{
    const struct heap_chunk wanted = {.kind = (uint8_t)kind, .class = (uint8_t) class};
    uint16_t what = __atomic_load_n(&chunk->what, __ATOMIC_RELAXED);
    while (what == HEAP_FREE)
        if (__atomic_compare_exchange_n(&chunk->what, &what, wanted.what, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            return true;
    return what == wanted.what;
}

static bool claim_class(struct heap *heap, uint64_t offset, unsigned class)
{
    uint64_t from = offset - heap->geometry.heap_offset;
    uint32_t within = (uint32_t)(from % ARENA_CHUNK);
    uint32_t block = within / class_size[class];
    struct heap_chunk *chunk = &heap->chunks[from / ARENA_CHUNK];
    uint64_t bit = (uint64_t)1 << (block % 64);

    if (within % class_size[class] != 0 || block >= capacity(class) ||
        !claim_chunk(chunk, HEAP_SLAB, class))
        return false;
    return !(__atomic_fetch_or(&chunk->bitmap[block / 64], bit, __ATOMIC_RELAXED) & bit);
}

static bool claim_run(struct heap *heap, uint64_t offset, uint32_t count)
{
    uint64_t from = offset - heap->geometry.heap_offset;
    uint64_t first = from / ARENA_CHUNK;
    if (from % ARENA_CHUNK != 0 || first + count > heap->geometry.chunks)
        return false;
    for (uint64_t i = first; i < first + count; i++)
        if (heap->chunks[i].kind != HEAP_FREE)
            return false;
    set_run(heap, (uint32_t)first, count);
    return true;
}

static bool inside(const struct heap *heap, uint64_t offset, uint64_t size)
{
    const struct arena_geometry *g = &heap->geometry;
    return offset >= g->heap_offset && offset < g->size && size <= g->size - offset;
}

bool heap_claim(struct heap *heap, uint64_t offset, uint64_t size)
{
    if (!inside(heap, offset, size))
        return false;
    if (size <= ARENA_CHUNK)
        return claim_class(heap, offset, class_for(size));
    return claim_run(heap, offset, heap_chunks_for(size));
}

bool heap_claim_bucket(struct heap *heap, uint64_t offset)
{
    return inside(heap, offset, sizeof(struct arena_bucket)) &&
           claim_class(heap, offset, HEAP_CLASS_BUCKET);
}

void heap_expect(const struct heap *heap, uint64_t offset)
{
    if (inside(heap, offset, 1))
        __builtin_prefetch(&heap->chunks[(offset - heap->geometry.heap_offset) / ARENA_CHUNK], 1);
}

static void count_slab(struct heap *heap, uint32_t index)
{
    struct heap_chunk *chunk = &heap->chunks[index];
    uint32_t used = 0;
    for (unsigned i = 0; i < HEAP_BITMAP_WORDS; i++)
        used += (uint32_t)__builtin_popcountll(chunk->bitmap[i]);
    chunk->used = (uint16_t)used;
    heap->used += (uint64_t)used * class_size[chunk->class];
    heap->free_blocks[chunk->class] += capacity(chunk->class) - used;
    if (used < capacity(chunk->class))
        partial_push(heap, index);
}

void heap_claimed(struct heap *heap)
{
    for (uint32_t i = (uint32_t)heap->geometry.chunks; i-- > 0;) {
        struct heap_chunk *chunk = &heap->chunks[i];
        if (chunk->kind == HEAP_FREE)
            continue;
        chunk->committed = true;
        heap->free_chunks--;
        if (chunk->kind == HEAP_SLAB)
            count_slab(heap, i);
        else
            heap->used += ARENA_CHUNK;
    }
}

/* ---- Emptying chunks ---- */

static struct heap_chunk *chunk_of(struct heap *heap, uint64_t offset)
{
    return &heap->chunks[(offset - heap->geometry.heap_offset) / ARENA_CHUNK];
}

void heap_pin(struct heap *heap, uint64_t offset)
{
    chunk_of(heap, offset)->pins++;
}

void heap_unpin(struct heap *heap, uint64_t offset)
{
    chunk_of(heap, offset)->pins--;
}

void heap_hold(struct heap *heap, uint32_t index, bool held)
{
    struct heap_chunk *chunk = &heap->chunks[index];
    if (chunk->held == held)
        return;
    bool listed = chunk->kind == HEAP_SLAB && chunk->used < capacity(chunk->class);
    chunk->held = held;
    if (listed && held)
        partial_remove(heap, index);
    if (listed && !held)
        partial_push(heap, index);
    if (chunk->kind == HEAP_FREE && !held && index < heap->lowest_free)
        heap->lowest_free = index;
}

uint64_t heap_size(const struct heap *heap)
{
    return heap->geometry.chunks * ARENA_CHUNK;
}

uint64_t heap_available(const struct heap *heap)
{
    uint32_t chunks = heap->free_chunks > heap->reserve ? heap->free_chunks - heap->reserve : 0;
    uint64_t bytes = (uint64_t)chunks * ARENA_CHUNK;
    for (unsigned class = 1; class < class_count; class ++)
        bytes += heap->free_blocks[class] * class_size[class];
    return bytes;
}
