/*
 * op - services, operations and the protocol-neutral request and reply.
 *
 * Both come from proto/api/operations.def, which has a row for each. Code that needs to know
 * something of an operation asks its row and never compares it with one that it knows.
 */
#ifndef STRATO_PROTO_BASE_OP_H
#define STRATO_PROTO_BASE_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum service {
#define SERVICE(number, symbol, name, holds, absent, rpc, format, help) SERVICE_##symbol = (number),
#include "proto/api/operations.def"
    SERVICE_COUNT
};

enum op {
    OP_NONE = 0,
#define OPERATION(number, service, symbol, means, name, kind, repeat, takes) OP_##symbol = (number),
#include "proto/api/operations.def"
    OP_COUNT
};

/* What is stored under a key of a service, and read in one piece. */
enum op_holds {
    OP_HOLDS_VALUE,  /* bytes */
    OP_HOLDS_NUMBER, /* an int64, eight bytes little-endian */
    OP_HOLDS_FLAG,   /* a byte, 0 or 1 */
    OP_HOLDS_ITEMS,  /* items of a set, packed as in set.h */
};

enum op_kind {
    OP_READS,   /* changes nothing */
    OP_CHANGES, /* needs no more room than there was: done even when the store is full */
    OP_GROWS,   /* may need more room */
};

/* What it means to carry an operation out twice because its answer was lost. */
enum op_repeat {
    OP_FREELY, /* as good as once, with the same answer */
    OP_AS_OK,  /* as good as once, but the second finds nothing to do: that is a success */
    OP_ONCE,   /* changes more than once would */
};

/* What an operation takes besides its key, and within which bounds. */
enum op_takes {
    OP_TAKES_NOTHING,
    OP_TAKES_VALUE,   /* 0 to max_value bytes */
    OP_TAKES_CACHED,  /* 1 to max_value bytes, and when it expires */
    OP_TAKES_NUMBER,  /* any int64 */
    OP_TAKES_FLAG,    /* 0 or 1 */
    OP_TAKES_ITEM,    /* 1 to KEY_MAX bytes */
    OP_TAKES_MESSAGE, /* what proto/api/message.h says: value is the packed message, key what is
                       * in it too; max_value + MESSAGE_SPARE bytes at most */
};

struct op_info {
    const char *name; /* "KVPut": as in the contract; label in logs and metrics */
    enum service service;
    enum op_kind kind;
    enum op_repeat repeat;
    enum op_takes takes;
    bool write; /* kind is not OP_READS */
};

struct service_info {
    const char *name; /* "kv": as in [services] of the config */
    const char *rpc;  /* "proto.KV" */
    enum op_holds holds;
    enum status absent; /* of a read that finds no record */
    enum op read;       /* answers with all that is stored under a key */
    uint32_t format;    /* the newest storage format of its records */
};

extern const struct op_info op_rows[OP_COUNT];
extern const struct service_info op_services[SERVICE_COUNT];

/* The row of an operation; NULL for a number that is none. Inline, because each request asks for it
 * many times. */
static inline const struct op_info *op_info(enum op op)
{
    unsigned row = (unsigned)op;
    return row < OP_COUNT && op_rows[row].name ? &op_rows[row] : NULL;
}
/* The row of a service below SERVICE_COUNT. */
static inline const struct service_info *service_info(enum service service)
{
    return &op_services[service];
}
/* Its name; "?" for a number that is none. */
const char *service_name(enum service service);

enum { MESSAGE_SPARE = 4096 }; /* what a message may have besides a value of max_value bytes */
enum { KEY_MAX = 480 };        /* longest key and longest set item, in bytes; the shortest is 1 */

/* The number of a read with which a worker asks whether the backend works: an engine may then
 * answer whether it would take writes too. */
enum { KV_GET_PROBE = 1 };

/*
 * What is asked for. The views are borrowed from whoever made the request and must stay valid
 * until its reply.
 */
struct request {
    enum op op;
    uint16_t namespace; /* 0: the one that everything is in yet */
    struct bytes key;   /* 1 to KEY_MAX bytes */
    struct bytes value; /* value of CacheSet and KVPut, item of SetAdd and SetRemove, message */
    int64_t number;     /* amount of CounterIncrement; 0 or 1 for FlagSet; KV_GET_PROBE */
    uint64_t expiry_ms; /* CacheSet: when it expires, ms since the epoch; 0 never */
    bool no_value;      /* nobody wants the reply's value: a store need not make it */
};

/*
 * What came of it. When it is not STATUS_OK, value may be a text that says why, of printable ASCII.
 * value is borrowed from whoever made the reply; each use says how long it lives. CacheGet, KVGet:
 * the value. Set operations: the packed items (see set.h). What takes a message: the packed message
 * that answers it. Others: empty.
 */
struct reply {
    enum status status;
    int64_t number;    /* counter value, or the flag as 0 or 1 */
    uint64_t revision; /* of the record read or written; 0 if there is none */
    struct bytes value;
};

#endif
