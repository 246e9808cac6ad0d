/*
 * op - the tables of operations and services. Any process; cannot fail.
 */
#include "proto/base/op.h"

const struct op_info op_rows[OP_COUNT] = {
#define OPERATION(number, service, symbol, means, name, kind, repeat, takes)                       \
    [number] = {name,        SERVICE_##service, OP_##kind,                                         \
                OP_##repeat, OP_TAKES_##takes,  OP_##kind != OP_READS},
#include "proto/api/operations.def"
};

const struct service_info op_services[SERVICE_COUNT] = {
#define SERVICE(number, symbol, name, holds, absent, rpc, format, help)                            \
    [number] = {name, rpc, OP_HOLDS_##holds, STATUS_##absent, OP_##symbol##_GET, (format)},
#include "proto/api/operations.def"
};

const char *service_name(enum service service)
{
    unsigned row = (unsigned)service;
    return row < SERVICE_COUNT ? op_services[row].name : "?";
}
