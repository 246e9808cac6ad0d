/*
 * access - whether a request comes from where it may: what a web page of somebody else's must not
 * be able to send or read through a visitor's browser. Pure.
 *
 * Two ways in are closed. A page of another site names its Origin, or the browser says "cross-site"
 * for it: such a request is refused unless the origin is one of allowed_origins, which then may
 * read the answer too (CORS). A page whose own name was made to mean this machine (DNS rebinding)
 * looks like same-site but gives that name as Host: on a loopback address only names are served
 * that cannot be anybody's in the public DNS, and allowed_hosts.
 */
#ifndef STRATO_WORKERS_HTTP_ACCESS_H
#define STRATO_WORKERS_HTTP_ACCESS_H

#include <stdbool.h>

#include "proto/base/bytes.h"

enum { HTTP_HOST_MAX = 255, HTTP_ORIGIN_MAX = HTTP_HOST_MAX + 32 };

struct http_access {
    const char *hosts;   /* allowed_hosts; borrowed */
    const char *origins; /* allowed_origins; borrowed */
    struct {             /* the last Host that was found good, by whether loopback is strict */
        char text[HTTP_HOST_MAX];
        size_t len;
    } good[2];
};

/* What is known of a request. */
struct http_access_request {
    struct bytes host;   /* with its port; empty: none was given */
    struct bytes origin; /* empty: none was given */
    bool cross_site;
    bool loopback; /* it came to a loopback address: Host must be local, or allowed */
};

/* NULL when the request may be carried out; *cors_r: its origin may read the answer. Else why it
 * is refused (403). */
const char *http_access_check(struct http_access *access, const struct http_access_request *request,
                              bool *cors_r);

struct sockaddr_storage;
/* Whether a socket's own address is one that only this machine reaches by IP. */
bool http_access_is_loopback(const struct sockaddr_storage *address);

#endif
