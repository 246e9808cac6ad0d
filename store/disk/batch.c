/*
 * batch - see batch.h. Runs in store-disk. Fails by panic when memory runs out.
 */
#include "store/disk/batch.h"

#include <stdlib.h>

#include "proto/base/log.h"

enum { BYTES_KEPT = 1 << 20 };

/* Appends a copy; returns where it is. */
static size_t keep(struct batch *batch, struct bytes bytes)
{
    size_t at = batch->bytes.len;
    buffer_append(&batch->bytes, bytes.data, bytes.len);
    return at;
}

static struct bytes at(const struct batch *batch, size_t position, size_t len)
{
    return len ? (struct bytes){batch->bytes.data + position, len} : (struct bytes){0};
}

struct batch_entry *batch_add(struct batch *batch, const struct engine_call *call)
{
    if (batch->count == batch->capacity) {
        batch->capacity = batch->capacity ? batch->capacity * 2 : 64;
        batch->entries = reallocarray(batch->entries, batch->capacity, sizeof *batch->entries);
        if (!batch->entries)
            panic("out of memory: a batch of %zu", batch->capacity);
    }
    struct batch_entry *entry = &batch->entries[batch->count++];
    *entry = (struct batch_entry){
        .channel = call->channel,
        .sequence = call->sequence,
        .request = call->request,
        .key_at = keep(batch, call->request.key),
        .value_at = keep(batch, call->request.value),
    };
    return entry;
}

struct request batch_request(const struct batch *batch, const struct batch_entry *entry)
{
    struct request request = entry->request;
    request.key = at(batch, entry->key_at, request.key.len);
    request.value = at(batch, entry->value_at, request.value.len);
    return request;
}

/* ---- The write set ---- */

void batch_begin(struct batch *batch, struct batch_entry *entry)
{
    entry->first_write = batch->write_count;
    entry->write_count = 0;
    entry->changed = false;
}

/* Where a view into bytes is, or a copy of it. */
static struct batch_place place_of(struct batch *batch, struct bytes view)
{
    uintptr_t from = (uintptr_t)batch->bytes.data, to = from + batch->bytes.len;
    uintptr_t data = (uintptr_t)view.data;
    if (view.len > 0 && data >= from && data < to)
        return (struct batch_place){false, data - from, view.len};
    struct batch_place place = {true, batch->written.len, view.len};
    buffer_append(&batch->written, view.data, view.len);
    return place;
}

static struct bytes bytes_at(const struct batch *batch, const struct batch_place *place)
{
    const struct buffer *buffer = place->written ? &batch->written : &batch->bytes;
    return place->len ? (struct bytes){buffer->data + place->at, place->len} : (struct bytes){0};
}

void batch_wrote(struct batch *batch, struct batch_entry *entry, const struct batch_wrote *wrote)
{
    if (batch->write_count == batch->write_capacity) {
        batch->write_capacity = batch->write_capacity ? batch->write_capacity * 2 : 64;
        batch->writes = reallocarray(batch->writes, batch->write_capacity, sizeof *batch->writes);
        if (!batch->writes)
            panic("out of memory: a batch of %zu writes", batch->write_capacity);
    }
    batch->writes[batch->write_count++] = (struct batch_write){
        *wrote, place_of(batch, wrote->key.name), place_of(batch, wrote->shown)};
    entry->write_count++;
}

void batch_show(struct batch *batch, struct batch_entry *entry, struct tx_key key,
                struct bytes shown)
{
    for (size_t i = entry->write_count; i-- > 0;) {
        struct batch_write *write = &batch->writes[entry->first_write + i];
        if (write->wrote.key.service != key.service ||
            write->wrote.key.namespace != key.namespace ||
            !bytes_equal(bytes_at(batch, &write->name), key.name))
            continue;
        write->shown = place_of(batch, shown);
        return;
    }
}

struct batch_wrote batch_write(const struct batch *batch, size_t number)
{
    const struct batch_write *write = &batch->writes[number];
    struct batch_wrote wrote = write->wrote;
    wrote.key.name = bytes_at(batch, &write->name);
    wrote.shown = bytes_at(batch, &write->shown);
    return wrote;
}

/* ---- The whole ---- */

struct batch_mark batch_mark(const struct batch *batch)
{
    return (struct batch_mark){batch->written.len, batch->write_count};
}

void batch_return(struct batch *batch, struct batch_mark mark)
{
    batch->written.len = mark.written;
    batch->write_count = mark.writes;
}

/* Empties a buffer. Gives memory back when it has become large. */
static void empty(struct buffer *buffer)
{
    buffer->len = 0;
    if (buffer->capacity > BYTES_KEPT)
        buffer_free(buffer);
}

void batch_clear(struct batch *batch)
{
    batch->count = 0;
    batch->write_count = 0;
    empty(&batch->bytes);
    empty(&batch->written);
}

void batch_free(struct batch *batch)
{
    buffer_free(&batch->bytes);
    buffer_free(&batch->written);
    free(batch->writes);
    free(batch->entries);
    *batch = (struct batch){0};
}
