/*
 * arena - shows an arena: its header, its index, its records by service, and one record if wanted.
 * strato-inspect; see inspect.h and proto/arena/layout.h.
 *
 * The index is walked bucket by bucket. Where something makes no sense the bucket is looked at
 * again while its stripe's count is even and stays the same: only what is then still so is trouble.
 * So the counts for a live arena are those of the time that the walk took, not of one moment.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/arena/layout.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "store/inspect/inspect.h"

enum {
    BATCH = 1024, /* buckets that are read at once */
    TRIES = 20,   /* looks at a bucket that is being changed */
    HOPS_MAX = 4096,
    HEAD_SHOWN = 64 * 1024, /* bytes of a record's value that are read to show it */
};

struct tally {
    uint64_t records, parts, key_bytes, value_bytes, expiring, expired;
};

/* What one look at one bucket found. */
struct look {
    struct tally tally[SERVICE_COUNT];
    uint64_t overflow;
    char trouble[160]; /* the first one; "" for none */
};

struct walk {
    const struct input *input;
    const struct inspect_options *options;
    struct report *report;
    struct arena_geometry g;
    struct arena_header header;
    uint64_t now_ms;
    struct look sum;
    uint64_t buckets_used, longest, disturbed;
    uint64_t bytes; /* of all records met; more than the heap has means that they overlap */
};

/* ---- The header ---- */

static const char *state_name(uint64_t state)
{
    return state == ARENA_READY ? "ready" : state == ARENA_RAW ? "raw" : "makes no sense";
}

static void show_intent(const struct walk *walk)
{
    const struct arena_intent *intent = &walk->header.intent;
    json_t *to = show_object(walk->report->root, "intent");
    show_flag(to, "valid", intent->kind != 0);
    if (intent->channel != UINT32_MAX)
        show_number(to, "channel", intent->channel);
    show_number(to, "sequence", intent->sequence);
    show_number(to, "word offset", intent->word_offset);
    show_text(to, "word", "%016" PRIx64, intent->word);
}

/* Between the two stores of one change the intent is valid. */
static bool is_whole(const struct arena_header *header, uint32_t channel)
{
    const struct arena_applied *mark = &header->applied[channel];
    return mark->inverse == ~mark->count || header->intent.kind != 0;
}

/* A header that is being written is read again, a bounded number of times. */
static bool read_header(const struct input *input, struct arena_header *header)
{
    for (int i = 0; i < TRIES; i++) {
        uint32_t channel = 0;
        if (!input_read(input, 0, header, sizeof *header))
            return false;
        while (channel < ARENA_CHANNELS_MAX && is_whole(header, channel))
            channel++;
        if (channel == ARENA_CHANNELS_MAX)
            break;
    }
    return true;
}

static void show_applied(const struct walk *walk)
{
    json_t *array = show_array(walk->report->root, "applied");
    for (uint32_t i = 0; i < ARENA_CHANNELS_MAX; i++) {
        const struct arena_applied *mark = &walk->header.applied[i];
        if (mark->count == 0 && (mark->inverse == ~(uint64_t)0 || mark->inverse == 0))
            continue;
        json_t *row = show_row(array);
        inspect_show_worker(row, i);
        show_number(row, "count", mark->count);
        if (!is_whole(&walk->header, i))
            report_trouble(walk->report, "the mark of channel %u is damaged", i);
    }
}

/* All zero in an arena of release 0.2.0. */
static const char *spare_name(const struct arena_header *header)
{
    static const struct arena_spare none;
    if (memcmp(&header->spare, &none, sizeof none) == 0)
        return "none";
    return header->spare.check == arena_spare_check(&header->spare) ? "whole" : "damaged";
}

static void show_header(const struct walk *walk)
{
    const struct arena_header *header = &walk->header;
    json_t *to = show_object(walk->report->root, "header");
    show_number(to, "version", header->version);
    show_text(to, "state", "%s", state_name(header->state));
    show_number(to, "size", header->size);
    show_text(to, "generation", "%016" PRIx64, header->generation);
    show_text(to, "hash seed", "%016" PRIx64, (uint64_t)header->hash_seed);
    show_number(to, "revision", header->revision);
    show_text(to, "spare", "%s", spare_name(header));
    show_number(to, "quarantined", header->quarantined);
    if (memcmp(header->magic, ARENA_MAGIC, sizeof header->magic) != 0)
        report_trouble(walk->report, "the header does not begin with %s", ARENA_MAGIC);
    if (header->version < ARENA_VERSION_FIRST || header->version > ARENA_VERSION)
        report_trouble(walk->report, "version %u; this program knows version %d to %d",
                       header->version, ARENA_VERSION_FIRST, ARENA_VERSION);
    if (header->size != walk->input->size)
        report_trouble(walk->report, "the header says %" PRIu64 " bytes, there are %" PRIu64,
                       header->size, walk->input->size);
    if (header->identity_check != arena_identity_check(header))
        report_trouble(walk->report, "the header does not match its checksum");
    if (header->state != ARENA_READY)
        report_trouble(walk->report, "it is not ready to be read");
}

