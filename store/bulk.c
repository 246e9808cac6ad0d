/*
 * bulk - see bulk.h. Runs in a store's event loop.
 *
 * Each channel has two queues, oldest first; an entry is found by walking its queue, which is short
 * and entered for large values only. Everything that comes here from a worker is bounded before it
 * is used. Fails by panic when memory runs out.
 */
#include "store/bulk.h"

#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/channel/channel.h"

struct entry {
    struct entry *next;
    uint64_t id;  /* bulk_id or sequence */
    size_t total; /* counts for the bounds, whether it is all there or not */
    struct buffer data;
};

struct queue {
    struct entry *oldest;
    unsigned count; /* always <= CHANNEL_SLOTS */
    uint64_t bytes; /* sum of total; always <= most, or there is one entry only */
    uint64_t most;
};

struct bulk {
    unsigned channels;
    uint64_t max_value;
    struct {
        struct queue staged, kept;
    } channel[];
};

struct bulk *bulk_open(unsigned channels, uint64_t max_value, uint64_t max_answer)
{
    struct bulk *bulk = calloc(1, sizeof *bulk + channels * sizeof bulk->channel[0]);
    if (!bulk)
        panic("out of memory");
    bulk->channels = channels;
    bulk->max_value = max_value;
    for (unsigned i = 0; i < channels; i++) {
        bulk->channel[i].staged.most = max_value * BULK_PER_CHANNEL;
        bulk->channel[i].kept.most = max_answer * BULK_PER_CHANNEL;
    }
    return bulk;
}

/* The link that points to the entry, or the queue's last link, which is NULL. */
static struct entry **find(struct queue *queue, uint64_t id)
{
    struct entry **link = &queue->oldest;
    while (*link && (*link)->id != id)
        link = &(*link)->next;
    return link;
}

static void unlink_entry(struct queue *queue, struct entry **link)
{
    struct entry *entry = *link;
    *link = entry->next;
    queue->count--;
    queue->bytes -= entry->total;
    buffer_free(&entry->data);
    free(entry);
}

static void drop(struct queue *queue, uint64_t id)
{
    struct entry **link = find(queue, id);
    if (*link)
        unlink_entry(queue, link);
}

/* A new, empty entry at the queue's end; makes room for it first. */
static struct entry *add(struct queue *queue, uint64_t id, size_t total)
{
    drop(queue, id);
    while (queue->oldest && (queue->count >= CHANNEL_SLOTS || queue->bytes + total > queue->most))
        unlink_entry(queue, &queue->oldest);
    struct entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        panic("out of memory");
    entry->id = id;
    entry->total = total;
    *find(queue, id) = entry;
    queue->count++;
    queue->bytes += total;
    return entry;
}

static void clear(struct queue *queue)
{
    while (queue->oldest)
        unlink_entry(queue, &queue->oldest);
}

void bulk_close(struct bulk **bulk)
{
    for (unsigned i = 0; *bulk && i < (*bulk)->channels; i++)
        bulk_forget(*bulk, i);
    free(*bulk);
    *bulk = NULL;
}

enum status bulk_stage(struct bulk *bulk, unsigned channel, uint64_t bulk_id, uint64_t total,
                       uint64_t offset, struct bytes piece, uint64_t *there_r)
{
    *there_r = 0;
    if (total > bulk->max_value)
        return STATUS_TOO_LARGE;
    if (bulk_id == 0 || piece.len == 0 || offset > total || piece.len > total - offset)
        return STATUS_INVALID;
    struct queue *queue = &bulk->channel[channel].staged;
    struct entry *entry = offset == 0 ? add(queue, bulk_id, (size_t)total) : *find(queue, bulk_id);
    if (!entry || entry->total != total || offset > entry->data.len)
        return STATUS_RESTAGE;
    *there_r = entry->data.len;
    if (offset + piece.len <= entry->data.len)
        return STATUS_OK; /* sent again because its acknowledgement came late */
    if (offset < entry->data.len)
        return STATUS_RESTAGE;
    if (offset == 0)
        buffer_reserve(&entry->data, entry->total);
    buffer_append(&entry->data, piece.data, piece.len);
    *there_r = entry->data.len;
    return STATUS_OK;
}

static bool complete(struct queue *queue, uint64_t id, struct bytes *value_r)
{
    struct entry *entry = *find(queue, id);
    if (!entry || entry->data.len != entry->total)
        return false;
    *value_r = buffer_bytes(&entry->data);
    return true;
}

bool bulk_staged(struct bulk *bulk, unsigned channel, uint64_t bulk_id, struct bytes *value_r)
{
    return complete(&bulk->channel[channel].staged, bulk_id, value_r);
}

void bulk_drop_staged(struct bulk *bulk, unsigned channel, uint64_t bulk_id)
{
    drop(&bulk->channel[channel].staged, bulk_id);
}

void bulk_keep(struct bulk *bulk, unsigned channel, uint64_t sequence, struct bytes value)
{
    struct entry *entry = add(&bulk->channel[channel].kept, sequence, value.len);
    buffer_append(&entry->data, value.data, value.len);
}

bool bulk_kept(struct bulk *bulk, unsigned channel, uint64_t sequence, struct bytes *value_r)
{
    return complete(&bulk->channel[channel].kept, sequence, value_r);
}

void bulk_drop_kept(struct bulk *bulk, unsigned channel, uint64_t sequence)
{
    drop(&bulk->channel[channel].kept, sequence);
}

bool bulk_has_kept(const struct bulk *bulk)
{
    for (unsigned i = 0; i < bulk->channels; i++)
        if (bulk->channel[i].kept.count > 0)
            return true;
    return false;
}

void bulk_forget(struct bulk *bulk, unsigned channel)
{
    clear(&bulk->channel[channel].staged);
    clear(&bulk->channel[channel].kept);
}

uint64_t bulk_bytes(const struct bulk *bulk)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < bulk->channels; i++)
        bytes += bulk->channel[i].staged.bytes + bulk->channel[i].kept.bytes;
    return bytes;
}
