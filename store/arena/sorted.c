/*
 * sorted - a B-tree of references, see sorted.h. Runs in a store; fails by panic when memory runs
 * out.
 *
 * A node knows between which two separators all its keys lie (its fences), and so how many leading
 * bytes they have in common. Of each key it keeps only the eight bytes that follow these, its head:
 * most comparisons end there, and only equal heads make it look at the record. Fences change only
 * where a node is split or merged, and there the heads are made anew.
 */
#include "store/arena/sorted.h"

#include <endian.h>
#include <stdlib.h>

#include "proto/base/log.h"

enum {
    LEAF_LOW = SORTED_LEAF / 4, /* with fewer a node is merged with a neighbour, ... */
    INNER_LOW = SORTED_FAN / 4,
    LEAF_MERGED_MAX = SORTED_LEAF * 3 / 4, /* ... if both together have no more than this */
    INNER_MERGED_MAX = SORTED_FAN * 3 / 4,
};

/* The shortest key that is larger than all on its left and not larger than any on its right. */
struct separator {
    uint16_t len;
    uint8_t data[];
};

struct sorted_leaf {
    struct sorted_leaf *prev, *next;
    uint16_t count, prefix; /* entries; leading bytes that all keys here have in common */
    uint64_t heads[SORTED_LEAF];
    uint64_t refs[SORTED_LEAF];
};

struct inner {
    uint16_t count, prefix; /* separators; children are one more */
    uint64_t heads[SORTED_FAN - 1];
    struct separator *separators[SORTED_FAN - 1];
    void *children[SORTED_FAN];
};

struct sorted {
    struct bytes (*key_of)(const void *context, uint64_t ref);
    const void *context;
    void *root;      /* an inner node, or a leaf when height is 0 */
    unsigned height; /* inner nodes above a leaf */
    struct sorted_leaf *last;
    uint64_t count, bytes;
};

/* The way from the root to a leaf: at each level the node, its fences, and the child taken. */
struct step {
    void *node;
    const struct separator *lower, *upper; /* NULL: none */
    unsigned child;
};
struct path {
    struct step steps[SORTED_HEIGHT_MAX + 1]; /* [height] is the leaf */
};

/* ---- Memory ---- */

static void *make(struct sorted *sorted, size_t size)
{
    void *made = calloc(1, size);
    if (!made)
        panic("out of memory: the order of %llu keys", (unsigned long long)sorted->count);
    sorted->bytes += size;
    return made;
}

static void drop(struct sorted *sorted, void *dropped, size_t size)
{
    sorted->bytes -= size;
    free(dropped);
}

static void drop_separator(struct sorted *sorted, struct separator *separator)
{
    drop(sorted, separator, sizeof *separator + separator->len);
}

/* ---- Keys ---- */

static struct bytes bytes_in(const struct separator *separator)
{
    return (struct bytes){separator->data, separator->len};
}

static size_t common(struct bytes a, struct bytes b)
{
    size_t len = a.len < b.len ? a.len : b.len, n = 0;
    while (n < len && a.data[n] == b.data[n])
        n++;
    return n;
}

/* Bytes that all keys between two fences begin with. */
static uint16_t common_of(const struct separator *lower, const struct separator *upper)
{
    return lower && upper ? (uint16_t)common(bytes_in(lower), bytes_in(upper)) : 0;
}

/* The eight bytes behind the prefix as a number, so that numbers compare as the bytes do. A shorter
 * key is filled with zeros: equal heads say nothing. */
static uint64_t head_of(struct bytes key, size_t prefix)
{
    uint64_t head = 0;
    if (key.len > prefix) {
        size_t len = key.len - prefix;
        memcpy(&head, key.data + prefix, len < sizeof head ? len : sizeof head);
    }
    return be64toh(head);
}

static struct separator *make_separator(struct sorted *sorted, struct bytes left,
                                        struct bytes right)
{
    size_t len = common(left, right) + 1;
    struct separator *separator = make(sorted, sizeof *separator + len);
    separator->len = (uint16_t)len;
    memcpy(separator->data, right.data, len);
    return separator;
}

/* ---- Finding ---- */

