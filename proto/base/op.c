/*
 * op - the operations' table. Any process; cannot fail.
 */
#include "proto/base/op.h"

#include <stddef.h>

static const struct op_info table[OP_COUNT] = {
    [OP_CACHE_GET] = {"CacheGet", SERVICE_CACHE, false},
    [OP_CACHE_SET] = {"CacheSet", SERVICE_CACHE, true},
    [OP_COUNTER_GET] = {"CounterGet", SERVICE_COUNTER, false},
    [OP_COUNTER_INCREMENT] = {"CounterIncrement", SERVICE_COUNTER, true},
    [OP_FLAG_GET] = {"FlagGet", SERVICE_FLAG, false},
    [OP_FLAG_SET] = {"FlagSet", SERVICE_FLAG, true},
    [OP_KV_GET] = {"KVGet", SERVICE_KV, false},
    [OP_KV_PUT] = {"KVPut", SERVICE_KV, true},
    [OP_KV_DELETE] = {"KVDelete", SERVICE_KV, true},
    [OP_SET_GET] = {"SetGet", SERVICE_SET, false},
    [OP_SET_ADD] = {"SetAdd", SERVICE_SET, true},
    [OP_SET_REMOVE] = {"SetRemove", SERVICE_SET, true},
};

const struct op_info *op_info(enum op op)
{
    unsigned row = (unsigned)op;
    return row > OP_NONE && row < OP_COUNT ? &table[row] : NULL;
}

const char *service_name(enum service service)
{
    static const char *const names[SERVICE_COUNT] = {"cache", "counter", "flag", "kv", "set"};
    unsigned row = (unsigned)service;
    return row < SERVICE_COUNT ? names[row] : "?";
}
