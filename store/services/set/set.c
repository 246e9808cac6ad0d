/*
 * set - items, each once. Runs in a store; see ../README.md.
 *
 * Every operation answers with the whole set, as the old contract has it. A set is a root and a
 * collection of its items, so that a change of a large one costs no more than of a small one. Where
 * a store has views (tx.h), hot reads are shown the items, unless they are many; where it has none,
 * they find the record: a small set is there one record with all of its items (packed.h).
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
    struct set_root root; /* all zero: there is no such set, or it is packed */
    struct bytes packed;  /* its items, if it is */
    uint64_t revision;
};

/* Bytes before a root. */
static size_t mark_len(const struct call *call)
{
    return tx_has_views(call->tx) ? 0 : SET_ROOT_MARK;
}

static enum status parse(const struct call *call, struct bytes value, struct set *set_r)
{
    size_t mark = mark_len(call);
    if (mark > 0 && !set_is_root(value)) {
        set_r->packed = value;
        return STATUS_OK;
    }
    if (value.len != mark + sizeof set_r->root)
        return tx_damaged(call->tx, "the root of a set has a wrong length");
    memcpy(&set_r->root, value.data + mark, sizeof set_r->root);
    return set_r->root.id != 0 ? STATUS_OK : tx_damaged(call->tx, "the root of a set has no id");
}

static enum status load(const struct call *call, struct set *set_r)
{
    struct tx_item item;
    *set_r = (struct set){0};
    enum status status = tx_get(call->tx, call_key(call), &item);
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    set_r->revision = item.revision;
    return parse(call, item.value, set_r);
}

static bool is_packed(const struct call *call, const struct set *set)
{
    return set->root.id == 0 && !tx_has_views(call->tx);
}