static void show_geometry(const struct walk *walk)
{
    json_t *to = show_object(walk->report->root, "geometry");
    show_number(to, "buckets", walk->g.buckets);
    show_number(to, "index offset", walk->g.index_offset);
    show_number(to, "heap offset", walk->g.heap_offset);
    show_number(to, "heap bytes", walk->g.chunks * ARENA_CHUNK);
    show_number(to, "longest value", arena_value_max(&walk->g));
}

/* ---- Records ---- */

static bool in_heap(const struct arena_geometry *g, uint64_t offset, uint64_t len)
{
    return offset >= g->heap_offset && offset <= g->size && len <= g->size - offset;
}

static void trouble(struct look *look, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void trouble(struct look *look, const char *format, ...)
{
    va_list args;
    if (*look->trouble)
        return;
    va_start(args, format);
    vsnprintf(look->trouble, sizeof look->trouble, format, args);
    va_end(args);
}

static uint64_t body_size(const struct arena_record *record)
{
    return (uint64_t)record->key_len + record->value_len;
}

/* False when the slot word leads to nothing that can be a record. */
static bool read_record(const struct walk *walk, uint64_t word, struct arena_record *record_r,
                        struct look *look)
{
    uint64_t offset = arena_word_offset(word);
    if (word & ((uint64_t)0xff << 40) || !in_heap(&walk->g, offset, sizeof *record_r) ||
        !input_read(walk->input, offset, record_r, sizeof *record_r)) {
        trouble(look, "slot word %016" PRIx64 " points outside of the heap", word);
        return false;
    }
    if (!arena_key_fits(arena_record_table(record_r), record_r->key_len) ||
        !in_heap(&walk->g, offset + sizeof *record_r, body_size(record_r))) {
        trouble(look, "the record at %" PRIu64 " has an impossible header", offset);
        return false;
    }
    return true;
}

static void check_body(const struct walk *walk, uint64_t bucket, uint64_t word,
                       const struct arena_record *record, struct look *look)
{
    uint64_t offset = arena_word_offset(word), len = body_size(record);
    uint8_t *body = malloc(len);
    if (!body)
        panic("out of memory: a record of %" PRIu64 " bytes", len);
    if (input_read(walk->input, offset + sizeof *record, body, len)) {
        struct bytes key = {body, record->key_len};
        uint64_t hash = arena_hash(walk->header.hash_seed, arena_record_table(record), key);
        if (record->checksum != arena_checksum(record, body))
            trouble(look, "the record at %" PRIu64 " does not match its checksum", offset);
        else if (arena_bucket_of(hash, walk->g.buckets) != bucket ||
                 !arena_word_matches(word, hash))
            trouble(look, "the record at %" PRIu64 " is in the wrong bucket", offset);
    }
    free(body);
}

static void count_record(struct walk *walk, uint64_t bucket, uint64_t word, struct look *look)
{
    struct arena_record record;
    if (!read_record(walk, word, &record, look))
        return;
    struct tally *tally = &look->tally[record.service];
    tally->records += record.space != ARENA_PARTS;
    tally->parts += record.space == ARENA_PARTS;
    tally->key_bytes += record.key_len;
    tally->value_bytes += record.value_len;
    tally->expiring += record.expiry_ms != 0;
    tally->expired += record.expiry_ms != 0 && record.expiry_ms <= walk->now_ms;
    /* Records that overlap would have the checks read the same bytes for ever. */
    if (walk->options->check && walk->bytes <= walk->g.size)
        check_body(walk, bucket, word, &record, look);
    walk->bytes += sizeof record + body_size(&record);
}

/* ---- The index ---- */

/* The bucket behind an overflow link; false when there is none or it makes no sense. */
static bool next_bucket(const struct walk *walk, uint64_t number, struct arena_bucket *bucket,
                        struct look *look)
{
    uint64_t next = bucket->overflow, offset = next * ARENA_GRAIN;
    if (next == 0)
        return false;
    if (next > ARENA_WORD_OFFSET_MASK || offset % sizeof *bucket != 0 ||
        !in_heap(&walk->g, offset, sizeof *bucket) ||
        !input_read(walk->input, offset, bucket, sizeof *bucket)) {
        trouble(look, "bucket %" PRIu64 " has a bad overflow link", number);
        return false;
    }
    return true;
}

static void look_at_chain(struct walk *walk, uint64_t number, const struct arena_bucket *first,
                          struct look *look)
{
    struct arena_bucket bucket = *first;
    /* All chains together cannot have more buckets than the heap has room for. */
    uint64_t most = walk->g.chunks * ARENA_CHUNK / sizeof bucket;
    do {
        for (int i = 0; i < ARENA_BUCKET_SLOTS; i++)
            if (bucket.slots[i] != 0)
                count_record(walk, number, bucket.slots[i], look);
        if (look->overflow >= HOPS_MAX || walk->sum.overflow + look->overflow >= most) {
            trouble(look, "the chain of bucket %" PRIu64 " has no end", number);
            return;
        }
    } while (next_bucket(walk, number, &bucket, look) && ++look->overflow);
}

static bool read_stripe(const struct walk *walk, uint64_t number, uint64_t *sequence_r)
{
    uint64_t stripe = walk->g.stripes_offset + number % ARENA_STRIPES * sizeof(struct arena_stripe);
    return input_read(walk->input, stripe, sequence_r, sizeof *sequence_r);
}

/* Looks until nothing moved meanwhile. False when something always did. */
static bool look_again(struct walk *walk, uint64_t number, struct look *look)
{
    uint64_t before = 0, after = 0, bytes = walk->bytes;
    uint64_t at = walk->g.index_offset + number * sizeof(struct arena_bucket);
    for (int i = 0; i < TRIES; i++) {
        struct arena_bucket bucket;
        *look = (struct look){0};
        walk->bytes = bytes;
        if (!read_stripe(walk, number, &before) ||
            !input_read(walk->input, at, &bucket, sizeof bucket))
            return false;
        look_at_chain(walk, number, &bucket, look);
        if (!read_stripe(walk, number, &after) || (before == after && after % 2 == 0))
            return true;
    }
    return before == after; /* odd and not moving: the writer died there, or it is a copy */
}

static void add(struct walk *walk, const struct look *look)
{
    bool used = look->overflow > 0;
    for (int i = 0; i < SERVICE_COUNT; i++) {
        struct tally *sum = &walk->sum.tally[i];
        const struct tally *more = &look->tally[i];
        used |= more->records + more->parts > 0;
        sum->records += more->records;
        sum->parts += more->parts;
        sum->key_bytes += more->key_bytes;
        sum->value_bytes += more->value_bytes;
        sum->expiring += more->expiring;
        sum->expired += more->expired;
    }
    walk->sum.overflow += look->overflow;
    walk->buckets_used += used;
    if (look->overflow > walk->longest)
        walk->longest = look->overflow;
}

static void look_at(struct walk *walk, uint64_t number, const struct arena_bucket *bucket)
{
    struct look look = {0};
    uint64_t bytes = walk->bytes;
    look_at_chain(walk, number, bucket, &look);
    if (*look.trouble) {
        walk->bytes = bytes;
        if (!look_again(walk, number, &look))
            walk->disturbed++;
        else if (*look.trouble)
            report_trouble(walk->report, "%s", look.trouble);
    }
    add(walk, &look);
}

static bool is_empty(const void *bucket)
{
    static const uint8_t zeros[sizeof(struct arena_bucket)];
    return memcmp(bucket, zeros, sizeof zeros) == 0;
}

static void walk_index(struct walk *walk)
{
    static struct arena_bucket batch[BATCH];
    for (uint64_t first = 0; first < walk->g.buckets; first += BATCH) {
        uint64_t count = walk->g.buckets - first < BATCH ? walk->g.buckets - first : BATCH;
        uint64_t at = walk->g.index_offset + first * sizeof *batch;
        if (!input_read(walk->input, at, batch, count * sizeof *batch)) {
            report_trouble(walk->report, "it ends in its index");
            return;
        }
        for (uint64_t i = 0; i < count; i++)
            if (!is_empty(&batch[i]))
                look_at(walk, first + i, &batch[i]);
    }
    if (walk->bytes > walk->g.size)
        report_trouble(walk->report,
                       "the records together are larger than the arena: they overlap");
}

static uint64_t count_odd_stripes(const struct walk *walk)
{
    static struct arena_stripe stripes[ARENA_STRIPES];
    uint64_t odd = 0;
    if (!input_read(walk->input, walk->g.stripes_offset, stripes, sizeof stripes))
        return 0;
    for (int i = 0; i < ARENA_STRIPES; i++)
        odd += stripes[i].sequence % 2;
    return odd;
}

static void show_index(const struct walk *walk)
{
    json_t *to = show_object(walk->report->root, "index");
    show_number(to, "buckets used", walk->buckets_used);
    show_number(to, "overflow buckets", walk->sum.overflow);
    show_number(to, "longest chain", walk->longest + 1);
    show_number(to, "odd stripes", count_odd_stripes(walk));
    show_number(to, "being changed", walk->disturbed);
    show_flag(to, "values checked", walk->options->check);
}

static void show_records(const struct walk *walk)
{
    json_t *array = show_array(walk->report->root, "records");
    for (int i = 0; i < SERVICE_COUNT; i++) {
        const struct tally *tally = &walk->sum.tally[i];
        json_t *row = show_row(array);
        show_text(row, "service", "%s", service_name((enum service)i));
        show_number(row, "records", tally->records);
        show_number(row, "parts", tally->parts);
        show_number(row, "key bytes", tally->key_bytes);
        show_number(row, "value bytes", tally->value_bytes);
        show_number(row, "expiring", tally->expiring);
        show_number(row, "expired", tally->expired);
    }
}

/* ---- One record ---- */

static void show_record(const struct walk *walk, uint64_t bucket, uint64_t word,
                        const struct arena_record *record)
{
    static uint8_t value[HEAD_SHOWN];
    struct look look = {0};
    uint64_t offset = arena_word_offset(word);
    size_t len = record->value_len < sizeof value ? record->value_len : sizeof value;
    json_t *to = show_object(walk->report->root, "record");
    show_text(to, "service", "%s", walk->options->service);
    show_bytes(to, "key", walk->options->key, KEY_MAX);
    show_number(to, "bucket", bucket);
    show_number(to, "offset", offset);
    show_text(to, "word", "%016" PRIx64, word);
    show_number(to, "revision", record->revision);
    show_time(to, "expires", record->expiry_ms);
    if (!input_read(walk->input, offset + sizeof *record + record->key_len, value, len))
        len = 0;
    inspect_show_value(to, record->service, (struct bytes){value, len}, record->value_len);
    check_body(walk, bucket, word, record, &look);
    show_flag(to, "sound", !*look.trouble);
    if (*look.trouble)
        report_trouble(walk->report, "%s", look.trouble);
}

static bool is_wanted(const struct walk *walk, uint64_t word, unsigned service,
                      struct arena_record *record_r)
{
    uint8_t key[ARENA_KEY_MAX];
    struct look look = {0};
    uint64_t offset = arena_word_offset(word);
    return read_record(walk, word, record_r, &look) && arena_record_table(record_r) == service &&
           input_read(walk->input, offset + sizeof *record_r, key, record_r->key_len) &&
           bytes_equal((struct bytes){key, record_r->key_len}, walk->options->key);
}

static void find_record(const struct walk *walk)
{
    unsigned service = inspect_service(walk->options->service);
    uint64_t hash = arena_hash(walk->header.hash_seed, service, walk->options->key);
    uint64_t number = arena_bucket_of(hash, walk->g.buckets);
    struct arena_bucket bucket;
    struct look look = {0};
    struct arena_record record;
    bool there = input_read(walk->input, walk->g.index_offset + number * sizeof bucket, &bucket,
                            sizeof bucket);
    for (int hop = 0; there && hop < HOPS_MAX; hop++) {
        for (int i = 0; i < ARENA_BUCKET_SLOTS; i++)
            if (arena_word_matches(bucket.slots[i], hash) &&
                is_wanted(walk, bucket.slots[i], service, &record)) {
                show_record(walk, number, bucket.slots[i], &record);
                return;
            }
        there = next_bucket(walk, number, &bucket, &look);
    }
    show_text(walk->report->root, "record", "there is none in this arena");
}

void inspect_arena(const struct input *input, const struct inspect_options *options,
                   struct report *report)
{
    static struct walk walk;
    walk = (struct walk){
        .input = input, .options = options, .report = report, .now_ms = clock_wall_ms()};
    if (!arena_geometry(input->size, &walk.g) || !read_header(input, &walk.header)) {
        report_trouble(report, "%" PRIu64 " bytes are no arena: it has at least %" PRIu64,
                       input->size, ARENA_SIZE_MIN);
        return;
    }
    if (options->service) {
        find_record(&walk);
        return;
    }
    show_header(&walk);
    show_geometry(&walk);
    show_intent(&walk);
    show_applied(&walk);
    if (walk.header.state != ARENA_RAW)
        walk_index(&walk);
    show_index(&walk);
    show_records(&walk);
}
