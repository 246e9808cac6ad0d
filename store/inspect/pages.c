/*
 * pages - see pages.h. strato-inspect; what makes no sense is an error text, never a crash.
 */
#include "store/inspect/pages.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/log.h"

enum {
    META_MAGIC = (int)0xBEEFC0DE,
    META_VERSION = 1,
    FLAG_BRANCH = 0x01,
    FLAG_LEAF = 0x02,
    FLAG_OVERFLOW = 0x04,
    FLAG_META = 0x08,
    KIND_MASK = FLAG_BRANCH | FLAG_LEAF | FLAG_OVERFLOW | FLAG_META | 0x20 | 0x40,
    NODE_BIG = 1, /* the value has pages to itself */
    DEPTH_MAX = 32,
    PAGE_MIN = 512,
    PAGE_MAX = 65536,
};

struct page_head {
    uint64_t number;
    uint16_t pad;
    uint16_t flags;
    uint16_t lower; /* end of the offsets; with upper the length of an overflow page's run */
    uint16_t upper;
};
_Static_assert(sizeof(struct page_head) == 16, "LMDB's layout");

struct meta {
    struct page_head head;
    uint32_t magic;
    uint32_t version;
    uint64_t address;
    uint64_t map_size;
    struct pages_tree trees[2]; /* free pages, main */
    uint64_t last_page;
    uint64_t transaction;
};
_Static_assert(sizeof(struct meta) == 152, "LMDB's layout");

struct node_head {
    uint16_t low, high; /* leaf: length of the value; branch: page number, with flags */
    uint16_t flags;
    uint16_t key_len;
};

/* ---- Meta pages ---- */

static bool is_page_size(uint32_t size)
{
    return size >= PAGE_MIN && size <= PAGE_MAX && (size & (size - 1)) == 0;
}

static bool read_meta(const struct input *input, uint64_t offset, struct meta *meta_r)
{
    return input_read(input, offset, meta_r, sizeof *meta_r) && (meta_r->head.flags & FLAG_META) &&
           meta_r->magic == (uint32_t)META_MAGIC && meta_r->version == META_VERSION &&
           is_page_size(meta_r->trees[0].pad);
}

/* The second page lies where the size of the first puts it; without the first it is looked for. */
static bool read_second(const struct input *input, bool first, uint32_t size, struct meta *meta_r)
{
    if (first)
        return read_meta(input, size, meta_r) && meta_r->trees[0].pad == size;
    for (size = PAGE_MIN; size <= PAGE_MAX; size *= 2)
        if (read_meta(input, size, meta_r) && meta_r->trees[0].pad == size)
            return true;
    return false;
}

bool pages_open(struct pages *pages, const struct input *input, char *reason, size_t reason_size)
{
    struct meta metas[2] = {0};
    *pages = (struct pages){.input = input};
    pages->whole[0] = read_meta(input, 0, &metas[0]);
    pages->whole[1] = read_second(input, pages->whole[0], metas[0].trees[0].pad, &metas[1]);
    if (!pages->whole[0] && !pages->whole[1]) {
        snprintf(reason, reason_size, "it is no database of LMDB 0.9: neither meta page is whole");
        return false;
    }
    bool second =
        !pages->whole[0] || (pages->whole[1] && metas[1].transaction > metas[0].transaction);
    const struct meta *meta = &metas[second];
    pages->page_size = meta->trees[0].pad;
    pages->last_page = meta->last_page;
    pages->map_size = meta->map_size;
    pages->transaction = meta->transaction;
    pages->free = meta->trees[0];
    pages->main = meta->trees[1];
    return true;
}

bool pages_moved(const struct pages *pages)
{
    struct pages now;
    char reason[100];
    return !pages_open(&now, pages->input, reason, sizeof reason) ||
           now.transaction > pages->transaction + 1;
}

/* ---- Pages ---- */