/* The first entry that is not smaller than key. */
static unsigned find_in_leaf(const struct sorted *sorted, const struct sorted_leaf *leaf,
                             struct bytes key)
{
    uint64_t head = head_of(key, leaf->prefix);
    unsigned low = 0, high = leaf->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        bool smaller = leaf->heads[middle] < head;
        if (leaf->heads[middle] == head)
            smaller = bytes_compare(sorted->key_of(sorted->context, leaf->refs[middle]), key) < 0;
        if (smaller)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The child in whose range key lies: as many separators are not larger than key. */
static unsigned find_child(const struct inner *inner, struct bytes key)
{
    uint64_t head = head_of(key, inner->prefix);
    unsigned low = 0, high = inner->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        bool larger = inner->heads[middle] > head;
        if (inner->heads[middle] == head)
            larger = bytes_compare(bytes_in(inner->separators[middle]), key) > 0;
        if (larger)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static struct sorted_leaf *descend(const struct sorted *sorted, struct bytes key, struct path *path)
{
    struct step step = {.node = sorted->root};
    for (unsigned level = 0; level < sorted->height; level++) {
        const struct inner *inner = step.node;
        step.child = find_child(inner, key);
        path->steps[level] = step;
        if (step.child > 0)
            step.lower = inner->separators[step.child - 1];
        if (step.child < inner->count)
            step.upper = inner->separators[step.child];
        step.node = inner->children[step.child];
    }
    path->steps[sorted->height] = step;
    return step.node;
}

static bool holds(const struct sorted *sorted, const struct sorted_leaf *leaf, unsigned at,
                  struct bytes key)
{
    return at < leaf->count &&
           bytes_compare(sorted->key_of(sorted->context, leaf->refs[at]), key) == 0;
}

/* ---- Filling nodes ---- */

/* The heads of a leaf for a new prefix. */
static void set_leaf_prefix(const struct sorted *sorted, struct sorted_leaf *leaf, uint16_t prefix)
{
    leaf->prefix = prefix;
    for (unsigned i = 0; i < leaf->count; i++)
        leaf->heads[i] = head_of(sorted->key_of(sorted->context, leaf->refs[i]), prefix);
}

static void set_inner_prefix(struct inner *inner, uint16_t prefix)
{
    inner->prefix = prefix;
    for (unsigned i = 0; i < inner->count; i++)
        inner->heads[i] = head_of(bytes_in(inner->separators[i]), prefix);
}

static void open_gap(void *array, size_t size, unsigned count, unsigned at)
{
    uint8_t *from = (uint8_t *)array + at * size;
    memmove(from + size, from, (count - at) * size);
}

static void close_gap(void *array, size_t size, unsigned count, unsigned at)
{
    uint8_t *to = (uint8_t *)array + at * size;
    memmove(to, to + size, (count - at - 1) * size);
}

static void insert_in_leaf(struct sorted_leaf *leaf, unsigned at, struct bytes key, uint64_t ref)
{
    open_gap(leaf->heads, sizeof leaf->heads[0], leaf->count, at);
    open_gap(leaf->refs, sizeof leaf->refs[0], leaf->count, at);
    leaf->heads[at] = head_of(key, leaf->prefix);
    leaf->refs[at] = ref;
    leaf->count++;
}

/* The separator before child at + 1, and that child. */
static void insert_in_inner(struct inner *inner, unsigned at, struct separator *separator,
                            void *child)
{
    open_gap(inner->heads, sizeof inner->heads[0], inner->count, at);
    open_gap(inner->separators, sizeof inner->separators[0], inner->count, at);
    open_gap(inner->children, sizeof inner->children[0], inner->count + 1, at + 1);
    inner->heads[at] = head_of(bytes_in(separator), inner->prefix);
    inner->separators[at] = separator;
    inner->children[at + 1] = child;
    inner->count++;
}

/* ---- Splitting ---- */

static void hang_in(struct sorted *sorted, struct path *path, unsigned level,
                    struct separator *separator, void *right);

static void grow_root(struct sorted *sorted, struct separator *separator, void *right)
{
    struct inner *root = make(sorted, sizeof *root);
    if (sorted->height == SORTED_HEIGHT_MAX)
        panic("the order of %llu keys is too high", (unsigned long long)sorted->count);
    root->children[0] = sorted->root;
    insert_in_inner(root, 0, separator, right);
    sorted->root = root;
    sorted->height++;
}

/* Splits a full inner node; the separator in the middle goes up. At the right end little is moved,
 * because keys that come in order fill only that end. */
static void split_inner(struct sorted *sorted, struct path *path, unsigned level)
{
    const struct step *step = &path->steps[level];
    struct inner *left = step->node, *right = make(sorted, sizeof *right);
    unsigned middle = step->child + 1 == left->count ? left->count - 2U : left->count / 2U;
    struct separator *up = left->separators[middle];
    right->count = (uint16_t)(left->count - middle - 1);
    memcpy(right->separators, left->separators + middle + 1,
           right->count * sizeof left->separators[0]);
    memcpy(right->children, left->children + middle + 1,
           (right->count + 1U) * sizeof left->children[0]);
    left->count = (uint16_t)middle;
    set_inner_prefix(left, common_of(step->lower, up));
    set_inner_prefix(right, common_of(up, step->upper));
    hang_in(sorted, path, level, up, right);
}

/* Hangs right, which was split off from the node of this level, into that node's parent. */
static void hang_in(struct sorted *sorted, struct path *path, unsigned level,
                    struct separator *separator, void *right)
{
    if (level == 0) {
        grow_root(sorted, separator, right);
        return;
    }
    struct step *parent = &path->steps[level - 1];
    struct inner *inner = parent->node;
    insert_in_inner(inner, parent->child, separator, right);
    if (inner->count == SORTED_FAN - 1)
        split_inner(sorted, path, level - 1);
}

static struct sorted_leaf *make_leaf_after(struct sorted *sorted, struct sorted_leaf *left)
{
    struct sorted_leaf *leaf = make(sorted, sizeof *leaf);
    leaf->prev = left;
    leaf->next = left->next;
    left->next = leaf;
    if (leaf->next)
        leaf->next->prev = leaf;
    else
        sorted->last = leaf;
    return leaf;
}

/* Where a full leaf is cut for an entry at this place: keys that come in order leave full leaves
 * behind. */
static unsigned cut_for(unsigned at)
{
    if (at == SORTED_LEAF)
        return SORTED_LEAF - 1;
    return at == 0 ? 1 : SORTED_LEAF / 2;
}

static void split_leaf(struct sorted *sorted, struct path *path, unsigned at)
{
    const struct step *step = &path->steps[sorted->height];
    struct sorted_leaf *left = step->node, *right = make_leaf_after(sorted, left);
    unsigned cut = cut_for(at);
    right->count = (uint16_t)(left->count - cut);
    memcpy(right->refs, left->refs + cut, right->count * sizeof left->refs[0]);
    left->count = (uint16_t)cut;
    struct separator *separator =
        make_separator(sorted, sorted->key_of(sorted->context, left->refs[cut - 1]),
                       sorted->key_of(sorted->context, right->refs[0]));
    set_leaf_prefix(sorted, left, common_of(step->lower, separator));
    set_leaf_prefix(sorted, right, common_of(separator, step->upper));
    hang_in(sorted, path, sorted->height, separator, right);
}

void sorted_insert(struct sorted *sorted, struct bytes key, uint64_t ref)
{
    struct path path;
    struct sorted_leaf *leaf = descend(sorted, key, &path);
    unsigned at = find_in_leaf(sorted, leaf, key);
    if (leaf->count == SORTED_LEAF) {
        split_leaf(sorted, &path, at);
        leaf = descend(sorted, key, &path);
        at = find_in_leaf(sorted, leaf, key);
    }
    insert_in_leaf(leaf, at, key, ref);
    sorted->count++;
}

/* ---- Merging ---- */

static void merge_leaves(struct sorted *sorted, struct sorted_leaf *left, struct sorted_leaf *right)
{
    memcpy(left->refs + left->count, right->refs, right->count * sizeof left->refs[0]);
    left->count = (uint16_t)(left->count + right->count);
    left->next = right->next;
    if (left->next)
        left->next->prev = left;
    else
        sorted->last = left;
    drop(sorted, right, sizeof *right);
}

static void merge_inners(struct sorted *sorted, struct inner *left, struct separator *between,
                         struct inner *right)
{
    left->separators[left->count] = between;
    memcpy(left->separators + left->count + 1, right->separators,
           right->count * sizeof left->separators[0]);
    memcpy(left->children + left->count + 1, right->children,
           (right->count + 1U) * sizeof left->children[0]);
    left->count = (uint16_t)(left->count + 1 + right->count);
    drop(sorted, right, sizeof *right);
}

static unsigned count_in(const void *node, bool leaf)
{
    return leaf ? ((const struct sorted_leaf *)node)->count : ((const struct inner *)node)->count;
}

/* Merges the children left and left + 1 of an inner node if they are small enough. */
static bool merge_children(struct sorted *sorted, const struct step *parent, unsigned left,
                           bool leaves)
{
    struct inner *inner = parent->node;
    void *a = inner->children[left], *b = inner->children[left + 1];
    unsigned both = count_in(a, leaves) + count_in(b, leaves);
    if (both > (leaves ? LEAF_MERGED_MAX : INNER_MERGED_MAX))
        return false;
    struct separator *between = inner->separators[left];
    close_gap(inner->heads, sizeof inner->heads[0], inner->count, left);
    close_gap(inner->separators, sizeof inner->separators[0], inner->count, left);
    close_gap(inner->children, sizeof inner->children[0], inner->count + 1U, left + 1);
    inner->count--;
    uint16_t prefix = common_of(left > 0 ? inner->separators[left - 1] : parent->lower,
                                left < inner->count ? inner->separators[left] : parent->upper);
    if (leaves) {
        merge_leaves(sorted, a, b);
        drop_separator(sorted, between);
        set_leaf_prefix(sorted, a, prefix);
    } else {
        merge_inners(sorted, a, between, b);
        set_inner_prefix(a, prefix);
    }
    return true;
}

/* From the leaf up: what has become small is merged with a neighbour. */
static void tidy(struct sorted *sorted, const struct path *path)
{
    for (unsigned level = sorted->height; level > 0; level--) {
        bool leaves = level == sorted->height;
        const struct step *parent = &path->steps[level - 1];
        unsigned child = parent->child, last = ((struct inner *)parent->node)->count;
        if (count_in(path->steps[level].node, leaves) >= (leaves ? LEAF_LOW : INNER_LOW))
            return;
        bool merged = (child > 0 && merge_children(sorted, parent, child - 1, leaves)) ||
                      (child < last && merge_children(sorted, parent, child, leaves));
        if (!merged)
            return;
    }
    while (sorted->height > 0 && count_in(sorted->root, false) == 0) {
        struct inner *root = sorted->root;
        sorted->root = root->children[0];
        sorted->height--;
        drop(sorted, root, sizeof *root);
    }
}

bool sorted_remove(struct sorted *sorted, struct bytes key)
{
    struct path path;
    struct sorted_leaf *leaf = descend(sorted, key, &path);
    unsigned at = find_in_leaf(sorted, leaf, key);
    if (!holds(sorted, leaf, at, key))
        return false;
    close_gap(leaf->heads, sizeof leaf->heads[0], leaf->count, at);
    close_gap(leaf->refs, sizeof leaf->refs[0], leaf->count, at);
    leaf->count--;
    sorted->count--;
    tidy(sorted, &path);
    return true;
}

/* ---- Walking ---- */

void sorted_seek(const struct sorted *sorted, struct bytes key, struct sorted_cursor *cursor_r)
{
    struct path path;
    cursor_r->leaf = descend(sorted, key, &path);
    cursor_r->at = find_in_leaf(sorted, cursor_r->leaf, key);
}

void sorted_seek_end(const struct sorted *sorted, struct sorted_cursor *cursor_r)
{
    *cursor_r = (struct sorted_cursor){sorted->last, sorted->last->count};
}

bool sorted_next(struct sorted_cursor *cursor, uint64_t *ref_r)
{
    struct sorted_cursor to = *cursor;
    while (to.at == to.leaf->count) {
        if (!to.leaf->next)
            return false;
        to = (struct sorted_cursor){to.leaf->next, 0};
    }
    *ref_r = to.leaf->refs[to.at++];
    *cursor = to;
    return true;
}

bool sorted_prev(struct sorted_cursor *cursor, uint64_t *ref_r)
{
    struct sorted_cursor to = *cursor;
    while (to.at == 0) {
        if (!to.leaf->prev)
            return false;
        to = (struct sorted_cursor){to.leaf->prev, to.leaf->prev->count};
    }
    *ref_r = to.leaf->refs[--to.at];
    *cursor = to;
    return true;
}

/* ---- The whole ---- */

uint64_t sorted_count(const struct sorted *sorted)
{
    return sorted->count;
}

uint64_t sorted_bytes(const struct sorted *sorted)
{
    return sorted->bytes;
}

struct sorted *sorted_open(struct bytes (*key_of)(const void *context, uint64_t ref),
                           const void *context)
{
    struct sorted *sorted = calloc(1, sizeof *sorted);
    if (!sorted)
        panic("out of memory");
    sorted->key_of = key_of;
    sorted->context = context;
    sorted->root = sorted->last = make(sorted, sizeof *sorted->last);
    return sorted;
}

static void free_node(void *node, unsigned height)
{
    struct inner *inner = node;
    for (unsigned i = 0; height > 0 && i <= inner->count; i++) {
        free_node(inner->children[i], height - 1);
        if (i < inner->count)
            free(inner->separators[i]);
    }
    free(node);
}

void sorted_close(struct sorted **sorted)
{
    if (!*sorted)
        return;
    free_node((*sorted)->root, (*sorted)->height);
    free(*sorted);
    *sorted = NULL;
}
