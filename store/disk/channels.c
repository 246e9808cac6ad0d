/*
 * channels - see channels.h. Runs in store-disk.
 */
#include "store/disk/channels.h"

#include <stdlib.h>

#include "proto/channel/channel.h"
#include "store/disk/format.h"

enum { NOTHING = CHANNEL_NO_RESULT };

struct channels {
    unsigned count;
    bool forgetting; /* some are forgotten and that is not committed */
    struct channel {
        struct buffer read; /* what was there when it was opened; empty: nothing */
        uint64_t applied;   /* what is about to be written; 0: nothing */
        bool changed;       /* something was changed on its behalf */
        bool forgotten;     /* what is written of it is to be removed */
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

/* Whether it can have been written: with results, if any, of which the last is of the last
 * submission. */
static bool is_sane(MDB_val value)
{
    struct channel_entry head;
    struct channel_result result;
    if (value.mv_size < sizeof head || (value.mv_size - sizeof head) % sizeof result != 0)
        return false;
    memcpy(&head, value.mv_data, sizeof head);
    uint64_t count = (value.mv_size - sizeof head) / sizeof result;
    if (count > CHANNEL_SLOTS || head.applied < count || head.applied - count != head.first)
        return false;
    for (uint64_t i = 0; i < count; i++) {
        memcpy(&result, (const uint8_t *)value.mv_data + sizeof head + i * sizeof result,
               sizeof result);
        if (result.status != NOTHING && result.status >= STATUS_COUNT)
            return false;
    }
    return true;
}

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
        if (env_status(work->env, code, "read") != STATUS_OK)
            continue;
        if (is_sane(value))
            buffer_append(&channels->channels[i].read, value.mv_data, value.mv_size);
        else
            (void)!env_damaged(work->env,
                               "what channel %u has had applied makes no sense: what it had under "
                               "way may be carried out twice",
                               i);
    }
    return channels;
}

void channels_close(struct channels **channels)
{
    for (unsigned i = 0; i < (*channels)->count; i++)
        buffer_free(&(*channels)->channels[i].read);
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

uint64_t channels_first(const struct channels *channels, uint32_t channel)
{
    return entry_of(channels, channel).first;
}

bool channels_forget(struct channels *channels, uint32_t channel)
{
    struct channel *forgotten = &channels->channels[channel];
    if (forgotten->read.len == 0)
        return false;
    buffer_free(&forgotten->read);
    forgotten->forgotten = true;
    channels->forgetting = true;
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

static void add(struct channel *channel, const struct batch_entry *entry)
{
    channel->applied = entry->sequence + 1;
    channel->changed |= entry->changed;
}

/* Writes what is to be known of a channel, or removes what is known. */
static enum status save(struct channel *channel, const struct work *work, uint32_t number)
{
    char text[11];
    int code = MDB_SUCCESS;
    const struct channel_entry entry = {channel->applied, channel->applied};
    name(number, text);
    MDB_val key = name_val(text), value = {sizeof entry, (void *)(uintptr_t)&entry};
    if (channel->changed)
        code = mdb_put(work->txn, work->env->tables[TABLE_META], &key, &value, 0);
    else if (channel->forgotten)
        code = mdb_del(work->txn, work->env->tables[TABLE_META], &key, NULL);
    channel->applied = 0;
    channel->changed = false;
    enum status status = env_status(work->env, code, "write");
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status channels_save(struct channels *channels, const struct work *work,
                          const struct batch *batch, size_t first, size_t count)
{
    enum status first_bad = STATUS_OK;
    for (size_t i = first; i < first + count; i++)
        add(&channels->channels[batch->entries[i].channel], &batch->entries[i]);
    for (uint32_t i = 0; i < channels->count; i++) {
        struct channel *channel = &channels->channels[i];
        if (channel->applied == 0 && !channel->forgotten)
            continue;
        enum status status = save(channel, work, i);
        if (first_bad == STATUS_OK)
            first_bad = status;
    }
    return first_bad;
}

void channels_saved(struct channels *channels)
{
    for (uint32_t i = 0; channels->forgetting && i < channels->count; i++)
        channels->channels[i].forgotten = false;
    channels->forgetting = false;
}
