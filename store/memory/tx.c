/*
 * tx - see tx.h. Runs in store-memory.
 */
#include "store/memory/tx.h"

#include <endian.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/run/run.h"

enum {
    FEW = 8,                      /* writes that are looked through one by one */
    PLACES = 2 * ARENA_APPLY_MAX, /* of the table that finds one of more; a power of two */
    STEPS = 4096,                 /* records passed over between two signs of life */
};

struct memory_writes {
    unsigned count;
    struct arena_write all[ARENA_APPLY_MAX];
    uint8_t keys[ARENA_APPLY_MAX][ARENA_KEY_MAX]; /* where a key is not the request's own */
    uint16_t places[PLACES];                      /* by hash: number of a write + 1; 0: none */
    uint16_t ordered[ARENA_APPLY_MAX];            /* for a walk: numbers in the order of keys */
};

struct memory_writes *memory_writes_open(void)
{
    /* Large, but only what is used has pages. */
    struct memory_writes *writes = calloc(1, sizeof *writes);
    if (!writes)
        panic("out of memory");
    return writes;
}

void memory_writes_close(struct memory_writes **writes)
{
    free(*writes);
    *writes = NULL;
}

static struct memory_tx *memory_tx(struct tx *tx)
{
    return (struct memory_tx *)tx; /* its first member */
}

/* ---- Keys ---- */

/* A key as the arena has it. */
struct place {
    enum service service;
    enum arena_space space;
    struct bytes key;
};

static struct bytes part_key(uint64_t id, struct bytes name, uint8_t room[ARENA_KEY_MAX])
{
    uint64_t first = htobe64(id);
    memcpy(room, &first, sizeof first);
    if (name.len > 0)
        memcpy(room + sizeof first, name.data, name.len);
    return (struct bytes){room, sizeof first + name.len};
}

/* room: for a key that is not the request's own bytes. */
static struct place place_of(struct tx_key key, uint8_t room[ARENA_KEY_MAX])
{
    unsigned table;
    if (key.collection == 0 && key.namespace == 0)
        return (struct place){key.service, ARENA_OWN, key.name};
    if (key.collection != 0)
        return (struct place){key.service, ARENA_PARTS, part_key(key.collection, key.name, room)};
    struct bytes own = arena_key(key.service, key.namespace, key.name, room, &table);
    return (struct place){key.service, (enum arena_space)(table >> 8), own};
}

static unsigned table_of(const struct place *place)
{
    return arena_table(place->service, place->space);
}

/* ---- The write set ---- */

static bool is_of(const struct arena_write *write, const struct place *place)
{
    return write->service == place->service && write->space == place->space &&
           bytes_equal(write->key, place->key);
}

/* Where in the table of many a write is, or would be. */
static uint16_t *find_among_many(struct memory_writes *writes, const struct place *place)
{
    uint64_t hash = arena_hash(0, table_of(place), place->key);
    for (uint64_t at = hash;; at++) {
        uint16_t *number = &writes->places[at % PLACES];
        if (*number == 0 || is_of(&writes->all[*number - 1], place))
            return number;
    }
}

static struct arena_write *find_write(struct memory_writes *writes, const struct place *place)
{
    if (writes->count > FEW) {
        uint16_t number = *find_among_many(writes, place);
        return number ? &writes->all[number - 1] : NULL;
    }
    for (unsigned i = 0; i < writes->count; i++)
        if (is_of(&writes->all[i], place))
            return &writes->all[i];
    return NULL;
}

static void enter_among_many(struct memory_writes *writes, unsigned number)
{
    const struct arena_write *write = &writes->all[number];
    const struct place place = {write->service, write->space, write->key};
    *find_among_many(writes, &place) = (uint16_t)(number + 1);
}

/* The write of a key that has none yet; NULL when there are as many as can be. */
static struct arena_write *add_write(struct memory_writes *writes, const struct place *place)
{
    if (writes->count == ARENA_APPLY_MAX)
        return NULL;
    unsigned number = writes->count;
    struct arena_write *write = &writes->all[number];
    *write =
        (struct arena_write){.service = place->service, .space = place->space, .key = place->key};
    if (place->space != ARENA_OWN) {
        memcpy(writes->keys[number], place->key.data, place->key.len);
        write->key.data = writes->keys[number];
    }
    if (number == FEW)
        for (unsigned i = 0; i < FEW; i++)
            enter_among_many(writes, i);
    if (number >= FEW)
        enter_among_many(writes, number);
    writes->count++;
    return write;
}

static struct arena_write *need_write(struct memory_writes *writes, const struct place *place)
{
    struct arena_write *write = find_write(writes, place);
    return write ? write : add_write(writes, place);
}

/* ---- One key ---- */

