/*
 * reader - lock-free reads of an arena through a read-only mapping. Runs in every worker.
 *
 * It never writes to the arena, never blocks and never takes longer than ARENA_READ_NS plus one
 * copy; when a write is in the way for that long it says STATUS_RETRY and the store is asked.
 */
#ifndef STRATO_PROTO_ARENA_READER_H
#define STRATO_PROTO_ARENA_READER_H

#include "proto/arena/layout.h"

enum { ARENA_READ_NS = 50000 };

struct arena_reader {
    const uint8_t *base;
    struct arena_geometry geometry;
    uint64_t mapped; /* bytes; 0: the memory is the caller's */
};

/*
 * Maps fd read-only and checks magic, version and size. False with a reason when it is no arena
 * of this version. fd stays the caller's. A store has laid it out before any worker starts.
 */
bool arena_reader_open(struct arena_reader *reader, int fd, char *reason, size_t reason_size);
/* The same over memory that the caller keeps; for tests. */
bool arena_reader_attach(struct arena_reader *reader, const void *base, uint64_t size);
void arena_reader_close(struct arena_reader *reader);

struct arena_found {
    uint64_t revision;
    uint64_t expiry_ms;
    uint64_t word;      /* for channel_worker_hit() */
    struct bytes value; /* inside scratch; valid until scratch is used again */
};

/*
 * Looks a key up as of now_ms (wall clock).
 * STATUS_OK: *found_r is filled, its value copied into scratch (whose former contents go).
 * STATUS_NOT_FOUND: no such record, or it has expired.
 * STATUS_RETRY: writes were in the way, or the arena is raw or not sane: ask the store.
 */
enum status arena_read(const struct arena_reader *reader, unsigned table, struct bytes key,
                       uint64_t now_ms, struct buffer *scratch,
                       struct arena_found *found_r) MUST_CHECK;

#endif
