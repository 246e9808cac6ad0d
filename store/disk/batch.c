/*
 * batch - see batch.h. Runs in store-disk. Fails by panic when memory runs out.
 */
#include "store/disk/batch.h"

#include <stdlib.h>

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

void batch_answer(struct batch *batch, struct batch_entry *entry, const struct reply *reply)
{
    entry->reply = *reply;
    entry->reply_at = keep(batch, reply->value);
}

struct request batch_request(const struct batch *batch, const struct batch_entry *entry)
{
    struct request request = entry->request;
    request.key = at(batch, entry->key_at, request.key.len);
    request.value = at(batch, entry->value_at, request.value.len);
    return request;
}

struct reply batch_reply(const struct batch *batch, const struct batch_entry *entry)
{
    struct reply reply = entry->reply;
    reply.value = at(batch, entry->reply_at, reply.value.len);
    return reply;
}

void batch_clear(struct batch *batch)
{
    batch->count = 0;
    batch->bytes.len = 0;
    if (batch->bytes.capacity > BYTES_KEPT)
        buffer_free(&batch->bytes);
}

void batch_free(struct batch *batch)
{
    buffer_free(&batch->bytes);
    free(batch->entries);
    *batch = (struct batch){0};
}
