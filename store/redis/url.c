/*
 * url - see url.h. Runs in store-redis. proto/conf has checked the same text before; what it let
 * through and is no URL is refused here.
 */
#include "store/redis/url.h"

#include <stdlib.h>
#include <string.h>

static const char scheme[] = "redis://";

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes len bytes of text into field, which has room for them and a NUL. */
static bool decode(const char *text, size_t len, char *field)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = len - i > 2 ? digit_of(text[i + 1]) : -1;
            int low = high >= 0 ? digit_of(text[i + 2]) : -1;
            if (low < 0 || high * 16 + low == 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        *field++ = c;
    }
    *field = '\0';
    return true;
}

static bool parse_port(const char *text, uint16_t *port_r)
{
    char *end;
    unsigned long port = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    *port_r = (uint16_t)port;
    return port >= 1 && port <= UINT16_MAX && !*end;
}

static bool parse_host(const char *text, struct redis_url *url)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || !parse_port(colon + 1, &url->port))
        return false;
    size_t len = (size_t)(colon - text);
    if (text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    memcpy(url->host, text, len);
    return len > 0;
}

bool redis_url_parse(const char *text, struct redis_url *url_r)
{
    *url_r = (struct redis_url){0};
    if (strncmp(text, scheme, sizeof scheme - 1) == 0)
        text += sizeof scheme - 1;
    if (strlen(text) >= CONF_TEXT_MAX)
        return false;
    const char *at = strrchr(text, '@');
    if (!at)
        return parse_host(text, url_r);
    const char *colon = memchr(text, ':', (size_t)(at - text));
    return colon && decode(text, (size_t)(colon - text), url_r->user) &&
           decode(colon + 1, (size_t)(at - colon - 1), url_r->password) &&
           parse_host(at + 1, url_r);
}