static bool failed(struct pages *pages, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool failed(struct pages *pages, const char *format, ...)
{
    va_list args;
    if (*pages->error)
        return false;
    va_start(args, format);
    vsnprintf(pages->error, sizeof pages->error, format, args);
    va_end(args);
    return false;
}

static uint64_t page_count(const struct pages *pages)
{
    return pages->input->size / pages->page_size;
}

static unsigned node_count(const uint8_t *page)
{
    struct page_head head;
    memcpy(&head, page, sizeof head);
    return (unsigned)(head.lower - sizeof head) / 2;
}

static bool read_page(struct pages *pages, uint64_t number, unsigned kind, uint8_t *page)
{
    struct page_head head;
    if (pages->visited++ > page_count(pages))
        return failed(pages, "its pages lead round in a circle");
    if (number >= page_count(pages) ||
        !input_read(pages->input, number * pages->page_size, page, pages->page_size))
        return failed(pages, "page %" PRIu64 " is beyond the end", number);
    memcpy(&head, page, sizeof head);
    if (head.number != number || (head.flags & KIND_MASK) != kind)
        return failed(pages, "page %" PRIu64 " has another number (%" PRIu64 ") or kind (%x)",
                      number, head.number, head.flags);
    if (head.lower < sizeof head || head.lower > head.upper || head.upper > pages->page_size)
        return failed(pages, "page %" PRIu64 " has impossible bounds", number);
    return true;
}

/* The head of node i and its key. */
static bool read_node(struct pages *pages, const uint8_t *page, unsigned i,
                      struct node_head *node_r, struct bytes *key_r)
{
    uint16_t at;
    memcpy(&at, page + sizeof(struct page_head) + 2 * (size_t)i, sizeof at);
    if (at < sizeof(struct page_head) || at + sizeof *node_r > pages->page_size)
        return failed(pages, "a node lies outside of its page");
    memcpy(node_r, page + at, sizeof *node_r);
    if (at + sizeof *node_r + node_r->key_len > pages->page_size)
        return failed(pages, "a key lies outside of its page");
    *key_r = (struct bytes){page + at + sizeof *node_r, node_r->key_len};
    return true;
}

static bool read_item(struct pages *pages, const uint8_t *page, unsigned i,
                      struct pages_item *item_r)
{
    struct node_head node = {0};
    *item_r = (struct pages_item){0};
    if (!read_node(pages, page, i, &node, &item_r->key))
        return false;
    const uint8_t *data = item_r->key.data + node.key_len;
    size_t room = pages->page_size - (size_t)(data - page);
    item_r->value_len = (uint64_t)node.high << 16 | node.low;
    item_r->flags = node.flags;
    if (node.flags & NODE_BIG) {
        if (room < sizeof item_r->overflow)
            return failed(pages, "a node lies outside of its page");
        memcpy(&item_r->overflow, data, sizeof item_r->overflow);
    } else if (item_r->value_len <= room) {
        item_r->value = (struct bytes){data, item_r->value_len};
    } else {
        return failed(pages, "a value lies outside of its page");
    }
    return true;
}

size_t pages_value(const struct pages *pages, const struct pages_item *item, void *to, size_t size)
{
    size_t len = item->value_len < size ? item->value_len : size;
    uint64_t first = item->overflow;
    if (!(item->flags & NODE_BIG)) {
        memcpy(to, item->value.data, len);
        return len;
    }
    struct page_head head;
    if (first >= page_count(pages) ||
        !input_read(pages->input, first * pages->page_size, &head, sizeof head) ||
        head.number != first || (head.flags & KIND_MASK) != FLAG_OVERFLOW ||
        !input_read(pages->input, first * pages->page_size + sizeof head, to, len))
        return 0;
    return len;
}

/* ---- Trees ---- */

static int compare(struct bytes a, struct bytes b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

struct walk {
    struct pages *pages;
    struct bytes from;
    pages_visit *visit;
    void *context;
    bool ended; /* by the visitor */
};

static bool walk_leaf(struct walk *walk, const uint8_t *page)
{
    for (unsigned i = 0; i < node_count(page) && !walk->ended; i++) {
        struct pages_item item;
        if (!read_item(walk->pages, page, i, &item))
            return false;
        if (walk->from.len == 0 || compare(item.key, walk->from) >= 0)
            walk->ended = !walk->visit(walk->context, &item);
    }
    return true;
}

static bool walk_page(struct walk *walk, uint64_t number, unsigned depth);

static bool walk_branch(struct walk *walk, const uint8_t *page, unsigned depth)
{
    unsigned count = node_count(page), first = 0;
    struct node_head node = {0};
    struct bytes key = {0};
    /* The last child whose smallest key is not above from is the first that can have it. */
    for (unsigned i = 1; i < count && walk->from.len > 0; i++) {
        if (!read_node(walk->pages, page, i, &node, &key))
            return false;
        if (compare(key, walk->from) > 0)
            break;
        first = i;
    }
    for (unsigned i = first; i < count && !walk->ended; i++) {
        if (!read_node(walk->pages, page, i, &node, &key))
            return false;
        uint64_t child =
            (uint64_t)node.flags << 32 | (uint64_t)node.high << 16 | (uint64_t)node.low;
        if (!walk_page(walk, child, depth - 1))
            return false;
    }
    return true;
}

static bool walk_page(struct walk *walk, uint64_t number, unsigned depth)
{
    bool leaf = depth <= 1;
    uint8_t *page = malloc(walk->pages->page_size);
    if (!page)
        panic("out of memory");
    bool sound = read_page(walk->pages, number, leaf ? FLAG_LEAF : FLAG_BRANCH, page) &&
                 (leaf ? walk_leaf(walk, page) : walk_branch(walk, page, depth));
    free(page);
    return sound;
}

bool pages_walk(struct pages *pages, const struct pages_tree *tree, struct bytes from,
                pages_visit *visit, void *context)
{
    struct walk walk = {pages, from, visit, context, false};
    pages->visited = 0;
    if (tree->root == PAGES_NONE)
        return tree->entries == 0 || failed(pages, "a table has entries and no pages");
    if (tree->depth == 0 || tree->depth > DEPTH_MAX)
        return failed(pages, "a table has %u levels", tree->depth);
    return walk_page(&walk, tree->root, tree->depth);
}

struct finding {
    struct bytes key;
    pages_visit *visit;
    void *context;
    bool found;
};

static bool is_it(void *context, const struct pages_item *item)
{
    struct finding *finding = context;
    finding->found = bytes_equal(item->key, finding->key);
    if (finding->found)
        (void)finding->visit(finding->context, item);
    return false;
}

bool pages_find(struct pages *pages, const struct pages_tree *tree, struct bytes key,
                pages_visit *visit, void *context)
{
    struct finding finding = {key, visit, context, false};
    return pages_walk(pages, tree, key, is_it, &finding) && finding.found;
}
