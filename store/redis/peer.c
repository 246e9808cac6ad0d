/*
 * peer - see peer.h. Runs in store-redis. Names are looked up in a thread (resolve.h); an address
 * needs no lookup.
 */
#include "store/redis/peer.h"

#include <stdio.h>

void redis_peer_open(struct redis_peer *peer, const char *host)
{
    *peer = (struct redis_peer){.addresses = 1, .is_named = !redis_is_address(host)};
    snprintf(peer->host, sizeof peer->host, "%s", host);
    if (!peer->is_named)
        snprintf(peer->address, sizeof peer->address, "%.*s", (int)sizeof peer->address - 1, host);
}

void redis_peer_close(struct redis_peer *peer)
{
    redis_resolve_end(&peer->resolve);
}

static enum status poll_lookup(struct redis_peer *peer, char *reason, size_t reason_size)
{
    if (!peer->resolve)
        peer->resolve = redis_resolve_start(peer->host);
    if (peer->resolve)
        return redis_resolve_poll(peer->resolve, reason, reason_size);
    snprintf(reason, reason_size, "its name cannot be looked up");
    return STATUS_UNAVAILABLE;
}

enum status redis_peer_find(struct redis_peer *peer, char *reason, size_t reason_size)
{
    if (!peer->is_named)
        return STATUS_OK;
    enum status status = poll_lookup(peer, reason, reason_size);
    if (status == STATUS_RETRY)
        return status;
    if (status == STATUS_OK) {
        peer->elsewhere = 0;
        peer->addresses = redis_resolve_count(peer->resolve);
        if (!redis_resolve_pick(peer->resolve, ++peer->turn, peer->address)) {
            snprintf(reason, reason_size, "an address of its name cannot be written");
            status = STATUS_UNAVAILABLE;
        }
    }
    redis_resolve_end(&peer->resolve);
    return status;
}

enum status redis_peer_look(struct redis_peer *peer)
{
    char reason[400];
    enum status status = poll_lookup(peer, reason, sizeof reason);
    if (status == STATUS_RETRY)
        return status;
    bool moved = status == STATUS_OK && !redis_resolve_has(peer->resolve, peer->address);
    redis_resolve_end(&peer->resolve);
    peer->elsewhere = moved ? peer->elsewhere + 1 : 0;
    return moved ? STATUS_NOT_FOUND : STATUS_OK;
}
