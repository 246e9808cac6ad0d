/*
 * verify - taking over an arena after a restart, or laying it out. Runs in a store when it starts.
 *
 * Whatever a predecessor's crash can leave is sound by construction (layout.h), so anything odd
 * found here is damage. What is damaged costs itself only: a word of the header is worked out or
 * taken from its spare, a record is given up (survey.c). Only when it cannot be told any more which
 * hash seed the index was made with is the arena wiped.
 */
#include <string.h>
#include <sys/random.h>

#include "proto/base/log.h"
#include "store/arena/internal.h"

enum {
    VOTES = 1000,            /* records that are asked whether the hash seed is theirs */
    WIPE_PIECE = 1 << 16,    /* buckets between signs of life */
    REVISION_STEP = 1 << 20, /* over revisions that may have been given out and are not known */
};
/* No arena lives to see this many changes. */
static const uint64_t REVISION_MAX = (uint64_t)1 << 62;

static void mended(struct arena_report *report, const char *what)
{
    report->mended++;
    arena_report_damage(report, "%s", what);
}

/* ---- The header ---- */

bool arena_spare_sound(const struct arena_header *header)
{
    return header->spare.check != 0 && header->spare.check == arena_spare_check(&header->spare);
}

static void write_spare(struct arena_header *header)
{
    header->spare.generation = header->generation;
    header->spare.hash_seed = header->hash_seed;
    header->spare.revision = header->revision;
    header->spare.check = arena_spare_check(&header->spare);
}

static bool identity_sound(const struct arena_header *header)
{
    return header->identity_check == arena_identity_check(header);
}

/* Whether most of the records say that the hash seed in the header is the one they were put with.
 */
static bool seed_fits(const struct arena_writer *writer)
{
    const struct arena_geometry *g = &writer->geometry;
    unsigned asked = 0, agree = 0;
    for (uint64_t i = 0; i < g->buckets && asked < VOTES; i++) {
        uint64_t word = writer->index[i].slots[0];
        uint64_t offset = arena_word_offset(word);
        if (word == 0 || offset < g->heap_offset || offset > g->size - ARENA_CHUNK)
            continue;
        struct arena_record *record = record_at(writer, offset);
        unsigned table = arena_record_table(record);
        if (!arena_key_fits(table, record->key_len))
            continue;
        uint64_t hash = arena_hash(writer->header->hash_seed, table, record_key(record));
        asked++;
        agree += arena_bucket_of(hash, g->buckets) == i;
    }
    return agree * 2 >= asked;
}

/* Finds the version with which the header matches its check: it may be damaged, or raising it was
 * cut short, and then nothing of the higher one is in the arena. False when there is none. */
static bool settle_version(struct arena_header *header)
{
    if (arena_version_known(header) && identity_sound(header))
        return true;
    for (header->version = ARENA_VERSION; header->version >= ARENA_VERSION_FIRST; header->version--)
        if (identity_sound(header))
            return true;
    header->version = ARENA_VERSION;
    return false;
}

/* Mends what says which arena this is. False when the hash seed is lost. */
static bool mend_identity(struct arena_writer *writer, struct arena_report *report)
{
    struct arena_header *header = writer->header;
    if (memcmp(header->magic, ARENA_MAGIC, sizeof header->magic) != 0 ||
        !arena_version_known(header) || header->header_size != sizeof *header ||
        header->size != writer->size)
        mended(report, "the header is not this arena's");
    header->header_size = sizeof *header;
    header->size = writer->size;
    if (!settle_version(header)) {
        mended(report, "the header does not match its check");
        if (arena_spare_sound(header)) {
            header->generation = header->spare.generation;
            header->hash_seed = header->spare.hash_seed;
        } else if (!seed_fits(writer)) {
            return false;
        }
        header->identity_check = arena_identity_check(header);
    }
    memcpy(header->magic, ARENA_MAGIC, sizeof header->magic);
    return true;
}

/* A mark of which only one half is right. The lower half at worst has one request carried out
 * twice; the higher one could have others be taken for done. */
