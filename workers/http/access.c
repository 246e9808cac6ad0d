/*
 * access - see access.h. Runs in the http workers; touches nothing but its arguments.
 */
#include "workers/http/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "workers/http/text.h"

static bool ends_with(struct bytes text, const char *tail)
{
    size_t len = strlen(tail);
    return text.len >= len && http_text_is(http_text_cut(text, text.len - len, len), tail);
}

/* Takes the next name off a list with commas and blanks between. */
static bool next_name(const char **list, struct bytes *name_r)
{
    static const char between[] = ", \t";
    *list += strspn(*list, between);
    size_t len = strcspn(*list, between);
    *name_r = (struct bytes){(const uint8_t *)*list, len};
    *list += len;
    return len > 0;
}

/* A pattern is a name, *.NAME for all below it, or * for all. */
static bool matches(struct bytes text, struct bytes pattern)
{
    if (pattern.len >= 1 && pattern.data[0] == '*') {
        struct bytes tail = http_text_cut(pattern, 1, pattern.len - 1);
        return text.len >= tail.len && strncasecmp((const char *)text.data + text.len - tail.len,
                                                   (const char *)tail.data, tail.len) == 0;
    }
    return text.len == pattern.len &&
           strncasecmp((const char *)text.data, (const char *)pattern.data, text.len) == 0;
}

static bool is_listed(struct bytes text, const char *list)
{
    struct bytes pattern;
    while (next_name(&list, &pattern))
        if (matches(text, pattern))
            return true;
    return false;
}

/* ---- Host ---- */

/* Cuts the port off. False when what follows the host is none. */
static bool cut_port(struct bytes *host)
{
    const uint8_t *colon;
    size_t len = host->len;
    if (len > 0 && host->data[0] == '[') {
        const uint8_t *bracket = memchr(host->data, ']', len);
        if (!bracket)
            return false;
        len = (size_t)(bracket - host->data) + 1;
    } else if ((colon = memchr(host->data, ':', len))) {
        len = (size_t)(colon - host->data);
    }
    for (size_t i = len; i < host->len; i++)
        if (i == len ? host->data[i] != ':' : host->data[i] < '0' || host->data[i] > '9')
            return false;
    host->len = len;
    return true;
}

static bool is_loopback4(uint32_t address)
{
    return ntohl(address) >> 24 == 127;
}

static bool is_loopback6(const struct in6_addr *address)
{
    uint32_t last;
    memcpy(&last, address->s6_addr + 12, sizeof last);
    return IN6_IS_ADDR_LOOPBACK(address) || (IN6_IS_ADDR_V4MAPPED(address) && is_loopback4(last));
}