/* Whether a record can be one of the service; one of a wrong length would be read beyond its end.
 */
static bool is_sane(enum service service, struct bytes value)
{
    switch (service_info(service)->holds) {
    case OP_HOLDS_NUMBER:
        return value.len == sizeof(int64_t);
    case OP_HOLDS_FLAG:
        return value.len == 1;
    case OP_HOLDS_VALUE:
    case OP_HOLDS_ITEMS:
        break;
    }
    return true;
}

static enum status damaged(struct tx *tx, const char *what)
{
    (void)tx;
    log_error("the arena is damaged: %s", what);
    return STATUS_DAMAGED;
}

static bool expired(const struct memory_tx *self, uint64_t expiry_ms)
{
    return expiry_ms != 0 && expiry_ms <= self->now_ms;
}

/* What is there now, be it written by this request or before. */
static enum status look_up(const struct memory_tx *self, const struct place *place,
                           struct arena_entry *entry_r)
{
    const struct arena_write *write = find_write(self->writes, place);
    if (!write)
        return arena_get(self->arena, table_of(place), place->key, self->now_ms, entry_r);
    *entry_r = (struct arena_entry){write->revision, write->expiry_ms, write->value};
    return write->remove || expired(self, write->expiry_ms) ? STATUS_NOT_FOUND : STATUS_OK;
}

static enum status get(struct tx *tx, struct tx_key key, struct tx_item *item_r)
{
    struct arena_entry entry;
    uint8_t room[ARENA_KEY_MAX];
    struct place place = place_of(key, room);
    enum status status = look_up(memory_tx(tx), &place, &entry);
    if (status != STATUS_OK)
        return status;
    if (place.space == ARENA_PARTS)
        entry.revision = 0;
    else if (!is_sane(key.service, entry.value))
        return damaged(tx, "a record has a length that its service does not write");
    *item_r = (struct tx_item){entry.value, entry.revision, entry.expiry_ms};
    return STATUS_OK;
}

static enum status put(struct tx *tx, struct tx_key key, struct bytes value, uint64_t expiry_ms,
                       uint64_t *revision_r)
{
    struct memory_tx *self = memory_tx(tx);
    uint8_t room[ARENA_KEY_MAX];
    struct place place = place_of(key, room);
    struct arena_write *write = need_write(self->writes, &place);
    if (!write)
        return STATUS_FULL;
    write->remove = false;
    write->value = value;
    write->expiry_ms = expiry_ms;
    write->revision = arena_next_revision(self->arena);
    *revision_r = place.space == ARENA_PARTS ? 0 : write->revision;
    return STATUS_OK;
}

static enum status take_away(struct tx *tx, struct tx_key key)
{
    struct memory_tx *self = memory_tx(tx);
    struct arena_entry entry;
    uint8_t room[ARENA_KEY_MAX];
    struct place place = place_of(key, room);
    enum status status = look_up(self, &place, &entry);
    if (status != STATUS_OK)
        return status;
    struct arena_write *write = need_write(self->writes, &place);
    if (!write)
        return STATUS_FULL;
    write->remove = true;
    return STATUS_OK;
}

static uint64_t new_id(struct tx *tx)
{
    return arena_next_revision(memory_tx(tx)->arena); /* so none is given twice, whatever happens */
}

/* ---- Walking ---- */

/* What the arena has and what the request has written, merged. */
struct walk {
    struct memory_tx *self;
    uint8_t from[ARENA_KEY_MAX], to[ARENA_KEY_MAX];
    struct arena_range range;
    struct arena_cursor cursor;
    size_t before; /* bytes of a key before the name */
    struct bytes key;
    struct arena_entry entry; /* the arena's next, if there is one */
    bool more;
    unsigned written, next; /* entries of ordered, and the first that was not met yet */
};

static bool is_inside(const struct arena_range *range, struct bytes key)
{
    return bytes_compare(key, range->from) >= 0 &&
           (range->to.len == 0 || bytes_compare(key, range->to) < 0);
}

static int by_key(const void *a, const void *b, void *context)
{
    const struct walk *walk = context;
    const struct arena_write *all = walk->self->writes->all;
    int order = bytes_compare(all[*(const uint16_t *)a].key, all[*(const uint16_t *)b].key);
    return walk->range.reverse ? -order : order;
}

/* Puts the writes that are inside in order. */
static void order_writes(struct walk *walk)
{
    struct memory_writes *writes = walk->self->writes;
    for (unsigned i = 0; i < writes->count; i++) {
        const struct arena_write *write = &writes->all[i];
        if (arena_table(write->service, write->space) == walk->range.table &&
            is_inside(&walk->range, write->key))
            writes->ordered[walk->written++] = (uint16_t)i;
    }
    if (walk->written > 1)
        qsort_r(writes->ordered, walk->written, sizeof writes->ordered[0], by_key, walk);
}

