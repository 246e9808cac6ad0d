/*
 * set - items, each once. Runs in a store; see ../README.md.
 *
 * Every operation answers with the whole set, as the old contract has it; so that is also what hot
 * reads are shown, unless it is large. Where a store has collections, a set is a root and a
 * collection of its items; else see packed.h.
 */
#include "proto/base/set.h"

#include "store/services/call.h"
#include "store/services/set/packed.h"
#include "store/services/set/root.h"

enum {
    /* A larger set is read from the store each time: it is costly to show, and would put much else
     * out of the memory that hot reads are served from. */
    SHOWN_MAX = 64 * 1024,
};

struct set {
    struct set_root root; /* all zero: there is no such set */
    uint64_t revision;
};

static enum status load(const struct call *call, struct set *set_r)
{
    struct tx_item item;
    *set_r = (struct set){0};
    enum status status = tx_get(call->tx, call_key(call), &item);
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    memcpy(&set_r->root, item.value.data, sizeof set_r->root);
    set_r->revision = item.revision;
    return STATUS_OK;
}

static struct tx_key item_key(const struct call *call, const struct set *set, struct bytes item)
{
    return (struct tx_key){call_key(call).service, set->root.id, item};
}

/* ---- The whole set ---- */

struct packing {
    struct buffer *items;
    const struct set_root *root;
    uint64_t count;
};

/* Stops at what is more than the root says. */
static bool pack_item(void *context, struct bytes name, const struct tx_item *item)
{
    struct packing *packing = context;
    uint8_t prefix[2];
    (void)item;
    packing->count++;
    if (packing->items->len + sizeof prefix + name.len > packing->root->packed)
        return false;
    set_prefix(name.len, prefix);
    buffer_append(packing->items, prefix, sizeof prefix);
    buffer_append(packing->items, name.data, name.len);
    return true;
}

/* Answers with the items, and shows them. */
static enum status answer(struct call *call, const struct set *set, struct reply *reply)
{
    struct packing packing = {.items = call->scratch, .root = &set->root};
    call->scratch->len = 0;
    if (set->root.items > 0) {
        enum status status =
            tx_walk(call->tx, item_key(call, set, (struct bytes){0}), pack_item, &packing);
        if (status != STATUS_OK)
            return status;
        if (packing.count != set->root.items || call->scratch->len != set->root.packed)
            return tx_damaged(call->tx, "a set has not the items that it should have");
    }
    reply->value = buffer_bytes(call->scratch);
    reply->revision = set->revision;
    if (set->root.items > 0)
        tx_show(call->tx, call_key(call),
                reply->value.len <= SHOWN_MAX ? reply->value : (struct bytes){0});
    return STATUS_OK;
}

/* ---- Operations ---- */

enum status set_get(struct call *call, struct reply *reply)
{
    struct set set;
    if (!tx_has_collections(call->tx))
        return packed_get(call, reply);
    enum status status = load(call, &set);
    return status == STATUS_OK ? answer(call, &set, reply) : status;
}

static enum status put_root(struct call *call, struct set *set)
{
    const struct bytes value = {(const uint8_t *)&set->root, sizeof set->root};
    return tx_put(call->tx, call_key(call), value, 0, &set->revision);
}

/* Adds an item that is not in the set. */
static enum status add(struct call *call, struct set *set)
{
    struct bytes item = call->request->value;
    uint64_t packed = set->root.packed + 2 + item.len, revision;
    if (packed > call->limits->max_set)
        return STATUS_TOO_LARGE;
    if (set->root.id == 0)
        set->root.id = tx_new_id(call->tx);
    enum status status =
        tx_put(call->tx, item_key(call, set, item), (struct bytes){0}, 0, &revision);
    if (status != STATUS_OK)
        return status;
    set->root.items++;
    set->root.packed = packed;
    return put_root(call, set);
}

enum status set_add(struct call *call, struct reply *reply)
{
    struct set set;
    struct tx_item found;
    if (!tx_has_collections(call->tx))
        return packed_add(call, reply);
    enum status status = load(call, &set);
    if (status != STATUS_OK)
        return status;
    status = set.root.id == 0
                 ? STATUS_NOT_FOUND
                 : tx_get(call->tx, item_key(call, &set, call->request->value), &found);
    if (status == STATUS_NOT_FOUND)
        status = add(call, &set);
    return status == STATUS_OK ? answer(call, &set, reply) : status;
}

static bool found_one(void *context, struct bytes name, const struct tx_item *item)
{
    (void)name;
    (void)item;
    *(bool *)context = true;
    return false;
}

/* Takes away the record of a set that has lost its last item. */
static enum status remove_root(struct call *call, struct set *set)
{
    bool more = false;
    enum status status =
        tx_walk(call->tx, item_key(call, set, (struct bytes){0}), found_one, &more);
    if (status != STATUS_OK)
        return status;
    if (more)
        return tx_damaged(call->tx, "a set has more items than it should have");
    *set = (struct set){0};
    return tx_remove(call->tx, call_key(call));
}

/* Notes that an item is gone; a set without items goes too. */
static enum status shrink(struct call *call, struct set *set)
{
    uint64_t len = 2 + call->request->value.len;
    set->root.items--;
    set->root.packed = set->root.packed > len ? set->root.packed - len : 0;
    return set->root.items > 0 ? put_root(call, set) : remove_root(call, set);
}

enum status set_remove(struct call *call, struct reply *reply)
{
    struct set set;
    if (!tx_has_collections(call->tx))
        return packed_remove(call, reply);
    enum status status = load(call, &set);
    if (status != STATUS_OK || set.root.id == 0)
        return status;
    status = tx_remove(call->tx, item_key(call, &set, call->request->value));
    if (status == STATUS_OK)
        status = shrink(call, &set);
    else if (status == STATUS_NOT_FOUND)
        status = STATUS_OK;
    return status == STATUS_OK ? answer(call, &set, reply) : status;
}
