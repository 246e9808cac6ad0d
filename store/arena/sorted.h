/*
 * sorted - the keys of one service in order: a B-tree of references to records. Private memory of
 * the store; nothing of it is in the arena, it is built again from the records when it is wanted.
 *
 * It holds no keys of records, only references and eight bytes of each key, so that a record costs
 * about 24 bytes (at most 32). A reference is the place of the record's slot word in the arena's
 * index: it stays the same when the record is replaced or moved, so that only new keys and deleted
 * ones change the tree.
 */
#ifndef STRATO_STORE_ARENA_SORTED_H
#define STRATO_STORE_ARENA_SORTED_H

#include "proto/base/bytes.h"

enum { SORTED_LEAF = 62, SORTED_FAN = 64, SORTED_HEIGHT_MAX = 12 };

struct sorted;

/* An empty tree. key_of gives the key behind a reference; valid until the record changes. Memory
 * that runs out ends the process. */
struct sorted *sorted_open(struct bytes (*key_of)(const void *context, uint64_t ref),
                           const void *context);
void sorted_close(struct sorted **sorted);

/* Adds a key that is not in it; its record must be readable through key_of already. */
void sorted_insert(struct sorted *sorted, struct bytes key, uint64_t ref);
/* Removes a key; the record must still be readable. False when it is not in it. */
bool sorted_remove(struct sorted *sorted, struct bytes key);

/* Entries, and bytes of memory used for them. */
uint64_t sorted_count(const struct sorted *sorted);
uint64_t sorted_bytes(const struct sorted *sorted);

/* A place between two entries. Valid until the next change of the tree. */
struct sorted_cursor {
    struct sorted_leaf *leaf;
    unsigned at;
};

/* The place just before the first key that is not smaller than this one. */
void sorted_seek(const struct sorted *sorted, struct bytes key, struct sorted_cursor *cursor_r);
/* The place behind the last key. */
void sorted_seek_end(const struct sorted *sorted, struct sorted_cursor *cursor_r);
/* Steps over the next entry, or back over the one before. False at the end; nothing moves then. */
bool sorted_next(struct sorted_cursor *cursor, uint64_t *ref_r);
bool sorted_prev(struct sorted_cursor *cursor, uint64_t *ref_r);

#endif
