/*
 * packed - see packed.h. Runs in a store.
 */
#include "store/services/set/packed.h"

#include "proto/base/set.h"

/* Where the item stands, its length bytes included; an empty view at the end if it is not there. */
static struct bytes find(struct bytes items, struct bytes item)
{
    struct bytes rest = items, next;
    while (set_next(&rest, &next))
        if (bytes_equal(next, item))
            return (struct bytes){next.data - 2, next.len + 2};
    return (struct bytes){items.len > 0 ? items.data + items.len : items.data, 0}; /* or NULL */
}

bool packed_has(struct bytes items, struct bytes item)
{
    return find(items, item).len > 0;
}

bool packed_is_outgrown(struct bytes items, size_t len)
{
    struct bytes next;
    unsigned count = 0;
    if (items.len + 2 + len <= PACKED_MAX)
        return false;
    while (count <= PACKED_ITEMS_MAX && set_next(&items, &next))
        count++;
    return count <= PACKED_ITEMS_MAX;
}

struct bytes packed_with(struct bytes items, struct bytes item, struct buffer *buffer)
{
    uint8_t prefix[2];
    set_prefix(item.len, prefix);
    buffer->len = 0;
    buffer_append(buffer, items.data, items.len);
    buffer_append(buffer, prefix, sizeof prefix);
    buffer_append(buffer, item.data, item.len);
    return buffer_bytes(buffer);
}

struct bytes packed_without(struct bytes items, struct bytes item, struct buffer *buffer)
{
    struct bytes at = find(items, item);
    size_t before = (size_t)(at.data - items.data);
    buffer->len = 0;
    buffer_append(buffer, items.data, before);
    buffer_append(buffer, at.data + at.len, items.len - before - at.len);
    return buffer_bytes(buffer);
}
