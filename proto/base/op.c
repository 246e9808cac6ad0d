/*
 * op - the tables of operations and services. Any process; cannot fail.
 */
#include "proto/base/op.h"

#include <stddef.h>

static const struct op_info operations[OP_COUNT] = {
#define OPERATION(number, service, symbol, name, kind, repeat, takes)                              \
    [number] = {name,        SERVICE_##service, OP_##kind,                                         \
                OP_##repeat, OP_TAKES_##takes,  OP_##kind != OP_READS},
#include "proto/api/operations.def"
};

static const struct service_info services[SERVICE_COUNT] = {
#define SERVICE(number, symbol, name, holds, absent, rpc, help)                                    \
    [number] = {name, rpc, OP_HOLDS_##holds, STATUS_##absent, OP_##symbol##_GET},
#include "proto/api/operations.def"
};

const struct op_info *op_info(enum op op)
{
    unsigned row = (unsigned)op;
    return row > OP_NONE && row < OP_COUNT && operations[row].name ? &operations[row] : NULL;
}

const struct service_info *service_info(enum service service)
{
    return &services[service];
}

const char *service_name(enum service service)
{
    unsigned row = (unsigned)service;
    return row < SERVICE_COUNT ? services[row].name : "?";
}
