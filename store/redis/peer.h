/*
 * peer - a host by name or by address, and which of its addresses we are connected to.
 */
#ifndef STRATO_STORE_REDIS_PEER_H
#define STRATO_STORE_REDIS_PEER_H

#include "store/redis/fault.h"
#include "store/redis/resolve.h"

struct redis_peer {
    char host[REDIS_HOST_MAX];
    bool is_named;                   /* else host is its address */
    char address[REDIS_ADDRESS_MAX]; /* that was found last */
    unsigned addresses;              /* how many it had then; always >= 1 */
    unsigned turn;                   /* another one each time */
    unsigned elsewhere;              /* looks in a row that did not find address */
    struct redis_resolve *resolve;   /* a lookup under way, or NULL */
};

void redis_peer_open(struct redis_peer *peer, const char *host);
void redis_peer_close(struct redis_peer *peer);

/* Call it again while it is STATUS_RETRY. STATUS_OK: address is where to connect to. A lookup that
 * was too slow for an earlier call is gone on with. STATUS_UNAVAILABLE: why is in reason. */
enum status redis_peer_find(struct redis_peer *peer, char *reason, size_t reason_size) MUST_CHECK;
/* Whether address is still one of its own. Likewise STATUS_RETRY; STATUS_NOT_FOUND: no longer, see
 * elsewhere; STATUS_OK: it is, or that cannot be known. */
enum status redis_peer_look(struct redis_peer *peer) MUST_CHECK;

#endif