bool http_access_is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return is_loopback4(((const struct sockaddr_in *)address)->sin_addr.s_addr);
    return address->ss_family == AF_INET6 &&
           is_loopback6(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

enum literal { LITERAL_NONE, LITERAL_LOOPBACK, LITERAL_OTHER };

/* Whether a host is an address written in numbers. */
static enum literal literal_of(struct bytes host)
{
    char text[INET6_ADDRSTRLEN + 2];
    struct in_addr v4;
    struct in6_addr v6;
    if (host.len == 0 || host.len >= sizeof text)
        return LITERAL_NONE;
    snprintf(text, sizeof text, "%.*s", (int)host.len, (const char *)host.data);
    if (inet_pton(AF_INET, text, &v4) == 1)
        return is_loopback4(v4.s_addr) ? LITERAL_LOOPBACK : LITERAL_OTHER;
    if (text[0] != '[' || text[host.len - 1] != ']')
        return LITERAL_NONE;
    text[host.len - 1] = '\0';
    if (inet_pton(AF_INET6, text + 1, &v6) == 1)
        return is_loopback6(&v6) ? LITERAL_LOOPBACK : LITERAL_OTHER;
    return LITERAL_NONE;
}

/* Names without a dot are this network's own: none are given out in the public DNS. */
static bool is_local_name(struct bytes host)
{
    return ends_with(host, ".localhost") ||
           (host.len > 0 && host.data[0] != '[' && !memchr(host.data, '.', host.len));
}

static bool host_is_good(const struct http_access *access, struct bytes host, bool loopback)
{
    bool any = !loopback && !access->hosts[0];
    if (host.len == 0 || any)
        return true; /* browsers always give a Host */
    if (!cut_port(&host))
        return false;
    if (host.len > 1 && host.data[host.len - 1] == '.')
        host.len--; /* the root of all names */
    enum literal literal = literal_of(host);
    if (literal != LITERAL_NONE && (literal == LITERAL_LOOPBACK || !loopback))
        return true;
    return is_local_name(host) || is_listed(host, access->hosts);
}

/* Clients ask under the same Host again and again. */
static bool host_is_known(struct http_access *access, struct bytes host, bool loopback)
{
    size_t i = loopback;
    if (host.len > 0 && host.len == access->good[i].len &&
        memcmp(host.data, access->good[i].text, host.len) == 0)
        return true;
    if (!host_is_good(access, host, loopback))
        return false;
    if (host.len > 0 && host.len <= HTTP_HOST_MAX) {
        memcpy(access->good[i].text, host.data, host.len);
        access->good[i].len = host.len;
    }
    return true;
}

/* ---- Origin ---- */

/* SCHEME://HOST:PORT in parts. */
struct site {
    struct bytes scheme, host;
    unsigned long port; /* that of the scheme when none is given; 0: it has none */
};

/* Takes HOST:PORT apart. A trailing dot is the root of all names. */
static bool take_host(struct bytes text, struct site *site)
{
    struct bytes host = text;
    if (!cut_port(&host) || text.len > HTTP_ORIGIN_MAX)
        return false;
    site->port =
        http_text_is(site->scheme, "https") ? 443 : http_text_is(site->scheme, "http") * 80;
    if (text.len > host.len + 1) {
        char digits[HTTP_ORIGIN_MAX];
        struct bytes port = http_text_cut(text, host.len + 1, text.len - host.len - 1);
        snprintf(digits, sizeof digits, "%.*s", (int)port.len, (const char *)port.data);
        site->port = strtoul(digits, NULL, 10);
    }
    if (host.len > 1 && host.data[host.len - 1] == '.')
        host.len--;
    site->host = host;
    return host.len > 0;
}

static bool take_origin(struct bytes origin, struct site *site_r)
{
    const uint8_t *colon = origin.len > 0 ? memchr(origin.data, ':', origin.len) : NULL;
    size_t len = colon ? (size_t)(colon - origin.data) : 0;
    if (len == 0 || origin.len < len + 3 || memcmp(colon, "://", 3) != 0)
        return false;
    site_r->scheme = http_text_cut(origin, 0, len);
    return take_host(http_text_cut(origin, len + 3, origin.len - len - 3), site_r);
}

static bool same_site(const struct site *a, const struct site *b)
{
    return a->port == b->port && matches(a->scheme, b->scheme) && a->host.len == b->host.len &&
           strncasecmp((const char *)a->host.data, (const char *)b->host.data, a->host.len) == 0;
}

/* Whether an origin is the page's own server. Whether it was reached by TLS is not known here: a
 * Host without a port goes with both schemes. */
static bool is_own(struct bytes origin, struct bytes host)
{
    struct site page, own;
    if (!take_origin(origin, &page))
        return false;
    own.scheme = page.scheme;
    bool web = http_text_is(page.scheme, "http") || http_text_is(page.scheme, "https");
    return web && take_host(host, &own) && same_site(&page, &own);
}

/* By the letter, as "null" is, or as a site: the default port may be written or not. */
static bool is_listed_origin(struct bytes origin, const char *list)
{
    struct bytes pattern;
    struct site page, listed;
    bool web = take_origin(origin, &page);
    while (next_name(&list, &pattern))
        if (matches(origin, pattern) ||
            (web && take_origin(pattern, &listed) && same_site(&page, &listed)))
            return true;
    return false;
}

const char *http_access_check(struct http_access *access, const struct http_access_request *request,
                              bool *cors_r)
{
    *cors_r = false;
    if (!host_is_known(access, request->host, request->loopback))
        return "this Host is not served here: on a loopback address, localhost and loopback "
               "addresses are, and the names in allowed_hosts of [http]";
    if (request->origin.len == 0 && !request->cross_site)
        return NULL;
    if (request->origin.len > 0 && request->origin.len <= HTTP_ORIGIN_MAX &&
        is_listed_origin(request->origin, access->origins)) {
        *cors_r = true;
        return NULL;
    }
    if (!request->cross_site && is_own(request->origin, request->host))
        return NULL;
    return "a web page of another site may not ask here; its origin is not one of allowed_origins "
           "of [http]";
}
