/*
 * fuzz_arena - the takeover of an arena that somebody scribbled over: it is opened, it serves, and
 * when it is opened again it is sound. What was not damaged is there.
 *
 * Input: pieces of 8 bytes: a kind, a position (4 bytes), a value (3 bytes).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "proto/arena/reader.h"
#include "proto/base/log.h"
#include "store/arena/writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Instead of libc's: the same hash seed each time, so that a failure repeats. */
ssize_t getrandom(void *buffer, size_t len, unsigned flags)
{
    (void)flags;
    memset(buffer, 0x5a, len);
    return (ssize_t)len;
}

enum { SIZE = 1 << 20, RECORDS = 300, PARTS = 12, CHANNEL = 3, PIECE = 8, PIECES_MAX = 32 };
static const uint64_t NOW = 1700000000000;
static const struct arena_origin NOBODY = {ARENA_NOBODY, 0};

static uint8_t *base, *pristine;
static struct arena_geometry geometry;

static struct arena_writer *open_arena(struct arena_report *report)
{
    char reason[128];
    struct arena_writer *writer =
        arena_writer_attach(base, SIZE, ARENA_DATA, NOW, report, reason, sizeof reason);
    return writer;
}

static char keys[RECORDS][16];

static struct bytes key_of(int i)
{
    return (struct bytes){(uint8_t *)keys[i], strlen(keys[i])};
}

static void put_all(struct arena_writer *writer)
{
    static uint8_t value[60];
    uint64_t revision;
    for (int i = 0; i < RECORDS; i++) {
        enum service service = i % 3 ? SERVICE_KV : SERVICE_CACHE;
        size_t len = (size_t)(i * 7 % 60);
        if (arena_put(writer, service, key_of(i), (struct bytes){value, len},
                      i % 3 ? 0 : NOW + 1 + (uint64_t)i, NOBODY, NOW, &revision) != STATUS_OK)
            abort();
    }
}

/* A collection's parts, all in one transaction; every third is taken away. */
static void put_parts(struct arena_writer *writer)
{
    static const uint8_t id[sizeof(uint64_t)] = {[7] = 1};
    uint8_t names[PARTS][sizeof id + 1];
    struct arena_write writes[PARTS] = {0};
    for (int i = 0; i < PARTS; i++) {
        memcpy(names[i], id, sizeof id);
        names[i][sizeof id] = (uint8_t)('a' + i);
        writes[i] = (struct arena_write){.service = SERVICE_SET,
                                         .space = ARENA_PARTS,
                                         .remove = i % 3 == 2,
                                         .key = {names[i], sizeof names[i]},
                                         .value = {names[i], (size_t)i}};
    }
    if (arena_apply(writer, writes, PARTS, (struct arena_origin){CHANNEL, 0}, NOW) != STATUS_OK)
        abort();
}

/* The keys of a table come each once, in order. */
static uint64_t walk(struct arena_writer *writer, unsigned table)
{
    const struct arena_range range = {.table = table};
    struct arena_cursor cursor;
    struct arena_entry entry;
    struct bytes key, last = {0};
    uint64_t n = 0;
    arena_seek(writer, &range, &cursor);
    for (; arena_step(writer, &cursor, &key, &entry); last = key, n++) {
        size_t shorter = key.len < last.len ? key.len : last.len;
        int order = n > 0 ? memcmp(last.data, key.data, shorter) : -1;
        if (order > 0 || (order == 0 && last.len >= key.len))
            abort();
    }
    return n;
}

static void walk_all(struct arena_writer *writer)
{
    struct arena_stats stats;
    arena_stats(writer, &stats);
    if (walk(writer, SERVICE_KV) != stats.records[SERVICE_KV] ||
        walk(writer, arena_table(SERVICE_SET, ARENA_PARTS)) != stats.parts[SERVICE_SET])
        abort();
}

static int count(struct arena_writer *writer)
{
    int found = 0;
    struct arena_entry entry;
    for (int i = 0; i < RECORDS; i++) {
        enum service service = i % 3 ? SERVICE_KV : SERVICE_CACHE;
        if (arena_get(writer, service, key_of(i), NOW, &entry) == STATUS_OK)
            found += entry.value.len == (size_t)(i * 7 % 60);
    }
    return found;
}

static void set_up(void)
{
    struct arena_report report;
    base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pristine = malloc(SIZE);
    if (base == MAP_FAILED || !pristine || !arena_geometry(SIZE, &geometry))
        abort();
    log_set_level(LOG_ERROR + 1);
    for (int i = 0; i < RECORDS; i++)
        snprintf(keys[i], sizeof keys[i], "key%d", i);
    struct arena_writer *writer = open_arena(&report);
    put_all(writer);
    put_parts(writer);
    arena_writer_close(&writer);
    memcpy(pristine, base, SIZE);
}

static void scribble(const uint8_t *piece)
{
    uint32_t at, value;
    memcpy(&at, piece + 1, sizeof at);
    memcpy(&value, piece + 4, sizeof value);
    value >>= 8;
    uint64_t *words = (uint64_t *)base;
    uint64_t index = geometry.index_offset / 8, index_words = geometry.buckets * 8;
    switch (piece[0] % 6) {
    case 0: /* the header */
        base[at % 2304] ^= (uint8_t)(value | 1);
        break;
    case 1: /* a word of the index */
        words[index + at % index_words] ^= (uint64_t)value << (piece[0] / 6);
        break;
    case 2: /* a copy of another word of it */
        words[index + at % index_words] = words[index + value % index_words];
        break;
    case 3: /* the first records */
        base[geometry.heap_offset + at % 131072] ^= (uint8_t)(value | 1);
        break;
    case 4:
        base[at % SIZE] ^= (uint8_t)(value | 1);
        break;
    default: /* a word that points into the heap */
        words[index + at % index_words] = geometry.heap_offset / ARENA_GRAIN + value % 16384;
    }
}

static void read_all(void)
{
    struct arena_reader reader;
    struct arena_found found;
    struct buffer scratch = {0};
    if (!arena_reader_attach(&reader, base, SIZE))
        abort();
    for (int i = 0; i < 8; i++)
        (void)!arena_read(&reader, SERVICE_KV, key_of(i), NOW, &scratch, &found);
    buffer_free(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t pieces = len / PIECE < PIECES_MAX ? len / PIECE : PIECES_MAX;
    struct arena_report report;
    if (!base)
        set_up();
    memcpy(base, pristine, SIZE);
    for (size_t i = 0; i < pieces; i++)
        scribble(data + i * PIECE);
    read_all();
    struct arena_writer *writer = open_arena(&report);
    if (!writer) /* it proves to be of another version */
        return 0;
    /* Seven records hang behind one word. (A word that became 0 looks as if it had been deleted.)
     */
    if (report.found_as != ARENA_WAS_DAMAGED && count(writer) < RECORDS - (int)pieces * 8)
        abort();
    walk_all(writer);
    put_all(writer);
    put_parts(writer);
    walk_all(writer);
    (void)arena_reclaim(writer, NOW + 100000, RECORDS / 2);
    arena_writer_close(&writer);
    writer = open_arena(&report);
    if (!writer || report.found_as != ARENA_WAS_SOUND)
        abort();
    arena_writer_close(&writer);
    return 0;
}
