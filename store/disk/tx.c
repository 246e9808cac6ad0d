/*
 * tx - see tx.h. Runs in store-disk.
 */
#include "store/disk/tx.h"

static struct disk_tx *disk_tx(struct tx *tx)
{
    return (struct disk_tx *)tx; /* its first member */
}

static bool shows_itself(enum service service)
{
    return service_info(service)->holds != OP_HOLDS_ITEMS;
}

static enum status get(struct tx *tx, struct tx_key key, struct tx_item *item_r)
{
    struct disk_tx *self = disk_tx(tx);
    struct record record;
    *item_r = (struct tx_item){0};
    if (key.collection != 0)
        return record_get_part(self->work, key.collection, key.name, &item_r->value);
    enum status status = record_get(self->work, key, &record);
    if (status != STATUS_OK)
        return status;
    *item_r = (struct tx_item){record.value, record.revision, record.expiry_ms};
    self->found = *item_r;
    if (shows_itself(key.service))
        self->shown = item_r->value;
    return STATUS_OK;
}

static enum status put(struct tx *tx, struct tx_key key, struct bytes value, uint64_t expiry_ms,
                       uint64_t *revision_r)
{
    struct disk_tx *self = disk_tx(tx);
    *revision_r = 0;
    if (key.collection != 0)
        return record_put_part(self->work, key.collection, key.name, value);
    enum status status = record_put(self->work, key, value, expiry_ms, revision_r);
    if (status == STATUS_OK)
        batch_wrote(self->batch, self->entry,
                    &(struct batch_wrote){key, value, expiry_ms, *revision_r});
    return status;
}

static enum status take_away(struct tx *tx, struct tx_key key)
{
    struct disk_tx *self = disk_tx(tx);
    if (key.collection != 0)
        return record_remove_part(self->work, key.collection, key.name);
    enum status status = record_delete(self->work, key);
    if (status == STATUS_OK)
        batch_wrote(self->batch, self->entry, &(struct batch_wrote){.key = key});
    return status;
}

static enum status walk(struct tx *tx, const struct tx_range *range,
                        bool (*visit)(void *context, struct bytes name, const struct tx_item *item),
                        void *context)
{
    return record_walk(disk_tx(tx)->work, range, visit, context);
}

static void show(struct tx *tx, struct tx_key key, struct bytes view)
{
    struct disk_tx *self = disk_tx(tx);
    if (self->batch)
        batch_show(self->batch, self->entry, key, view);
    else
        self->shown = view;
}

static uint64_t new_id(struct tx *tx)
{
    return ++disk_tx(tx)->work->state->set_id;
}

static enum status damaged(struct tx *tx, const char *what)
{
    return env_damaged(disk_tx(tx)->work->env, "%s", what);
}

static const struct tx_ops ops = {
    .get = get,
    .put = put,
    .remove = take_away,
    .walk = walk,
    .show = show,
    .new_id = new_id,
    .damaged = damaged,
};

void disk_tx_write(struct disk_tx *tx, struct work *work, struct batch *batch,
                   struct batch_entry *entry)
{
    *tx = (struct disk_tx){.tx = {&ops}, .work = work, .batch = batch, .entry = entry};
}

void disk_tx_read(struct disk_tx *tx, struct work *work)
{
    *tx = (struct disk_tx){.tx = {&ops}, .work = work};
}
