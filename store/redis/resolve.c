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

static const struct addrinfo *pick(const struct addrinfo *first, unsigned turn)
{
    unsigned count = 1; /* a lookup that succeeds finds at least one */
    for (const struct addrinfo *at = first->ai_next; at; at = at->ai_next)
        count++;
    for (turn %= count; turn > 0; turn--)
        first = first->ai_next;
    return first;
}

enum status redis_resolve_poll(struct redis_resolve *resolve, unsigned turn, char *address_r,
                               char *reason, size_t reason_size)
{
    int error = gai_error(&resolve->query);
    if (error == EAI_INPROGRESS)
        return STATUS_RETRY;
    if (error == 0) {
        const struct addrinfo *found = pick(resolve->query.ar_result, turn);
        error = getnameinfo(found->ai_addr, found->ai_addrlen, address_r, REDIS_ADDRESS_MAX, NULL,
                            0, NI_NUMERICHOST);
    }
    if (error == 0)
        return STATUS_OK;
    snprintf(reason, reason_size, "no address of %s: %s", resolve->host, gai_strerror(error));
    return STATUS_UNAVAILABLE;
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