static struct tx_key item_key(const struct call *call, const struct set *set, struct bytes item)
{
    return (struct tx_key){
        .service = call_key(call).service, .collection = set->root.id, .name = item};
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

/* Packs all items into scratch. */
static enum status gather(struct call *call, const struct set *set)
{
    struct packing packing = {.items = call->scratch, .root = &set->root};
    const struct tx_range all = {.from = item_key(call, set, (struct bytes){0})};
    call->scratch->len = 0;
    if (set->root.items == 0)
        return STATUS_OK;
    enum status status = tx_walk(call->tx, &all, pack_item, &packing);
    if (status == STATUS_OK &&
        (packing.count != set->root.items || call->scratch->len != set->root.packed))
        return tx_damaged(call->tx, "a set has not the items that it should have");
    return status;
}

/* Answers with the items, and shows them. They are not gone through for nobody. */
static enum status answer(struct call *call, const struct set *set, struct reply *reply)
{
    enum status status = STATUS_OK;
    reply->revision = set->revision;
    reply->value = set->packed;
    if (is_packed(call, set))
        return STATUS_OK;
    if (!call->request->no_value) {
        status = gather(call, set);
        reply->value = buffer_bytes(call->scratch);
    }
    if (status == STATUS_OK && set->root.items > 0 && tx_has_views(call->tx))
        tx_show(call->tx, call_key(call),
                reply->value.len <= SHOWN_MAX ? reply->value : (struct bytes){0});
    return status;
}

/* ---- Operations ---- */

enum status set_get(struct call *call, struct reply *reply)
{
    struct set set;
    enum status status = load(call, &set);
    return status == STATUS_OK ? answer(call, &set, reply) : status;
}

/* Stores a packed set; one without items goes. */
static enum status put_packed(struct call *call, struct set *set, struct bytes packed)
{
    *set = (struct set){.packed = packed};
    return packed.len > 0 ? tx_put(call->tx, call_key(call), packed, 0, &set->revision)
                          : tx_remove(call->tx, call_key(call));
}

static enum status put_root(struct call *call, struct set *set)
{
    size_t mark = mark_len(call);
    memset(call->record, 0, mark);
    memcpy(call->record + mark, &set->root, sizeof set->root);
    return tx_put(call->tx, call_key(call), (struct bytes){call->record, mark + sizeof set->root},
                  0, &set->revision);
}

/* Adds an item that is not in the set, which is not packed. */
static enum status add(struct call *call, struct set *set, struct bytes item)
{
    uint64_t revision;
    if (set->root.id == 0)
        set->root.id = tx_new_id(call->tx);
    set->root.items++;
    set->root.packed += 2 + item.len;
    return tx_put(call->tx, item_key(call, set, item), (struct bytes){0}, 0, &revision);
}

/* A packed set becomes a collection of its items. */
static enum status unpack(struct call *call, struct set *set)
{
    struct bytes rest, item;
    enum status status = STATUS_OK;
    call->scratch->len = 0;
    buffer_append(call->scratch, set->packed.data, set->packed.len);
    rest = buffer_bytes(call->scratch);
    set->packed = (struct bytes){0};
    while (status == STATUS_OK && set_next(&rest, &item))
        status = add(call, set, item);
    return status;
}

static enum status look_for_item(const struct call *call, const struct set *set, bool *has_r)
{
    struct tx_item found;
    struct bytes item = call->request->value;
    if (set->root.id == 0) {
        *has_r = packed_has(set->packed, item);
        return STATUS_OK;
    }
    enum status status = tx_get(call->tx, item_key(call, set, item), &found);
    *has_r = status == STATUS_OK;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* Adds the request's item, which is not in the set. */
static enum status grow(struct call *call, struct set *set)
{
    struct bytes item = call->request->value;
    if (set->packed.len + set->root.packed + 2 + item.len > call->limits->max_set)
        return STATUS_TOO_LARGE;
    if (is_packed(call, set) &&
        (!packed_is_outgrown(set->packed, item.len) || !tx_has_collections(call->tx)))
        return put_packed(call, set, packed_with(set->packed, item, call->scratch));
    enum status status = unpack(call, set);
    if (status == STATUS_OK)
        status = add(call, set, item);
    return status == STATUS_OK ? put_root(call, set) : status;
}

enum status set_add(struct call *call, struct reply *reply)
{
    struct set set;
    bool has = false;
    enum status status = load(call, &set);
    if (status == STATUS_OK)
        status = look_for_item(call, &set, &has);
    if (status == STATUS_OK && !has)
        status = grow(call, &set);
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
    const struct tx_range all = {.from = item_key(call, set, (struct bytes){0})};
    enum status status = tx_walk(call->tx, &all, found_one, &more);
    if (status != STATUS_OK)
        return status;
    if (more)
        return tx_damaged(call->tx, "a set has more items than it should have");
    *set = (struct set){0};
    return tx_remove(call->tx, call_key(call));
}

/* A set that has become small is packed again. */
static enum status pack(struct call *call, struct set *set)
{
    struct bytes rest, item;
    enum status status = gather(call, set);
    rest = buffer_bytes(call->scratch);
    while (status == STATUS_OK && set_next(&rest, &item))
        status = tx_remove(call->tx, item_key(call, set, item));
    return status == STATUS_OK ? put_packed(call, set, buffer_bytes(call->scratch)) : status;
}

/* Notes that an item is gone; a set without items goes too. */
static enum status shrink(struct call *call, struct set *set)
{
    uint64_t len = 2 + call->request->value.len;
    set->root.items--;
    set->root.packed = set->root.packed > len ? set->root.packed - len : 0;
    if (set->root.items == 0)
        return remove_root(call, set);
    if (!tx_has_views(call->tx) && set->root.packed <= PACKED_AGAIN)
        return pack(call, set);
    return put_root(call, set);
}

/* Takes away the request's item, which is in the set. */
static enum status take_item(struct call *call, struct set *set)
{
    struct bytes item = call->request->value;
    if (is_packed(call, set))
        return put_packed(call, set, packed_without(set->packed, item, call->scratch));
    enum status status = tx_remove(call->tx, item_key(call, set, item));
    return status == STATUS_OK ? shrink(call, set) : status;
}

enum status set_remove(struct call *call, struct reply *reply)
{
    struct set set;
    bool has = false;
    enum status status = load(call, &set);
    if (status == STATUS_OK)
        status = look_for_item(call, &set, &has);
    if (status == STATUS_OK && has)
        status = take_item(call, &set);
    return status == STATUS_OK ? answer(call, &set, reply) : status;
}
