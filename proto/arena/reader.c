/*
 * reader - lock-free lookups, see reader.h. Runs in every worker.
 *
 * Nothing read from the arena is believed before it is checked against the geometry, and nothing
 * copied is given out before the stripe's count shows that no write overlapped.
 */
#include "proto/arena/reader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "proto/base/clock.h"

/* Longest chain of buckets that is walked; a longer one can only be a damaged arena. */
enum { HOPS_MAX = 4096, RECHECK_ABOVE = 64 * 1024 };

bool arena_reader_attach(struct arena_reader *reader, const void *base, uint64_t size)
{
    *reader = (struct arena_reader){.base = base};
    return arena_geometry(size, &reader->geometry);
}

bool arena_reader_open(struct arena_reader *reader, int fd, char *reason, size_t reason_size)
{
    struct stat info;
    struct arena_geometry geometry;
    if (fstat(fd, &info) != 0 || !arena_geometry((uint64_t)info.st_size, &geometry)) {
        snprintf(reason, reason_size, "descriptor %d is no arena", fd);
        return false;
    }
    const void *base = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        snprintf(reason, reason_size, "cannot map the arena: %s", strerror(errno));
        return false;
    }
    const struct arena_header *header = base;
    if (memcmp(header->magic, ARENA_MAGIC, sizeof header->magic) != 0 ||
        header->version < ARENA_VERSION_FIRST || header->version > ARENA_VERSION ||
        header->size != (uint64_t)info.st_size) {
        snprintf(
            reason, reason_size,
            "the arena has version %u and size %llu, this program needs version %d to %d and %lld",
            header->version, (unsigned long long)header->size, ARENA_VERSION_FIRST, ARENA_VERSION,
            (long long)info.st_size);
        munmap((void *)base, (size_t)info.st_size);
        return false;
    }
    madvise((void *)base, (size_t)info.st_size, MADV_DONTDUMP);
    arena_reader_attach(reader, base, (uint64_t)info.st_size);
    reader->mapped = (uint64_t)info.st_size;
    return true;
}

void arena_reader_close(struct arena_reader *reader)
{
    munmap((void *)reader->base, reader->mapped);
    reader->base = NULL;
}

struct lookup {
    const struct arena_reader *reader;
    unsigned table;
    struct bytes key;
    uint64_t hash;
    const _Atomic uint64_t *stripe;
    uint64_t sequence; /* of the stripe when the lookup began */
    struct buffer *scratch;
    struct arena_found *found_r;
    bool damaged;
};

static bool undisturbed(const struct lookup *lookup)
{
    return atomic_load_explicit(lookup->stripe, memory_order_acquire) == lookup->sequence;
}

static bool in_heap(const struct arena_geometry *g, uint64_t offset, uint64_t len)
{
    return offset >= g->heap_offset && offset <= g->size && len <= g->size - offset;
}

/* STATUS_OK: the record is ours and copied. STATUS_NOT_FOUND: it is another's. STATUS_RETRY: it
 * makes no sense (torn, or the arena is damaged). */
static enum status copy_record(const struct lookup *lookup, uint64_t word)
{
    const struct arena_geometry *g = &lookup->reader->geometry;
    uint64_t offset = arena_word_offset(word);
    struct arena_record record;

    if (!in_heap(g, offset, sizeof record))
        return STATUS_RETRY;
    arena_copy_out(&record, lookup->reader->base + offset, sizeof record);
    if (arena_record_table(&record) != lookup->table || record.key_len != lookup->key.len)
        return STATUS_NOT_FOUND;
    uint64_t len = (uint64_t)record.key_len + record.value_len;
    if (!in_heap(g, offset + sizeof record, len))
        return STATUS_RETRY;
    /* Do not allocate for a length that a torn read made up. */
    if (len > RECHECK_ABOVE && !undisturbed(lookup))
        return STATUS_RETRY;
    lookup->scratch->len = 0;
    buffer_reserve(lookup->scratch, len);
    uint8_t *body = lookup->scratch->data;
    arena_copy_out(body, lookup->reader->base + offset + sizeof record, len);
    if (memcmp(body, lookup->key.data, lookup->key.len) != 0)
        return STATUS_NOT_FOUND;
    lookup->scratch->len = len;
    *lookup->found_r = (struct arena_found){
        .revision = record.revision,
        .expiry_ms = record.expiry_ms,
        .word = word,
        .value = {body + record.key_len, record.value_len},
    };
    return STATUS_OK;
}

