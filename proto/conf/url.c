/*
 * url - see url.h. The supervisor and store-redis. Fails by a text that shows nothing of the URL.
 */
#include "proto/conf/url.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/text.h"

static const char scheme[] = "redis://";

/* Decodes len bytes of text into field, which has room for them and a NUL. */
static bool decode(const char *text, size_t len, char *field)
{
    memcpy(field, text, len);
    if (!text_percent_decode((uint8_t *)field, &len, false))
        return false;
    field[len] = '\0';
    return strlen(field) == len;
}

static bool parse_port(const char *text, uint16_t *port_r)
{
    uint64_t port;
    bool good = text_number(text, 1, UINT16_MAX, &port);
    *port_r = good ? (uint16_t)port : 0;
    return good;
}

/* A name, an IPv4 address, or in brackets an IPv6 address, perhaps with its zone. */
static bool host_allowed(const char *host, size_t len, bool brackets)
{
    static const char in_name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  ".-_";
    for (size_t i = 0; i < len; i++)
        if (!strchr(in_name, host[i]) && !(brackets && (host[i] == ':' || host[i] == '%')))
            return false;
    return len > 0;
}

static bool parse_host(const char *text, struct conf_url *url)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || !parse_port(colon + 1, &url->port))
        return false;
    size_t len = (size_t)(colon - text);
    bool brackets = text[0] == '[' && text[len - 1] == ']' && len > 1;
    if (brackets) {
        text++;
        len -= 2;
    }
    memcpy(url->host, text, len);
    return host_allowed(text, len, brackets);
}

/* What a template or a shell should have replaced: {{ password }}, $REDIS_PASSWORD. */
static bool left_over(const char *text)
{
    size_t upper = *text == '$' ? strspn(text + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") : 0;
    return strstr(text, "{{") || (upper > 0 && !text[1 + upper]);
}

/* user:password, which end at at. */
static bool parse_user(const char *text, const char *at, struct conf_url *url, const char **why_r)
{
    const char *colon = memchr(text, ':', (size_t)(at - text));
    if (!colon)
        return false;
    *why_r = "must have each % in user and password written as %25: a % begins an encoded byte, "
             "such as %40 for @";
    if (!decode(text, (size_t)(colon - text), url->user) ||
        !decode(colon + 1, (size_t)(at - colon - 1), url->password))
        return false;
    *why_r = "has a user or a password that is taken by the letter: ${NAME} is taken from the "
             "environment; write { as %7B and $ as %24 if they are meant";
    char raw[CONF_TEXT_MAX];
    snprintf(raw, sizeof raw, "%.*s", (int)(at - colon - 1), colon + 1);
    bool left = left_over(raw);
    snprintf(raw, sizeof raw, "%.*s", (int)(colon - text), text);
    return !left && !left_over(raw);
}

bool conf_url_parse(const char *text, struct conf_url *url_r, const char **why_r)
{
    static const char form[] = "must be redis://[user:password@]host:port";
    *url_r = (struct conf_url){0};
    *why_r = form;
    if (strncmp(text, "rediss://", 9) == 0)
        *why_r = "must begin with redis://: TLS is not built in; let stunnel speak it and give the "
                 "address where stunnel listens";
    if (*why_r != form)
        return false;
    if (strncmp(text, scheme, sizeof scheme - 1) == 0)
        text += sizeof scheme - 1;
    if (strlen(text) >= CONF_TEXT_MAX)
        return false;
    const char *at = strrchr(text, '@');
    if (at && !parse_user(text, at, url_r, why_r))
        return false;
    *why_r = form;
    return parse_host(at ? at + 1 : text, url_r);
}
