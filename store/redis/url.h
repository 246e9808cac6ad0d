/*
 * url - redis://[user:password@]host:port in its parts. Pure.
 */
#ifndef STRATO_STORE_REDIS_URL_H
#define STRATO_STORE_REDIS_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/conf/conf.h"

struct redis_url {
    char host[CONF_TEXT_MAX]; /* a name or an address; an IPv6 one without its brackets */
    uint16_t port;
    char user[CONF_TEXT_MAX];     /* empty: the default user */
    char password[CONF_TEXT_MAX]; /* empty: none */
};

/* User and password may be percent-encoded; the scheme may be left out. False when it is no such
 * URL, or an encoded byte is 0. */
bool redis_url_parse(const char *text, struct redis_url *url_r);

#endif