static void mend_marks(struct arena_writer *writer, struct arena_report *report)
{
    for (uint32_t i = 0; i < ARENA_CHANNELS_MAX; i++) {
        uint64_t count = writer->header->applied[i].count;
        uint64_t other = ~writer->header->applied[i].inverse;
        if (count == other)
            continue;
        mended(report, "a channel's mark is damaged");
        publish_applied(writer, i, count < other ? count : other);
    }
}

static void mend_revision(struct arena_writer *writer, uint64_t newest, struct arena_report *report)
{
    struct arena_header *header = writer->header;
    /* One given out before a crash may have no record any more, so it may well be above all. */
    if (header->revision >= newest && header->revision < REVISION_MAX)
        return;
    mended(report, "the count of revisions is impossible");
    uint64_t known = arena_spare_sound(header) && header->spare.revision < REVISION_MAX
                         ? header->spare.revision
                         : 0;
    header->revision = (newest > known ? newest : known) + REVISION_STEP;
}

bool verify(struct arena_writer *writer, struct arena_report *report)
{
    struct arena_header *header = writer->header;
    if (!mend_identity(writer, report))
        return false;
    writer->seed = header->hash_seed;
    if (!publish_redo(writer))
        mended(report, "the intent makes no sense");
    mend_marks(writer, report);
    publish_close_stripes(writer, false);
    if (header->state != ARENA_READY) {
        mended(report, "the state makes no sense");
        atomic_store_explicit(&header->state, ARENA_READY, memory_order_release);
    }
    mend_revision(writer, survey(writer, report), report);
    atomic_fetch_add_explicit(&header->quarantined, report->quarantined, memory_order_relaxed);
    write_spare(header);
    return true;
}

/* ---- Wiping ---- */

static void forget_everything(struct arena_writer *writer, uint64_t now_ms)
{
    heap_reset(&writer->heap);
    recency_close(&writer->recency);
    recency_open(&writer->recency, now_ms);
    memset(writer->records, 0, sizeof writer->records);
    scan_forget(writer);
}

/* Pages of zeros, as a new arena has them, are only looked at. */
static void clear_word(_Atomic uint64_t *word)
{
    if (atomic_load_explicit(word, memory_order_relaxed) != 0)
        atomic_store_explicit(word, 0, memory_order_release);
}

static void clear_index(struct arena_writer *writer)
{
    for (uint64_t i = 0; i < writer->geometry.buckets; i++) {
        for (int slot = 0; slot < ARENA_BUCKET_SLOTS; slot++)
            clear_word(&writer->index[i].slots[slot]);
        clear_word(&writer->index[i].overflow);
        if (i % WIPE_PIECE == 0)
            arena_beat();
    }
}

void wipe(struct arena_writer *writer, uint64_t now_ms)
{
    struct arena_header *header = writer->header;
    uint64_t seed;

    header->spare.check = 0;
    atomic_store_explicit(&header->state, ARENA_RAW, memory_order_release);
    publish_close_stripes(writer, true);
    forget_everything(writer, now_ms);
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        panic("getrandom gave nothing");

    header->version = ARENA_VERSION_FIRST;
    header->header_size = sizeof *header;
    header->size = writer->size;
    header->generation++;
    atomic_store_explicit(&header->hash_seed, seed, memory_order_release);
    header->identity_check = arena_identity_check(header);
    writer->seed = seed;
    /* Microseconds: revisions of a new generation are above those of any former one. */
    uint64_t former = header->revision < REVISION_MAX ? header->revision : 0;
    header->revision = former >= now_ms * 1000 ? former + 1 : now_ms * 1000;
    memset(&header->intent, 0, sizeof header->intent);
    for (uint32_t i = 0; i < ARENA_CHANNELS_MAX; i++)
        publish_applied(writer, i, 0);
    clear_index(writer);
    publish_close_stripes(writer, false);
    memcpy(header->magic, ARENA_MAGIC, sizeof header->magic);
    write_spare(header);
    atomic_store_explicit(&header->state, ARENA_READY, memory_order_release);
}
