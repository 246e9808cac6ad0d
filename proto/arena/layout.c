/*
 * layout - geometry, hashing and copying for the arena. Stores and workers; cannot fail.
 */
#include "proto/arena/layout.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * One tenth of the arena is index: 7 slots in 64 bytes serve small records (96 bytes with header)
 * at about 85 % fill, and the few overflow buckets come from the heap.
 */
enum { INDEX_SHARE = 10, CHECK_SEED = 1 };

static uint64_t round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

bool arena_geometry(uint64_t size, struct arena_geometry *geometry_r)
{
    if (size < ARENA_SIZE_MIN || size > ARENA_SIZE_MAX)
        return false;
    struct arena_geometry g = {.stripes_offset = sizeof(struct arena_header)};
    g.index_offset = g.stripes_offset + ARENA_STRIPES * sizeof(struct arena_stripe);
    g.buckets = size / INDEX_SHARE / sizeof(struct arena_bucket);
    g.heap_offset = round_up(g.index_offset + g.buckets * sizeof(struct arena_bucket), 4096);
    g.chunks = (size - g.heap_offset) / ARENA_CHUNK;
    g.size = g.heap_offset + g.chunks * ARENA_CHUNK;
    *geometry_r = g;
    return true;
}

uint64_t arena_value_max(const struct arena_geometry *geometry)
{
    uint64_t third = geometry->chunks * ARENA_CHUNK / 3;
    uint64_t most = UINT32_MAX - sizeof(struct arena_record) - ARENA_KEY_MAX;
    return third < most ? third : most;
}

uint64_t arena_hash(uint64_t seed, unsigned table, struct bytes key)
{
    /* The tables' keys are told apart by the seed. */
    return XXH3_64bits_withSeed(key.data, key.len,
                                seed + ((uint64_t)table + 1) * 0x9e3779b97f4a7c15u);
}

uint64_t arena_identity_check(const struct arena_header *header)
{
    uint64_t fields[5] = {
        header->version,
        header->header_size,
        header->size,
        header->generation,
        atomic_load_explicit(&header->hash_seed, memory_order_relaxed),
    };
    return XXH3_64bits_withSeed(ARENA_MAGIC, sizeof ARENA_MAGIC,
                                XXH3_64bits(fields, sizeof fields));
}

uint64_t arena_spare_check(const struct arena_spare *spare)
{
    return XXH3_64bits_withSeed(spare, offsetof(struct arena_spare, check), CHECK_SEED) | 1;
}

uint64_t arena_clock_check(const struct arena_header *header)
{
    return XXH3_64bits_withSeed(&header->clock_offset_ms, 2 * sizeof(uint64_t), CHECK_SEED) | 1;
}

uint32_t arena_checksum(const struct arena_record *record, const uint8_t *body)
{
    uint64_t fields[3] = {
        record->revision,
        record->expiry_ms,
        (uint64_t)record->value_len << 32 | (uint64_t)record->key_len << 16 |
            (uint64_t)record->service << 8 | record->space,
    };
    uint64_t seed = XXH3_64bits(fields, sizeof fields);
    return (uint32_t)XXH3_64bits_withSeed(body, (size_t)record->key_len + record->value_len, seed);
}

/*
 * Loads are acquire and stores release, which costs nothing on x86: a reader that sees any part of
 * a reused block then also sees that the stripe's count has moved, with no fence needed. Each piece
 * is aligned to its size.
 */
#define COPY_OUT(type)                                                                             \
    do {                                                                                           \
        type piece_ = atomic_load_explicit((const _Atomic(type) *)in, memory_order_acquire);       \
        memcpy(out, &piece_, sizeof piece_);                                                       \
        in += sizeof piece_;                                                                       \
        out += sizeof piece_;                                                                      \
        len -= sizeof piece_;                                                                      \
    } while (0)

#define COPY_IN(type)                                                                              \
    do {                                                                                           \
        type piece_;                                                                               \
        memcpy(&piece_, in, sizeof piece_);                                                        \
        atomic_store_explicit((_Atomic(type) *)out, piece_, memory_order_release);                 \
        in += sizeof piece_;                                                                       \
        out += sizeof piece_;                                                                      \
        len -= sizeof piece_;                                                                      \
    } while (0)

void arena_copy_out(void *to, const void *shared, size_t len)
{
    const uint8_t *in = shared;
    uint8_t *out = to;
    while (len >= 8)
        COPY_OUT(uint64_t);
    if (len >= 4)
        COPY_OUT(uint32_t);
    if (len >= 2)
        COPY_OUT(uint16_t);
    if (len >= 1)
        COPY_OUT(uint8_t);
}

void arena_copy_in(void *shared, const void *from, size_t len)
{
    const uint8_t *in = from;
    uint8_t *out = shared;
    if ((uintptr_t)out & 1 && len >= 1)
        COPY_IN(uint8_t);
    if ((uintptr_t)out & 2 && len >= 2)
        COPY_IN(uint16_t);
    if ((uintptr_t)out & 4 && len >= 4)
        COPY_IN(uint32_t);
    while (len >= 8)
        COPY_IN(uint64_t);
    /* Where the way to alignment ended early, less than the next step is left. */
    if (len >= 4)
        COPY_IN(uint32_t);
    if (len >= 2)
        COPY_IN(uint16_t);
    if (len >= 1)
        COPY_IN(uint8_t);
}