static void step(struct walk *walk)
{
    walk->more = arena_step(walk->self->arena, &walk->cursor, &walk->key, &walk->entry);
}

/* The end of a range whose keys begin with a collection or namespace: at the next one if it is
 * open. Behind the last namespace there is nothing. */
static struct bytes end_of(const struct tx_range *range, uint8_t room[ARENA_KEY_MAX])
{
    struct tx_key end = range->from;
    end.name = range->to;
    if (end.name.len == 0 && end.collection == 0 && ++end.namespace == 0)
        return (struct bytes){0};
    if (end.name.len == 0 && end.collection != 0)
        end.collection++;
    return place_of(end, room).key;
}

static void begin_walk(struct walk *walk, struct memory_tx *self, const struct tx_range *range)
{
    struct place from = place_of(range->from, walk->from);
    walk->self = self;
    walk->range = (struct arena_range){table_of(&from), from.key, range->to, range->reverse};
    walk->before = from.key.len - range->from.name.len;
    walk->written = walk->next = 0;
    if (walk->before > 0)
        walk->range.to = end_of(range, walk->to);
    order_writes(walk);
    arena_seek(self->arena, &walk->range, &walk->cursor);
    step(walk);
}

/* Whether the next record is one that was written (also where one of the arena is written anew). */
static bool is_written_next(const struct walk *walk)
{
    const struct memory_writes *writes = walk->self->writes;
    if (walk->next == walk->written || !walk->more)
        return walk->next < walk->written;
    int order = bytes_compare(writes->all[writes->ordered[walk->next]].key, walk->key);
    return walk->range.reverse ? order >= 0 : order <= 0;
}

/* False at the end; *there_r: whether it is to be visited. */
static bool next_record(struct walk *walk, struct bytes *key_r, struct arena_entry *entry_r,
                        bool *there_r)
{
    const struct memory_writes *writes = walk->self->writes;
    *key_r = walk->key;
    *entry_r = walk->entry;
    *there_r = walk->more;
    if (is_written_next(walk)) {
        const struct arena_write *write = &writes->all[writes->ordered[walk->next++]];
        bool anew = walk->more && bytes_equal(write->key, walk->key);
        *key_r = write->key;
        *entry_r = (struct arena_entry){write->revision, write->expiry_ms, write->value};
        *there_r = !write->remove;
        if (anew)
            step(walk);
    } else if (walk->more) {
        step(walk);
    } else {
        return false;
    }
    *there_r &= !expired(walk->self, entry_r->expiry_ms);
    return true;
}

static enum status walk_range(struct tx *tx, const struct tx_range *range,
                              bool (*visit)(void *context, struct bytes name,
                                            const struct tx_item *item),
                              void *context)
{
    struct walk walk;
    struct bytes key;
    struct arena_entry entry;
    bool there;
    begin_walk(&walk, memory_tx(tx), range);
    for (uint64_t number = 1; next_record(&walk, &key, &entry, &there); number++) {
        if (number % STEPS == 0)
            run_child_beat(clock_ms());
        if (!there)
            continue;
        const struct tx_item item = {entry.value, range->from.collection ? 0 : entry.revision,
                                     entry.expiry_ms};
        const struct bytes name = {key.data + walk.before, key.len - walk.before};
        if (!visit(context, name, &item))
            break;
    }
    return STATUS_OK;
}

/* ---- The whole ---- */

/* Every record is what is shown. */
static const struct tx_ops ops = {
    .get = get,
    .put = put,
    .remove = take_away,
    .walk = walk_range,
    .new_id = new_id,
    .damaged = damaged,
};

static const struct tx_ops ops_without_collections = {
    .get = get,
    .put = put,
    .remove = take_away,
    .walk = walk_range,
    .damaged = damaged,
};

void memory_tx_begin(struct memory_tx *tx, struct arena_writer *arena, struct memory_writes *writes,
                     bool collections, uint64_t now_ms)
{
    tx->tx.ops = collections ? &ops : &ops_without_collections;
    tx->arena = arena;
    tx->writes = writes;
    tx->now_ms = now_ms;
    if (writes->count > FEW)
        memset(writes->places, 0, sizeof writes->places);
    writes->count = 0;
}

bool memory_tx_is_empty(const struct memory_tx *tx)
{
    return tx->writes->count == 0;
}

enum status memory_tx_commit(struct memory_tx *tx, struct arena_origin origin)
{
    return tx->writes->count == 0
               ? STATUS_OK
               : arena_apply(tx->arena, tx->writes->all, tx->writes->count, origin, tx->now_ms);
}
