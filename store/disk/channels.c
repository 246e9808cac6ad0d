/*
 * channels - see channels.h. Runs in store-disk.
 */
#include "store/disk/channels.h"

#include <stdlib.h>

#include "store/disk/format.h"

enum { NOTHING = CHANNEL_NO_RESULT };

struct channels {
    unsigned count;
    struct channel {
        struct buffer read;    /* what was there when it was opened; empty: nothing */
        struct buffer written; /* what is about to be written */
        bool changed;          /* something was changed on its behalf */
    } channels[];
};

static void name(uint32_t channel, char key[11])
{
    memcpy(key, "channel", 7);
    memcpy(key + 7, &channel, sizeof channel);
}

static MDB_val name_val(char key[11])
{
    return (MDB_val){11, key};
}

/* ---- Reading ---- */

struct channels *channels_open(const struct work *work, unsigned count)
{
    struct channels *channels = calloc(1, sizeof *channels + count * sizeof(struct channel));
    if (!channels)
        panic("out of memory: %u channels", count);
    channels->count = count;
    for (unsigned i = 0; i < count; i++) {
        char text[11];
        name(i, text);
        MDB_val key = name_val(text), value;
        int code = mdb_get(work->txn, work->env->tables[TABLE_META], &key, &value);
        if (env_status(work->env, code, "read") == STATUS_OK &&
            value.mv_size >= sizeof(struct channel_entry))
            buffer_append(&channels->channels[i].read, value.mv_data, value.mv_size);
    }
    return channels;
}

void channels_close(struct channels **channels)
{
    for (unsigned i = 0; i < (*channels)->count; i++) {
        buffer_free(&(*channels)->channels[i].read);
        buffer_free(&(*channels)->channels[i].written);
    }
    free(*channels);
    *channels = NULL;
}

static struct channel_entry entry_of(const struct channels *channels, uint32_t channel)
{
    struct channel_entry entry = {0};
    if (channels->channels[channel].read.len > 0)
        memcpy(&entry, channels->channels[channel].read.data, sizeof entry);
    return entry;
}

uint64_t channels_applied(const struct channels *channels, uint32_t channel)
{
    return entry_of(channels, channel).applied;
}

bool channels_forget(struct channels *channels, const struct work *work, uint32_t channel)
{
    char text[11];
    if (channels->channels[channel].read.len == 0)
        return false;
    name(channel, text);
    MDB_val key = name_val(text);
    env_must(work->env, mdb_del(work->txn, work->env->tables[TABLE_META], &key, NULL),
             "forget a channel in");
    buffer_free(&channels->channels[channel].read);
    return true;
}

bool channels_result(const struct channels *channels, uint32_t channel, uint64_t sequence,
                     struct reply *reply_r)
{
    const struct buffer *read = &channels->channels[channel].read;
    uint64_t first = entry_of(channels, channel).first;
    uint64_t count = (read->len - sizeof(struct channel_entry)) / sizeof(struct channel_result);
    struct channel_result result;
    if (read->len == 0 || sequence < first || sequence - first >= count)
        return false;
    memcpy(&result, read->data + sizeof(struct channel_entry) + (sequence - first) * sizeof result,
           sizeof result);
    if (result.status == NOTHING)
        return false;
    *reply_r = (struct reply){
        .status = result.status, .number = result.number, .revision = result.revision};
    return true;
}

/* ---- Writing ---- */

static void append_result(struct channel *channel, uint8_t status, const struct reply *reply)
{
    struct channel_result result = {status, reply->number, reply->revision};
    buffer_append(&channel->written, &result, sizeof result);
}

/* Adds the outcome of an entry to what its channel writes; a gap in the sequence is filled. */
static void add(struct channel *channel, const struct batch_entry *entry)
{
    static const struct reply none;
    struct channel_entry head = {.first = entry->sequence};
    if (channel->written.len == 0)
        buffer_append(&channel->written, &head, sizeof head);
    memcpy(&head, channel->written.data, sizeof head);
    size_t position = (size_t)(entry->sequence - head.first);
    while (channel->written.len < sizeof head + position * sizeof(struct channel_result))
        append_result(channel, NOTHING, &none);
    head.applied = entry->sequence + 1;
    memcpy(channel->written.data, &head, sizeof head);
    bool write = op_info(entry->request.op)->write;
    append_result(channel, write ? (uint8_t)entry->reply.status : NOTHING, &entry->reply);
    channel->changed |= entry->changed;
}

static enum status save(struct channel *channel, const struct work *work, uint32_t number)
{
    enum status status = STATUS_OK;
    if (channel->changed) {
        char text[11];
        name(number, text);
        MDB_val key = name_val(text), value = env_val(buffer_bytes(&channel->written));
        int code = mdb_put(work->txn, work->env->tables[TABLE_META], &key, &value, 0);
        status = env_status(work->env, code, "write");
    }
    channel->written.len = 0;
    channel->changed = false;
    return status;
}

enum status channels_save(struct channels *channels, const struct work *work,
                          const struct batch *batch, size_t first, size_t count)
{
    enum status status = STATUS_OK;
    for (size_t i = first; i < first + count; i++)
        add(&channels->channels[batch->entries[i].channel], &batch->entries[i]);
    for (uint32_t i = 0; i < channels->count; i++)
        if (channels->channels[i].written.len > 0 &&
            save(&channels->channels[i], work, i) != STATUS_OK)
            status = STATUS_FULL;
    return status;
}
