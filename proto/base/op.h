/*
 * op - services, operations and the protocol-neutral request and reply.
 *
 * One row here is one operation of the contract; HTTP and gRPC map to it and every engine
 * implements it. The numbers travel through channels and are stored in records: never reuse one.
 */
#ifndef STRATO_PROTO_BASE_OP_H
#define STRATO_PROTO_BASE_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum service {
    SERVICE_CACHE = 0,
    SERVICE_COUNTER = 1,
    SERVICE_FLAG = 2,
    SERVICE_KV = 3,
    SERVICE_SET = 4,
    SERVICE_COUNT
};

enum op {
    OP_NONE = 0,
    OP_CACHE_GET = 1,
    OP_CACHE_SET = 2,
    OP_COUNTER_GET = 3,
    OP_COUNTER_INCREMENT = 4,
    OP_FLAG_GET = 5,
    OP_FLAG_SET = 6,
    OP_KV_GET = 7,
    OP_KV_PUT = 8,
    OP_KV_DELETE = 9,
    OP_SET_GET = 10,
    OP_SET_ADD = 11,
    OP_SET_REMOVE = 12,
    OP_COUNT
};

struct op_info {
    const char *name; /* "KVPut": as in the contract; label in logs and metrics */
    enum service service;
    bool write; /* may change something */
};

/* The row of an operation; NULL for a number that is none. */
const struct op_info *op_info(enum op op);
/* "cache", "counter", "flag", "kv", "set": as in [services] of the config. */
const char *service_name(enum service service);

enum { KEY_MAX = 480 }; /* longest key and longest set item, in bytes; the shortest is 1 */

/*
 * What is asked for. The views are borrowed from whoever made the request and must stay valid
 * until its reply.
 */
struct request {
    enum op op;
    struct bytes key;   /* 1 to KEY_MAX bytes */
    struct bytes value; /* value of CacheSet and KVPut, item of SetAdd and SetRemove */
    int64_t number;     /* amount of CounterIncrement; 0 or 1 for FlagSet */
    uint64_t expiry_ms; /* CacheSet: when it expires, ms since the epoch; 0 never */
};

/*
 * What came of it. value is borrowed from whoever made the reply; each use says how long it lives.
 * CacheGet, KVGet: the value. Set operations: the packed items (see set.h). Others: empty.
 */
struct reply {
    enum status status;
    int64_t number;    /* counter value, or the flag as 0 or 1 */
    uint64_t revision; /* of the record read or written; 0 if there is none */
    struct bytes value;
};

#endif
