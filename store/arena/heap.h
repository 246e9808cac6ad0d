/*
 * heap - which blocks of the arena's heap are in use. Private memory of the store: nothing of it is
 * in the arena, a restarted store rebuilds it from the index with heap_claim().
 *
 * The heap is cut into chunks of 64 KiB. A chunk is free, or a slab of equal blocks of one size
 * class, or part of a run of chunks that holds one larger block. Slabs fill from the bottom, runs
 * from the top, so that they rarely get in each other's way.
 */
#ifndef STRATO_STORE_ARENA_HEAP_H
#define STRATO_STORE_ARENA_HEAP_H

#include "proto/arena/layout.h"

enum {
    HEAP_BLOCK_MIN = 48,
    HEAP_CLASSES_MAX = 64,
    HEAP_CLASS_BUCKET = 0, /* overflow buckets: 64 bytes, never moved */
    HEAP_BITMAP_WORDS = (ARENA_CHUNK / HEAP_BLOCK_MIN + 63) / 64,
};

enum heap_kind { HEAP_FREE, HEAP_SLAB, HEAP_RUN, HEAP_RUN_TAIL };

struct heap_chunk {
    union {
        struct {
            uint8_t kind;
            uint8_t class; /* slab */
        };
        uint16_t what; /* both, for heap_claim() */
    };
    bool committed;      /* its pages are allocated */
    bool held;           /* being emptied: nothing is allocated here */
    uint16_t used;       /* slab: blocks in use */
    uint16_t hint;       /* slab: no free block before this word of the bitmap */
    uint16_t pins;       /* blocks in it that are not to be moved; of a run: in its first chunk */
    uint32_t run;        /* run: chunks; tail: distance to its first chunk */
    uint32_t next, prev; /* slab: list of those with a free block; HEAP_NONE ends it */
    uint64_t bitmap[HEAP_BITMAP_WORDS];
};

#define HEAP_NONE UINT32_MAX

struct heap {
    int fd; /* of the memfd, to allocate pages; -1: they are there (tests) */
    struct arena_geometry geometry;
    struct heap_chunk *chunks;
    uint32_t free_chunks;
    uint32_t reserve;                   /* free chunks that only heap_alloc_reserved() may take */
    uint32_t lowest_free;               /* no free chunk below this one */
    uint64_t used;                      /* bytes in blocks in use */
    uint32_t partial[HEAP_CLASSES_MAX]; /* heads of the lists of slabs with a free block */
    uint64_t free_blocks[HEAP_CLASSES_MAX];
    uint64_t refusals; /* of the kernel, to give us pages */
};

/* Reserves pages of a memfd, so that touching them cannot end us. False and errno: there are none.
 */
bool heap_allocate_pages(int fd, uint64_t offset, uint64_t len);

/* fd: of the memfd, or -1 when all its pages are there. */
void heap_open(struct heap *heap, const struct arena_geometry *geometry, int fd);
void heap_close(struct heap *heap);
/* Forgets all blocks. */
void heap_reset(struct heap *heap);

/* A block of at least size bytes for a record, or an overflow bucket; its offset from the arena's
 * start, or 0 when there is no room. */
uint64_t heap_alloc(struct heap *heap, uint64_t size);
uint64_t heap_alloc_bucket(struct heap *heap);
/* The same as heap_alloc(), out of the reserve too. */
uint64_t heap_alloc_reserved(struct heap *heap, uint64_t size);
/* Bytes of a block of a slab's class. */
uint32_t heap_block_size(unsigned class);
/* Whether a block for one size is no smaller than one for another. */
bool heap_fits(uint64_t size, uint64_t block_size);
/* The chunk of a block that is not in a run; HEAP_NONE for one in a run. */
uint32_t heap_slab_of(const struct heap *heap, uint64_t offset);
/* offset is a block's start, as given out. Anything else is our own bug and panics. */
void heap_free(struct heap *heap, uint64_t offset);

/*
 * Rebuilding, on an empty heap: takes exactly this block. False when it cannot be one of that size
 * or overlaps another. Several threads may claim at once, but only one blocks above ARENA_CHUNK,
 * when no other claims. Nothing is counted before heap_claimed().
 */
bool heap_claim(struct heap *heap, uint64_t offset, uint64_t size);
bool heap_claim_bucket(struct heap *heap, uint64_t offset);
/* A hint that this block will be claimed; offset may be anything. */
void heap_expect(const struct heap *heap, uint64_t offset);
/* Rebuilding is over: counts and makes the lists. */
void heap_claimed(struct heap *heap);

/* How many neighbouring free chunks a block of that size would need (1 for slab sizes). */
uint32_t heap_chunks_for(uint64_t size);
struct heap_window {
    uint64_t cost; /* bytes to move */
    int64_t first; /* chunk */
};
#define HEAP_WINDOW_START ((struct heap_window){0, -1})
/* The window of n chunks that is the next cheapest to empty after *window, of which none holds
 * overflow buckets or is in a run of n or more. With n == 1 only one whose blocks fit into other
 * slabs of their class. False when there is no further one. */
bool heap_next_window(const struct heap *heap, uint32_t n, struct heap_window *window);
/* While a block is pinned its chunk is in no window: it is not in the index yet, so that it could
 * not be moved. */
void heap_pin(struct heap *heap, uint64_t offset);
void heap_unpin(struct heap *heap, uint64_t offset);
/* While held, a chunk gives out no blocks. */
void heap_hold(struct heap *heap, uint32_t chunk, bool held);
/* The next block in use in a chunk at or after *cursor (start with 0); its offset, or 0. For a
 * chunk of a run: the run's block, which may begin in an earlier chunk. */
uint64_t heap_next_used(const struct heap *heap, uint32_t chunk, uint32_t *cursor);

/* Bytes of the heap, and how many heap_alloc() could give out (free blocks and free chunks). */
uint64_t heap_size(const struct heap *heap);
uint64_t heap_available(const struct heap *heap);

#endif
