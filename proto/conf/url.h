/*
 * url - redis://[user:password@]host:port in its parts. Pure. The supervisor checks with it what
 * store-redis takes apart with it.
 */
#ifndef STRATO_PROTO_CONF_URL_H
#define STRATO_PROTO_CONF_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/conf/conf.h"

struct conf_url {
    char host[CONF_TEXT_MAX]; /* a name or an address; an IPv6 one without its brackets */
    uint16_t port;
    char user[CONF_TEXT_MAX];     /* empty: the default user */
    char password[CONF_TEXT_MAX]; /* empty: none */
};

/*
 * User and password may be percent-encoded; the scheme may be left out. False when it is no such
 * URL; *why_r then says what is allowed, without a part of the URL: it may hold a password.
 */
bool conf_url_parse(const char *text, struct conf_url *url_r, const char **why_r);

#endif