static enum status search_bucket(const struct lookup *lookup, const struct arena_bucket *bucket)
{
    for (int i = 0; i < ARENA_BUCKET_SLOTS; i++) {
        uint64_t word = atomic_load_explicit(&bucket->slots[i], memory_order_acquire);
        if (!arena_word_matches(word, lookup->hash))
            continue;
        enum status status = copy_record(lookup, word);
        if (status != STATUS_NOT_FOUND)
            return status;
    }
    return STATUS_NOT_FOUND;
}

static enum status search_chain(const struct lookup *lookup, const struct arena_bucket *bucket)
{
    const struct arena_geometry *g = &lookup->reader->geometry;
    for (int hop = 0; hop < HOPS_MAX; hop++) {
        enum status status = search_bucket(lookup, bucket);
        if (status != STATUS_NOT_FOUND)
            return status;
        uint64_t next = atomic_load_explicit(&bucket->overflow, memory_order_acquire);
        if (next == 0)
            return STATUS_NOT_FOUND;
        if (next > ARENA_WORD_OFFSET_MASK)
            return STATUS_RETRY;
        uint64_t offset = next * ARENA_GRAIN;
        if (offset % sizeof *bucket != 0 || !in_heap(g, offset, sizeof *bucket))
            return STATUS_RETRY;
        bucket = (const struct arena_bucket *)(lookup->reader->base + offset);
    }
    return STATUS_RETRY;
}

static enum status read_once(struct lookup *lookup)
{
    const struct arena_reader *reader = lookup->reader;
    const struct arena_header *header = (const void *)reader->base;
    const struct arena_stripe *stripes =
        (const void *)(reader->base + reader->geometry.stripes_offset);
    const struct arena_bucket *index = (const void *)(reader->base + reader->geometry.index_offset);

    if (atomic_load_explicit(&header->state, memory_order_acquire) != ARENA_READY)
        return STATUS_RETRY;
    uint64_t bucket = arena_bucket_of(lookup->hash, reader->geometry.buckets);
    lookup->stripe = &stripes[bucket % ARENA_STRIPES].sequence;
    lookup->sequence = atomic_load_explicit(lookup->stripe, memory_order_acquire);
    if (lookup->sequence & 1)
        return STATUS_RETRY;
    enum status status = search_chain(lookup, &index[bucket]);
    if (!undisturbed(lookup))
        return STATUS_RETRY;
    /* Nonsense that no write explains is damage: trying again would find it again. */
    lookup->damaged = status == STATUS_RETRY;
    return status;
}

enum status arena_read(const struct arena_reader *reader, unsigned table, struct bytes key,
                       uint64_t now_ms, struct buffer *scratch, struct arena_found *found_r)
{
    const struct arena_header *header = (const void *)reader->base;
    struct lookup lookup = {
        .reader = reader,
        .table = table,
        .key = key,
        .scratch = scratch,
        .found_r = found_r,
    };
    uint64_t give_up = 0;
    enum status status;
    for (;;) {
        uint64_t seed = atomic_load_explicit(&header->hash_seed, memory_order_acquire);
        lookup.hash = arena_hash(seed, table, key);
        status = read_once(&lookup);
        if (status != STATUS_RETRY &&
            seed == atomic_load_explicit(&header->hash_seed, memory_order_acquire))
            break;
        if (lookup.damaged)
            return STATUS_RETRY;
        uint64_t now = clock_ns();
        if (give_up == 0)
            give_up = now + ARENA_READ_NS;
        else if (now >= give_up)
            return STATUS_RETRY;
    }
    if (status == STATUS_OK && found_r->expiry_ms != 0 && found_r->expiry_ms <= now_ms)
        return STATUS_NOT_FOUND;
    return status;
}
