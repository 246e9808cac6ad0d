/*
 * pages - the pages of an LMDB 0.9 file, read without LMDB.
 *
 * LMDB believes every number in its file, so a damaged one kills the process that opens it; and a
 * reader of a live database must take a place in lock.mdb, which holds back pages for as long as it
 * is there. This reads with pread(), checks each number, takes no lock and writes nothing. A
 * database in use gives pages back after two further commits: pages_moved() says whether that can
 * have happened.
 *
 *     page      | number 8 | pad 2 | flags 2 | lower 2 | upper 2 |  then lower..: offsets of nodes
 *     meta      pages 0 and 1; the one with the higher transaction counts
 *     branch    nodes: number of the page below, the smallest key in it (none in the first)
 *     leaf      nodes: key, value (or the number of the first page that the value has to itself)
 */
#ifndef STRATO_STORE_INSPECT_PAGES_H
#define STRATO_STORE_INSPECT_PAGES_H

#include "proto/base/status.h"
#include "store/inspect/input.h"

/* A table, as LMDB keeps it: 48 bytes, in a meta page or as a value of the main table. */
struct pages_tree {
    uint32_t pad; /* in the meta page's first: the page size */
    uint16_t flags;
    uint16_t depth;
    uint64_t branch_pages, leaf_pages, overflow_pages;
    uint64_t entries;
    uint64_t root; /* PAGES_NONE: it is empty */
};
_Static_assert(sizeof(struct pages_tree) == 48, "LMDB's layout");
#define PAGES_NONE UINT64_MAX

enum {
    PAGES_LEAF_SUBDATA = 2, /* pages_item.flags: the value is a struct pages_tree */
    PAGES_TREE_PLAIN = 0,   /* pages_tree.flags of every table of Strato */
};

struct pages {
    const struct input *input;
    uint32_t page_size;
    uint64_t last_page;
    uint64_t map_size;
    uint64_t transaction;
    struct pages_tree free, main;
    bool whole[2];    /* which of the meta pages is one */
    uint64_t visited; /* pages that this walk has read: more than there are means a circle */
    char error[160];  /* what made no sense first */
};

/* Reads the meta pages. False and why, when neither is one. */
bool pages_open(struct pages *pages, const struct input *input, char *reason, size_t reason_size);
/* Whether pages of the state that was opened may have been used again since. */
bool pages_moved(const struct pages *pages);

struct pages_item {
    struct bytes key;   /* valid during the visit */
    uint64_t value_len; /* of the whole value */
    struct bytes value; /* when it lies in the leaf; valid during the visit */
    uint64_t overflow;  /* else its first page */
    uint16_t flags;
};
/* Copies up to size bytes of the value; how many, 0 also when they cannot be read. */
size_t pages_value(const struct pages *pages, const struct pages_item *item, void *to, size_t size);

/* Called for each item in order; false ends the walk. */
typedef bool pages_visit(void *context, const struct pages_item *item);
/* Visits what is not smaller than from (empty: all). False when something made no sense:
 * pages->error says what, and what came before it was visited. Never reads more pages than there
 * are. */
bool pages_walk(struct pages *pages, const struct pages_tree *tree, struct bytes from,
                pages_visit *visit, void *context);
/* The item of exactly this key: visit is called once. False when there is none, or on an error. */
bool pages_find(struct pages *pages, const struct pages_tree *tree, struct bytes key,
                pages_visit *visit, void *context);

#endif
