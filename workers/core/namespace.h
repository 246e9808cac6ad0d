/*
 * namespace - which namespace a request is in: 0, the default one, because no protocol can name
 * another yet. Test builds can: see namespace.c.
 */
#ifndef STRATO_WORKERS_CORE_NAMESPACE_H
#define STRATO_WORKERS_CORE_NAMESPACE_H

#include "proto/base/op.h"

#ifdef STRATO_FAILPOINTS
void core_find_namespace(struct request *request);
#else
static inline void core_find_namespace(struct request *request)
{
    (void)request;
}
#endif

#endif
