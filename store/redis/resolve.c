/*
 * resolve - see resolve.h. Runs in store-redis, on the C library's own asynchronous lookup (a
 * thread of its, which inherits our blocked signals): a name server that is away must not keep the
 * store from answering.
 */
#include "store/redis/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct redis_resolve {
    struct gaicb query;
    struct gaicb *list[1];
    struct addrinfo hints;
    char host[];
};

bool redis_is_address(const char *host)
{
    struct in6_addr any;
    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

struct redis_resolve *redis_resolve_start(const char *host)
{
    struct redis_resolve *resolve = calloc(1, sizeof *resolve + strlen(host) + 1);
    if (!resolve)
        return NULL;
    strcpy(resolve->host, host);
    resolve->hints = (struct addrinfo){.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    resolve->query = (struct gaicb){.ar_name = resolve->host, .ar_request = &resolve->hints};
    resolve->list[0] = &resolve->query;
    if (getaddrinfo_a(GAI_NOWAIT, resolve->list, 1, NULL) != 0) {
        free(resolve);
        return NULL;
    }
    return resolve;
}

enum status redis_resolve_poll(struct redis_resolve *resolve, char *reason, size_t reason_size)
{
    int error = gai_error(&resolve->query);
    if (error == EAI_INPROGRESS)
        return STATUS_RETRY;
    if (error == 0)
        return STATUS_OK;
    snprintf(reason, reason_size, "no address of %s: %s", resolve->host, gai_strerror(error));
    return STATUS_UNAVAILABLE;
}

unsigned redis_resolve_count(const struct redis_resolve *resolve)
{
    unsigned count = 0;
    for (const struct addrinfo *at = resolve->query.ar_result; at; at = at->ai_next)
        count++;
    return count;
}

static bool in_numbers(const struct addrinfo *found, char *address_r)
{
    return getnameinfo(found->ai_addr, found->ai_addrlen, address_r, REDIS_ADDRESS_MAX, NULL, 0,
                       NI_NUMERICHOST) == 0;
}

bool redis_resolve_pick(const struct redis_resolve *resolve, unsigned turn, char *address_r)
{
    const struct addrinfo *found = resolve->query.ar_result;
    unsigned count = redis_resolve_count(resolve);
    for (turn = count > 0 ? turn % count : 0; turn > 0; turn--)
        found = found->ai_next;
    return found && in_numbers(found, address_r);
}

bool redis_resolve_has(const struct redis_resolve *resolve, const char *address)
{
    char other[REDIS_ADDRESS_MAX];
    for (const struct addrinfo *at = resolve->query.ar_result; at; at = at->ai_next)
        if (in_numbers(at, other) && strcmp(other, address) == 0)
            return true;
    return false;
}

void redis_resolve_end(struct redis_resolve **resolve)
{
    struct redis_resolve *ending = *resolve;
    *resolve = NULL;
    if (!ending)
        return;
    /* The library still writes to a lookup that it cannot cancel any more: that one is left to it.
     */
    if (gai_error(&ending->query) == EAI_INPROGRESS && gai_cancel(&ending->query) != EAI_CANCELED)
        return;
    if (ending->query.ar_result)
        freeaddrinfo(ending->query.ar_result);
    free(ending);
}
