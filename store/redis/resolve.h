/*
 * resolve - the address of a host name, without blocking. store-redis.
 */
#ifndef STRATO_STORE_REDIS_RESOLVE_H
#define STRATO_STORE_REDIS_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/status.h"

enum { REDIS_ADDRESS_MAX = 64 };

struct redis_resolve;

/* Begins; NULL when it cannot even begin. host is copied. */
struct redis_resolve *redis_resolve_start(const char *host);
/* STATUS_RETRY while it is under way. STATUS_OK: it has at least one address. STATUS_UNAVAILABLE:
 * why is in reason. */
enum status redis_resolve_poll(struct redis_resolve *resolve, char *reason,
                               size_t reason_size) MUST_CHECK;
/* After STATUS_OK. One of its addresses in numbers (REDIS_ADDRESS_MAX bytes); turn picks another
 * each time. False when it cannot be written. */
bool redis_resolve_pick(const struct redis_resolve *resolve, unsigned turn, char *address_r);
/* How many there are. */
unsigned redis_resolve_count(const struct redis_resolve *resolve);
/* Whether this is one of them. */
bool redis_resolve_has(const struct redis_resolve *resolve, const char *address);
void redis_resolve_end(struct redis_resolve **resolve);

/* Whether a host is an address already. */
bool redis_is_address(const char *host);

#endif
