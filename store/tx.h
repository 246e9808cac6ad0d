/*
 * tx - the ground that services stand on: an ordered map with transactions. One request is one
 * transaction: its changes become visible and lasting together, with its answer, or not at all.
 *
 * Every store that carries services out implements struct tx_ops. A service says what an operation
 * means in terms of these few functions and knows nothing of files, memory or the network.
 *
 * Keys. A service has a key space of its own in each namespace (collection 0), and any number of
 * collections, which are named by ids from tx_new_id(): the parts of something too large for one
 * record, such as the items of a set. Keys of a space or collection are in the order of their
 * bytes. What a request has written it reads and walks itself.
 *
 * Laws. What is published to hot reads is what was put. A change that fails has lost the whole
 * request: its status is to be returned at once. A request that returns another status than
 * STATUS_OK has no effect.
 */
#ifndef STRATO_STORE_TX_H
#define STRATO_STORE_TX_H

#include "proto/base/op.h"

struct tx_key {
    enum service service;
    uint16_t namespace;  /* 0 in collections, whose ids no namespaces share */
    uint64_t collection; /* 0: the service's own key space */
    struct bytes name;   /* 1 to KEY_MAX bytes */
};

struct tx_item {
    struct bytes value; /* valid until the next change in this transaction */
    uint64_t revision;  /* 0 in collections */
    uint64_t expiry_ms; /* ms since the epoch; 0: never */
};

/* Names of one space or collection, in order. */
struct tx_range {
    struct tx_key from; /* from this name on; an empty one: from the first */
    struct bytes to;    /* up to this one, which is not in it; empty: to the last */
    bool reverse;       /* from the last to the first */
};

struct tx;

struct tx_ops {
    enum status (*get)(struct tx *tx, struct tx_key key, struct tx_item *item_r);
    enum status (*put)(struct tx *tx, struct tx_key key, struct bytes value, uint64_t expiry_ms,
                       uint64_t *revision_r);
    enum status (*remove)(struct tx *tx, struct tx_key key);
    enum status (*walk)(struct tx *tx, const struct tx_range *range,
                        bool (*visit)(void *context, struct bytes name, const struct tx_item *item),
                        void *context);
    void (*show)(struct tx *tx, struct tx_key key, struct bytes view); /* optional */
    uint64_t (*new_id)(struct tx *tx);
    enum status (*damaged)(struct tx *tx, const char *what);
};

struct tx {
    const struct tx_ops *ops;
};

/* STATUS_OK; STATUS_NOT_FOUND: there is none, or it has expired; STATUS_DAMAGED: what is stored
 * there was not written by Strato. A counter's and a flag's record has the right length.
 */
static inline enum status tx_get(struct tx *tx, struct tx_key key, struct tx_item *item_r)
{
    return tx->ops->get(tx, key, item_r);
}

/* Stores a record and shows it to hot reads. Name and value are borrowed until the request is over;
 * value must not lie in the store. expiry_ms 0: never. STATUS_OK, STATUS_FULL, STATUS_DAMAGED. */
static inline enum status tx_put(struct tx *tx, struct tx_key key, struct bytes value,
                                 uint64_t expiry_ms, uint64_t *revision_r)
{
    return tx->ops->put(tx, key, value, expiry_ms, revision_r);
}

/* STATUS_OK; STATUS_NOT_FOUND and nothing has changed; STATUS_FULL, STATUS_DAMAGED. */
static inline enum status tx_remove(struct tx *tx, struct tx_key key)
{
    return tx->ops->remove(tx, key);
}

/* Visits the records of a range in the order of their names, until visit returns false or there are
 * no more; what has expired is not visited. visit may change nothing, and what it gets is valid
 * until it returns. STATUS_OK or STATUS_DAMAGED. */
static inline enum status
tx_walk(struct tx *tx, const struct tx_range *range,
        bool (*visit)(void *context, struct bytes name, const struct tx_item *item), void *context)
{
    return tx->ops->walk(tx, range, visit, context);
}

/* Whether there may be new collections; else a service keeps all in one record. */
static inline bool tx_has_collections(const struct tx *tx)
{
    return tx->ops->new_id;
}

/* Whether hot reads are shown what tx_show() says; else they find what is put, as it is. */
static inline bool tx_has_views(const struct tx *tx)
{
    return tx->ops->show;
}

/* Shows hot reads this instead of what was put under a key in this request or was found there; an
 * empty view: nothing, they ask the store. For services whose records are not what reads answer. */
static inline void tx_show(struct tx *tx, struct tx_key key, struct bytes view)
{
    tx->ops->show(tx, key, view);
}

/* An id that no collection has had before. Only in a request that changes something, and where
 * there may be collections. */
static inline uint64_t tx_new_id(struct tx *tx)
{
    return tx->ops->new_id(tx);
}

/* Counts and logs that what is stored makes no sense. Returns STATUS_DAMAGED. */
static inline enum status tx_damaged(struct tx *tx, const char *what)
{
    return tx->ops->damaged(tx, what);
}

#endif
